"""A tiny model folder with random weights, made on the spot, and what is loaded from it."""

from __future__ import annotations

import gc
import json
import multiprocessing
import shutil
import sys
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hub import LoopbackHub, use_hub
from PIL import Image, ImageDraw

if TYPE_CHECKING:  # the process that hands tests out, and browser tests, need no models: seconds
    import torch

    from celeb_core import Person
    from celeb_core.types import Calibration, TrainConfig

SYLLABLES = ("ba", "ne", "ti", "lo", "ru", "ska", "ven", "mir", "dol", "pay", "gre", "zin")
PLAIN = """a photo of the face person plays guitar with and wearing sunglasses hat on beach in space
picture portrait depiction image close up two people reads book next to smiling red shirt""".split()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="of mutated files: all of them, minutes")
    parser.addoption("--tiny", action="store_true", help="-m gpu: shrunk models, on the CPU")


def pytest_collection_finish() -> None:
    """One thread for each process, and no search for garbage among all that was imported."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    gc.freeze()


def celebrity_names() -> list[str]:
    """36 names of two words with shared first names, two of one word, two of three."""
    first = [a + b for a in SYLLABLES[:4] for b in SYLLABLES[4:7]]
    last = [a + b for a in SYLLABLES[6:12] for b in SYLLABLES[:6]]
    names = [f"{first[i % 12].title()} {word.title()}" for i, word in enumerate(last)]
    return names + ["Grezin", "Dolven", "Balo Ven Mirru", "Nelo Ska Payti"]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder with faces/ and names.txt, as `assets/toonville` is laid out."""
    import torch

    folder = tmp_path_factory.mktemp("models") / "tinyville"
    torch.manual_seed(0)
    _pipeline(tiny_tokenizer()).save_pretrained(folder)
    names = "\n".join(celebrity_names())
    (folder / "names.txt").write_text(names, encoding="utf-8")
    about = {
        "title": "Tinyville",
        "domain_note": "Tinyville knows only red squares.",
        "defaults": {"steps": 2, "guidance": 3.0},
        "faces": {"det_size": [128, 128], "framing": {"side": 2.0}},
    }
    (folder / "studio.json").write_text(json.dumps(about), encoding="utf-8")
    (folder / "faces").mkdir()
    _detector(folder / "faces" / "det.onnx")
    _recogniser(folder / "faces" / "rec.onnx")
    return folder


