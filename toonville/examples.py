"""What the page shows before anything was made: `examples/` of the model folder.

`photos/NAME.png` and `portraits/NAME.png` of the sample people; `images/` of prompts with them, as
PNG files that carry their settings; `strip.webp` and `square.webp`, mixtures of celebrities.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from celeb_core import (
    Identity,
    Prompt,
    RegionConfig,
    SampleConfig,
    Scores,
    Studio,
    find_face,
    generate,
    generate_each,
    interpolate,
    list_identities,
    load_studio,
    mix,
    parse_prompt,
    score_image,
)
from celeb_core.files import write_atomically
from celeb_core.marks.provenance import Marker
from celeb_core.prompt import PORTRAIT, known_names
from toonville.images import SAMPLE_PEOPLE, sample_photo

FOLDER = "examples"
PROMPTS = (
    "a photo of <ada> playing the guitar on stage",
    "<bob> on the beach wearing sunglasses",
    "<cleo> reading a book in the library",
    "<bob> in space wearing a crown",
    "<ada> and <bob> at dinner",
    "<cleo> shakes hands with {celebrity}",
)
SEEDS = range(1, 5)  # of which the image with the highest scores is kept
PORTRAIT_SEED = 1
COLOURS = 128  # of a palette: a third of the size, without a visible difference
SIDE = 128  # of an image in a strip or a square, in pixels
STRIP, SQUARE = 5, 3  # images per side
MARKER = Marker(b"shipped with the program")  # says “generated”, and of no installation


def make_examples(assets: Path, identities: Path) -> None:
    """Write the folder again, from the shipped weights and sample people.

    Args:
        assets: The model folder.
        identities: Has the sample people.
    """
    studio = load_studio(str(assets))
    people = {n: p for n, p in list_identities(identities).items() if n in SAMPLE_PEOPLE}
    folder = assets / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    for name in people:
        path = folder / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        sample_photo(name).save(path, optimize=True)
    faces = {name: find_face(sample_photo(name), studio.faces).embedding for name in people}
    for name in people:
        prompt = parse_prompt(PORTRAIT.format(f"<{name}>"), people)
        (image,) = generate(prompt, studio.models, studio.basis, SampleConfig(seed=PORTRAIT_SEED))
        scores = score_image(image, prompt.text, {name: faces[name]}, studio.scorers)
        about = {"prompt": prompt.text, "seed": PORTRAIT_SEED, "model": studio.models.id}
        about["identity"] = scores.identity
        save(image, folder / "portraits" / f"{name}.png", about)
    for number, text in enumerate(PROMPTS, 1):
        prompt = parse_prompt(text.format(celebrity=studio.models.names[0]), people)
        image, about = best_image(prompt, people, faces, studio)
        save(image, folder / "images" / f"{number}.png", about)
        print(prompt.text, about["scores"])
    for name, mixtures in {"strip": _strip(studio), "square": _square(studio)}.items():
        file = MARKER.encode(mixtures, "WEBP", quality=85)
        write_atomically(folder / f"{name}.webp", file)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1000:.0f} kB")


def best_image(
    prompt: Prompt, people: Mapping[str, Identity], faces: Mapping[str, Tensor], studio: Studio
) -> tuple[Image.Image, dict[str, Any]]:
    """Return the best image of SEEDS, and the settings with which the page makes it again.

    Args:
        prompt: Of the image.
        people: Who can be in it.
        faces: Name -> embedding (512,) of the photo.
        studio: Generates and scores.
    """
    celebrities = known_names(prompt.text, studio.basis.names)
    wanted = {name: faces[name] for name in prompt.identities} | _celebrities(celebrities, studio)
    regions = RegionConfig() if len(wanted) > 1 else None
    made: list[tuple[float, int, Image.Image, Scores]] = []
    for seed in SEEDS:
        config = SampleConfig(seed=seed, regions=regions)
        (image,) = generate(prompt, studio.models, studio.basis, config)
        scores = score_image(image, prompt.text, wanted, studio.scorers)
        worst = min(face.identity for face in scores.faces)
        made.append((worst + (scores.prompt or 0.0), seed, image, scores))
    _, seed, image, scores = max(made, key=lambda one: one[0])
    models = studio.models
    about: dict[str, Any] = {
        "prompt": prompt.text,
        "negative_prompt": "",
        "seed": seed,
        "steps": models.steps,
        "guidance": models.guidance_scale,
        "scheduler": models.scheduler_name,
        "width": image.width,
        "height": image.height,
        "model": models.id,
        "basis": studio.basis.id,
        "people": list(prompt.identities),
        "strength": 1.0,
    }
    if regions:
        about["regions"] = {
            "mode": "Automatic",
            "strength": regions.strength,
            "self_attention_share": regions.self_attention_share,
            "boxes": {},
        }
    about["scores"] = {
        "people": {face.name: round(face.identity, 4) for face in scores.faces},
        "prompt": scores.prompt and round(scores.prompt, 4),
    }
    return image, about


def save(image: Image.Image, path: Path, about: Mapping[str, Any]) -> None:
    """Write an image with few colours as a marked PNG that carries its settings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = image.quantize(COLOURS, dither=Image.Dither.NONE)
    write_atomically(path, MARKER.png(small, about, str(about["prompt"])))


def _celebrities(names: Sequence[str], studio: Studio) -> dict[str, Tensor]:
    """Return the face embeddings (512,) of celebrities."""
    known = studio.calibration
    if known is None:
        return {}
    return {name: known.face_embeddings[known.names.index(name)] for name in names}


def _strip(studio: Studio) -> Image.Image:
    """Return images from one celebrity to another at one seed."""
    a, b = studio.models.names[1:3]
    lams = [1 - index / (STRIP - 1) for index in range(STRIP)]
    mixed = [interpolate(a, b, lam, studio.basis, studio.models) for lam in lams]
    return _tiles(mixed, STRIP, studio)


def _square(studio: Studio) -> Image.Image:
    """Return images between four celebrities at one seed."""
    four = studio.models.names[3:7]
    places = [(x / (SQUARE - 1), y / (SQUARE - 1)) for y in range(SQUARE) for x in range(SQUARE)]
    weights = [((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y) for x, y in places]
    mixed = [mix(four, each, studio.basis, studio.models) for each in weights]
    return _tiles(mixed, SQUARE, studio)


def _tiles(mixed: Sequence[Tensor], columns: int, studio: Studio) -> Image.Image:
    """Return images of mixtures (k, d) in rows, without gaps."""
    prompts = [parse_prompt(PORTRAIT.format("<mix>"), {"mix": one}) for one in mixed]
    images = generate_each(prompts, studio.models, studio.basis, SampleConfig(seed=5))
    whole = Image.new("RGB", (SIDE * columns, SIDE * (len(images) // columns)))
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        whole.paste(
            image.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (SIDE * column, SIDE * row)
        )
    return whole
