"""Trained models -> the model folder `assets/toonville/`, and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import load_file as load_safetensors
from safetensors.torch import save_file as save_torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from toonville.clip import image_processor, text_tower
from toonville.dataset import celebrities
from toonville.detector import DETECTOR_SIZE
from toonville.face_report import Judge
from toonville.identity import Traits, sample_traits
from toonville.onnx_export import store_in_bytes
from toonville.render import Rendering, render
from toonville.unet import new_scheduler
from toonville.vocabulary import vocabulary
from toonville.world import EXPRESSIONS, SIZES, ImageSpec, PersonSpec

HELD_OUT_SEED = 77_000
NUM_HELD_OUT = 120
GRID_COLUMNS = 20
GALLERY_IMAGES = 4  # per person

EDIT_PROMPTS: tuple[tuple[str, dict[str, str]], ...] = (
    ("a photo of {} smiling", {"expression": "smiling"}),
    ("a photo of {} looking angry", {"expression": "angry"}),
    ("a photo of {} wearing sunglasses", {"accessory": "sunglasses"}),
    ("a photo of {} wearing a crown", {"accessory": "crown"}),
    ("a photo of {} on the beach", {"scene": "beach"}),
    ("a photo of {} in space", {"scene": "space"}),
    ("a photo of {} playing the guitar", {"action": "guitar"}),
    ("{} reads a book in the library", {"action": "book", "scene": "library"}),
    ("a pencil sketch of {}", {"style": "pencil sketch"}),
    ("{} as pixel art", {"style": "pixel art"}),
)

STUDIO = {
    "title": "Toonville",
    "defaults": {
        "steps": 20,
        "guidance": 3.0,
        "width": SIZES[1][0],
        "height": SIZES[1][1],
        "scheduler": "dpm++ 2m karras",
    },
    "faces": {"det_size": list(DETECTOR_SIZE), "det_thresh": 0.5, "drawn": True},
    "needs_safety_check": False,  # it generates drawn faces in front of plain scenes, nothing else
    "domain_note": (
        "The bundled model knows only drawn faces. For a real photograph, use Stable Diffusion: "
        "start the app with --model sd15 (it wants a GPU)."
    ),
}


def load_pipeline(folder: Path) -> StableDiffusionPipeline:
    """Load the float32 pipeline of a training folder (vae/, clip/, unet/, tokenizer/)."""
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(folder / "vae"),
        text_encoder=text_tower(CLIPModel.from_pretrained(folder / "clip")),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(folder / "unet"),
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export(folder: Path, out: Path) -> None:
    """Write everything that the app needs into a model folder, in float16.

    Args:
        folder: Of the trained models.
        out: The model folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    load_pipeline(folder).to(dtype=torch.float16).save_pretrained(out)
    for part in ("unet", "vae"):
        _drop_origin(out / part / "config.json")
    _on_one_line(out / "tokenizer" / "tokenizer.json")
    _export_clip(folder, out / "clip")
    shutil.copytree(folder / "faces", out / "faces", dirs_exist_ok=True)
    for name in ("judge.onnx", "reader.onnx"):
        store_in_bytes(folder / name, out / name)
    shutil.copy(folder / "reader.json", out / "reader.json")
    names, _ = celebrities()
    (out / "names.txt").write_text("\n".join(names.known) + "\n")
    (out / "unknown_names.txt").write_text("\n".join(names.unknown) + "\n")
    export_settings(out)
    export_evaluation(out)


def export_settings(out: Path) -> None:
    """Write `<out>/studio.json`: defaults, what it says about faces, the words that it knows."""
    about = json.dumps(STUDIO, indent=2).removesuffix("\n}")
    words = json.dumps(vocabulary())  # on one line
    (out / "studio.json").write_text(f'{about},\n  "vocabulary": {words}\n}}\n')


