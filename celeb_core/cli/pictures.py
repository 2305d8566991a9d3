"""Pictures: of a prompt, and from one person to another."""

from __future__ import annotations

import argparse
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from celeb_core import fast
from celeb_core.basis import interpolate
from celeb_core.cli.options import add_command, add_picture_options, advance, studio_of
from celeb_core.files import write_atomically
from celeb_core.identity import list_identities
from celeb_core.models import Studio
from celeb_core.prompt import parse_prompt
from celeb_core.sampling import generate
from celeb_core.types import Identity, SampleConfig

PICTURES = Path("pictures")


def add_commands(commands: Any) -> None:
    """Add the commands of this module to the parser."""
    sub = add_command(commands, "generate", draw, f"folder for the pictures ({PICTURES})")
    sub.add_argument("prompt")
    add_picture_options(sub, 1)
    sub = add_command(commands, "interpolate", mix, f"folder for the pictures ({PICTURES})")
    sub.add_argument("a", help="a celebrity's name, or <name> of your library")
    sub.add_argument("b")
    sub.add_argument("--template", default="a photo of {}")
    add_picture_options(sub, 9)


def draw(options: argparse.Namespace) -> None:
    """Prompt -> pictures."""
    studio = studio_of(options)
    prompt = parse_prompt(options.prompt, list_identities(options.identities))
    config = _sample_config(options, studio)
    with tqdm(desc="drawing", unit="step") as bar:
        pictures = generate(
            prompt, studio.models, studio.basis, config, on_step=lambda *at: advance(bar, *at)
        )
    slug = re.sub(r"[^a-z0-9]+", "-", options.prompt.lower()).strip("-")[:60] or "picture"
    folder = options.out or PICTURES
    for index, picture in enumerate(pictures):
        print(_save_picture(picture, folder / f"{slug}-{config.seed + index}.png"))


def mix(options: argparse.Namespace) -> None:
    """Two people -> a strip of pictures from a to b."""
    studio = studio_of(options)
    library = list_identities(options.identities)
    a, b = (_somebody(name, library) for name in (options.a, options.b))
    config = replace(_sample_config(options, studio), num_images=1)
    folder = options.out or PICTURES
    for index in tqdm(range(options.count), desc="mixing", unit="picture"):
        lam = index / max(1, options.count - 1)
        words = interpolate(b, a, lam, studio.basis, studio.models)
        prompt = parse_prompt(options.template.format("<mix>"), {"mix": words})
        picture = generate(prompt, studio.models, studio.basis, config)[0]
        print(_save_picture(picture, folder / f"mix-{index:02}.png"))


def _somebody(name: str, library: dict[str, Identity]) -> str | Identity:
    """“<ada>” is of the library, anything else a celebrity's name."""
    if name.startswith("<"):
        identity = parse_prompt(name, library).identities[name.strip("<> ")]
        assert isinstance(identity, Identity)
        return identity
    return name


def _sample_config(options: argparse.Namespace, studio: Studio) -> SampleConfig:
    """As asked; with a fast LoRA, which is loaded here, what is left open is as it needs it."""
    usual: tuple[int | None, float | None, str | None] = (None, None, None)
    if options.fast_lora:
        fast.add_fast_lora(studio.models, options.fast_lora)
        usual = (fast.STEPS, fast.GUIDANCE, fast.SCHEDULER)
    if options.vae:
        studio.models.pipeline.vae = fast.load_tiny_vae(studio.models, options.vae)
    return SampleConfig(
        num_images=options.count,
        seed=options.seed,
        steps=options.steps or usual[0],
        guidance=usual[1] if options.guidance is None else options.guidance,
        negative_prompt=options.negative,
        scheduler=options.scheduler or usual[2],
        delay=options.delay,
    )


def _save_picture(picture: Image.Image, path: Path) -> Path:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())
    return path