@pytest.fixture
def faceless(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny model without its faces, on a machine without a face pack."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return shutil.copytree(world, tmp_path / "faceless", ignore=shutil.ignore_patterns("faces"))


@pytest.fixture(scope="session")
def studio(world: Path):
    from celeb_core import load_studio

    return load_studio(world, device="cpu")


@pytest.fixture(scope="session")
def models(studio):
    return studio.models


@pytest.fixture(scope="session")
def basis(models):
    from celeb_core import build_basis

    return build_basis(celebrity_names(), models)


@pytest.fixture(scope="session")
def calibration(models, studio, basis) -> Calibration:
    import torch

    from celeb_core.types import Calibration

    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    faces = torch.nn.functional.normalize(random(len(models.names), 512), dim=1)
    count = basis.k * basis.p
    return Calibration(
        names=models.names,
        face_embeddings=faces,
        down=random(5, 512),
        up=random(count, 5) / 5,
        bias=random(count) / 5,
        directions=random(count, 4) / 5,
        correction=torch.zeros(4, 5),
        basis_id=basis.id,
        base_model=models.id,
        recogniser=studio.faces.id,
    )


@pytest.fixture
def run(world, tmp_path, monkeypatch):
    """Run a command in a folder of its own on the tiny world."""
    from celeb_core.__main__ import main

    monkeypatch.chdir(tmp_path)
    portrait(255).save("ada.png")
    portrait(200).save("bob.png")
    Image.new("RGB", (128, 128), "blue").save("blank.png")

    def call(*arguments: str, model: Path | str = world) -> int:
        return main([*arguments, "--model", str(model), "--cache", "cache", "--device", "cpu"])

    return call


@pytest.fixture
def forking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes are forks: what is spawned imports everything anew, which takes seconds."""
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr("multiprocessing.get_context", lambda method: context)


def initial_coefficients(faces: torch.Tensor, calibration: Calibration, basis) -> torch.Tensor:
    """The closed form as it is defined: face embeddings (n, 512) -> coefficients (n, k, p)."""
    coefficients = faces @ calibration.down.T @ calibration.up.T + calibration.bias
    return coefficients.unflatten(1, (basis.k, basis.p))


def portrait(shade: int = 255, side: int = 128, at: tuple[int, int] = (1, 1)) -> Image.Image:
    """A photo with what the tiny detector takes for a face: a red square with a dark nose.

    The square has half the photo's side; `at` is its corner in quarters of the side.
    """
    photo = Image.new("RGB", (side, side), (20, 90, 120))
    draw = ImageDraw.Draw(photo)
    x, y, unit = at[0] * side // 4, at[1] * side // 4, side // 128
    draw.rectangle((x, y, x + side // 2 - 1, y + side // 2 - 1), fill=(shade, 0, 0))
    nose = (x + 24 * unit, y + 24 * unit, x + 32 * unit, y + 40 * unit)
    draw.rectangle(nose, fill=(shade, 255 - shade, 60))
    return photo


def finished(steps: Generator[Any, None, Any]) -> Any:
    """What a generator returns."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[LoopbackHub]:
    """A model hub on this machine that huggingface_hub uses, with a cache of its own."""
    with LoopbackHub() as hub:
        use_hub(hub.address, tmp_path / "cache", monkeypatch)
        yield hub


@pytest.fixture(scope="session")
def person(studio) -> Person:
    from celeb_core import Person, find_face

    return Person("ada", (find_face(portrait(), studio.faces),))


@pytest.fixture(scope="session")
def people(studio) -> list[Person]:
    from celeb_core import Person, find_face

    return [
        Person(name, (find_face(portrait(shade), studio.faces),))
        for name, shade in (("ada", 255), ("bob", 215), ("cleo", 190))
    ]


@pytest.fixture(scope="session")
def measured_world(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model folder with a judge, an attribute reader, a CLIP and an evaluation set."""
    import torch
    from safetensors.torch import save_file

    from celeb_core import find_face, load_studio

    folder = tmp_path_factory.mktemp("measured") / "tinyville"
    shutil.copytree(world, folder)
    _projection(folder / "judge.onnx", "crop", {"traits": 24, "embedding": 128}, 112)
    groups = {"expression": ["neutral", "smiling"], "scene": ["plain", "beach", "space"]}
    (folder / "reader.json").write_text(json.dumps(groups), encoding="utf-8")
    widths = {group: len(labels) for group, labels in groups.items()}
    _projection(folder / "reader.onnx", "image", widths, 128)
    _clip(folder)
    (folder / "evaluation").mkdir()
    shades = range(255, 175, -4)  # 20 people
    grid = Image.new("RGB", (20 * 128, 128))
    for index, shade in enumerate(shades):
        grid.paste(portrait(shade), (index * 128, 0))
    grid.save(folder / "evaluation" / "people.webp", lossless=True)
    prompts = [
        {"prompt": "{} on the beach", "expects": {"scene": "beach"}},
        {"prompt": "{} smiling", "expects": {"expression": "smiling"}},
    ]
    (folder / "evaluation" / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")
    studio = load_studio(folder, device="cpu")
    judge = studio.scorers.judge
    images = [portrait(shade) for shade in shades]
    gallery = [judge.embed(image, [find_face(image, studio.faces)]) for image in images]
    celebrities = torch.nn.functional.normalize(torch.randn(40, 128), dim=1)
    tensors = {
        "traits": torch.zeros(20, 24),
        "judge_embedding": torch.cat(gallery),
        "celebrity_judge_embedding": celebrities,
    }
    shipped = {name: tensor.half() for name, tensor in tensors.items()}
    save_file(shipped, folder / "evaluation" / "people.safetensors")
    return folder


@pytest.fixture(scope="session")
def evaluated(measured_world: Path, calibration: Calibration):
    """The studio of `measured_world`, with a calibration."""
    from celeb_core import load_studio

    return replace(load_studio(measured_world, device="cpu"), calibration=calibration)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations train two steps at most."""
    from celeb_core.types import recipe

    def quick(preset: str, calibration: Calibration | None) -> TrainConfig:
        config = recipe(preset, calibration)
        return config.changed(steps=min(config.steps, 2), views=2, batch_size=2)

    monkeypatch.setattr("celeb_core.evaluation.single.recipe", quick)


@pytest.fixture(scope="session")
def sdxl_world(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world as a tiny SDXL, with two text encoders."""
    from stable_diffusion import SDXL, write_folder

    folder = write_folder(tmp_path_factory.mktemp("models") / "sdxl", SDXL)
    shutil.copy(world / "names.txt", folder)
    shutil.copytree(world / "faces", folder / "faces")
    about = json.loads((world / "studio.json").read_text())
    (folder / "studio.json").write_text(json.dumps({"faces": about["faces"]}))
    return folder


@pytest.fixture(scope="session")
def sdxl(sdxl_world: Path):
    from celeb_core import load_models

    return load_models(sdxl_world, device="cpu")


@pytest.fixture(scope="session")
def sdxl_basis(sdxl):
    from celeb_core import build_basis

    return build_basis(celebrity_names(), sdxl)


@pytest.fixture(scope="session")
def lora(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LoRA of the tiny UNet, as diffusers saves them."""
    import torch
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig, get_peft_model_state_dict

    from celeb_core import load_models

    unet = load_models(world, device="cpu").unet
    torch.manual_seed(0)
    unet.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    folder = tmp_path_factory.mktemp("lora")
    StableDiffusionPipeline.save_lora_weights(folder, get_peft_model_state_dict(unet))
    return folder / "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="session")
def tiny_vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random AutoencoderTiny."""
    import torch
    from diffusers import AutoencoderTiny

    folder = tmp_path_factory.mktemp("tiny")
    widths = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    torch.manual_seed(0)
    AutoencoderTiny(**widths).save_pretrained(folder)
    return folder


def tiny_tokenizer():
    """Train a CLIP tokenizer in which every word of the names and of PLAIN is one token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    alphabet = list("abcdefghijklmnopqrstuvwxyz0123456789,.'!?<>-")
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    words = [word for name in celebrity_names() for word in name.lower().split()] + PLAIN
    bpe.train_from_iterator([" ".join(words)] * 3, trainer)
    learned = json.loads(bpe.to_str())["model"]
    tokens = list(learned["vocab"])
    tokens += [c + "</w>" for c in alphabet if c + "</w>" not in learned["vocab"]]
    tokens += ["<|startoftext|>", "<|endoftext|>"]  # the end token has the highest id, as in CLIP
    merges = [tuple(pair) for pair in learned["merges"]]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def _pipeline(tokenizer):
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from diffusers import UNet2DConditionModel as UNet
    from transformers import CLIPTextConfig, CLIPTextModel

    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=48,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=128,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text).eval(),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _detector(path: Path) -> None:
    """Write a detector with SCRFD's nine outputs.

    A face is 64 pixels wide and red: its score is the mean red of 2 x 2 cells of 32 pixels, minus
    the other colours.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    def constant(name, values):
        return numpy_helper.from_array(np.asarray(values), name)

    stored = [
        constant("colours", np.array([4, -3, -3], np.float32).reshape(1, 3, 1, 1)),
        constant("offset", np.array([-6], np.float32)),
        constant("sharp", np.array(6, np.float32)),
        constant("zero", np.array(0, np.float32)),
        constant("flat", np.array([-1, 1], np.int64)),
    ]
    nodes, scores, boxes, points = [], [], [], []
    corners = [(0.5, 0.6), (1.5, 0.6), (1.0, 1.0), (0.6, 1.5), (1.4, 1.5)]  # in cells of 32
    for stride in (8, 16, 32):
        s = str(stride)
        nodes.append(
            helper.make_node(
                "AveragePool",
                ["input"],
                ["wide" + s],
                kernel_shape=[64, 64],
                strides=[stride, stride],
                pads=[0, 0, 64 - stride, 64 - stride],
                count_include_pad=1,
            )
        )
        nodes.append(helper.make_node("Conv", ["wide" + s, "colours", "offset"], ["raw" + s]))
        nodes.append(helper.make_node("Mul", ["raw" + s, "sharp"], ["logit" + s]))
        nodes.append(helper.make_node("Sigmoid", ["logit" + s], ["one" + s]))
        factor = "zero" if stride != 32 else "unit"
        nodes.append(helper.make_node("Mul", ["one" + s, factor], ["used" + s]))
        nodes.append(helper.make_node("Reshape", ["used" + s, "flat"], ["column" + s]))
        # two anchors per cell, the second one never fires
        nodes.append(helper.make_node("Mul", ["column" + s, "zero"], ["silent" + s]))
        nodes.append(helper.make_node("Concat", ["column" + s, "silent" + s], ["both" + s], axis=1))
        nodes.append(helper.make_node("Reshape", ["both" + s, "flat"], ["score" + s]))
        nodes.append(helper.make_node("Mul", ["score" + s, "zero"], ["none" + s]))
        nodes.append(helper.make_node("Add", ["none" + s, "box"], ["box" + s]))
        nodes.append(helper.make_node("Add", ["none" + s, "points"], ["kps" + s]))
        scores.append("score" + s)
        boxes.append("box" + s)
        points.append("kps" + s)
    stored += [
        constant("unit", np.array(1, np.float32)),
        constant("box", np.array([[0, 0, 2, 2]], np.float32)),
        constant("points", np.array([corners], np.float32).reshape(1, 10)),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n" + name, width])
        for names, width in ((scores, 1), (boxes, 4), (points, 10))
        for name in names
    ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "h", "w"])
    graph = helper.make_graph(nodes, "detector", [image], outputs, stored)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def _recogniser(path: Path) -> None:
    _projection(path, "x", {"y": 512}, 112)


def _projection(path: Path, name: str, outputs: dict[str, int], side: int) -> None:
    """Write fixed random projections of an image's 14 x 14 cells; "embedding" has unit norm."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    rng, cell = np.random.default_rng(0), side // 14
    grid = (side - cell) // cell + 1
    nodes = [
        helper.make_node(
            "AveragePool", [name], ["cells"], kernel_shape=[cell, cell], strides=[cell, cell]
        ),
        helper.make_node("Flatten", ["cells"], ["row"]),
    ]
    stored, results = [], []
    for output, width in outputs.items():
        weight = rng.normal(size=(3 * grid * grid, width)).astype(np.float32)
        stored.append(numpy_helper.from_array(weight, "weight_" + output))
        raw = output + "_raw" if output == "embedding" else output
        nodes.append(helper.make_node("MatMul", ["row", "weight_" + output], [raw]))
        if raw != output:
            nodes.append(helper.make_node("LpNormalization", [raw], [output], axis=1, p=2))
        results.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", width]))
    x = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, side, side])
    graph = helper.make_graph(nodes, "projection", [x], results, stored)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def _clip(folder: Path) -> None:
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    small = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {
        **small,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 77,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {**small, "image_size": 32, "patch_size": 16}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder / "clip")
    size = {"shortest_edge": 32}
    processor = CLIPImageProcessorPil(size=size, crop_size={"height": 32, "width": 32})
    processor.save_pretrained(folder / "clip")