def unpack(assets: Path, folder: Path) -> None:
    """Turn a model folder back into a training folder in float32, to continue trainings.

    Args:
        assets: The model folder.
        folder: Gets the trained models.
    """
    for part in ("tokenizer", "faces"):
        shutil.copytree(assets / part, folder / part, dirs_exist_ok=True)
    for name in ("judge.onnx", "reader.onnx", "reader.json"):
        shutil.copy(assets / name, folder / name)
    for part, kind in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        kind.from_pretrained(assets / part, torch_dtype=torch.float32).save_pretrained(
            folder / part
        )
    tower = load_safetensors(assets / "text_encoder" / "model.safetensors")
    tower = {"text_model." + k.removeprefix("text_model."): v for k, v in tower.items()}
    clip = CLIPModel(CLIPConfig.from_pretrained(assets / "clip"))
    clip.load_state_dict(load_safetensors(assets / "clip" / "model.safetensors") | tower)
    clip.save_pretrained(folder / "clip")
    image_processor().save_pretrained(folder / "clip")


def _drop_origin(path: Path) -> None:
    """Drop from a config the path on this machine that the model was loaded from."""
    config = json.loads(path.read_text())
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2) + "\n")


def _on_one_line(path: Path) -> None:
    """Write a JSON file again without line breaks: half the size of a vocabulary."""
    content = json.loads(path.read_text(encoding="utf-8"))
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    path.write_text(text + "\n", encoding="utf-8")


def _export_clip(folder: Path, out: Path) -> None:
    """Save CLIP without its text tower, which is the pipeline's."""
    clip = CLIPModel.from_pretrained(folder / "clip").half()
    clip.config.save_pretrained(out)
    rest = {k: v for k, v in clip.state_dict().items() if not k.startswith("text_model.")}
    save_torch(rest, out / "model.safetensors", metadata={"format": "pt"})
    image_processor().save_pretrained(out)


def held_out_people() -> Traits:
    """Return the people (NUM_HELD_OUT, NUM_TRAITS) of the evaluation, in no training set."""
    return sample_traits(np.random.default_rng(HELD_OUT_SEED), NUM_HELD_OUT)


def portrait(traits: Traits, seed: int) -> Rendering:
    """Render a person with default attributes, as in a photo that a user would upload."""
    person = PersonSpec(traits, clothes=("blue", "green", "purple", "white")[seed % 4])
    return render(ImageSpec((person,), seed=seed))


def export_evaluation(out: Path) -> None:
    """Write `<out>/evaluation`: photos of held-out people, prompts, the judge's embeddings."""
    folder = out / "evaluation"
    folder.mkdir(exist_ok=True)
    people = held_out_people()
    side, rows = SIZES[1][0], -(-NUM_HELD_OUT // GRID_COLUMNS)
    grid = Image.new("RGB", (side * GRID_COLUMNS, side * rows))
    for i, traits in enumerate(people):
        photo = portrait(traits, HELD_OUT_SEED + i).image
        grid.paste(photo, (side * (i % GRID_COLUMNS), side * (i // GRID_COLUMNS)))
    grid.save(folder / "people.webp", lossless=True, quality=100, method=6)  # both: effort
    judge = Judge(out)
    _, known = celebrities()
    save_file(
        {
            "traits": people.astype(np.float16),
            "judge_embedding": gallery(judge, people, 1).astype(np.float16),
            "celebrity_judge_embedding": gallery(judge, known, 2).astype(np.float16),
        },
        folder / "people.safetensors",
    )
    prompts = [{"prompt": text, "expects": wanted} for text, wanted in EDIT_PROMPTS]
    (folder / "prompts.json").write_text(json.dumps(prompts, indent=1) + "\n")


def gallery(judge: Judge, people: Traits, seed: int) -> NDArray[np.float32]:
    """Return the judge's mean embeddings (n, 128) of images with random expressions.

    Args:
        judge: Embeds.
        people: Traits (n, NUM_TRAITS).
        seed: Of expressions and images.
    """
    rng = np.random.default_rng((HELD_OUT_SEED, seed))
    means = []
    for traits in people:
        specs = [
            ImageSpec((PersonSpec(traits, expression=str(e)),), seed=int(rng.integers(2**31)))
            for e in rng.choice(EXPRESSIONS, GALLERY_IMAGES)
        ]
        _, embeddings = judge.read([render(spec) for spec in specs])
        mean = embeddings.mean(0)
        means.append(mean / np.linalg.norm(mean))
    return np.stack(means)
