"""What all commands share: their options, and what is loaded by them."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from celeb_core.devices import DTYPES
from celeb_core.memory import MODES
from celeb_core.models import Models, Studio, load_models, load_studio
from celeb_core.sampling import SCHEDULERS

MODEL = "auto, toonville, a folder, a .safetensors checkpoint or a hub id"
CACHE = Path("~/.cache/celeb-basis-studio")
LIBRARY = Path("identities")


def add_command(commands: Any, name: str, run: Any, out: str) -> argparse.ArgumentParser:
    """One command with the options that all have; `run` does it, its docstring is the help."""
    about: str = run.__doc__
    sub: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    sub.set_defaults(run=run)
    sub.add_argument("--model", default="auto", help=MODEL)
    sub.add_argument("--device", help="cuda, mps or cpu; the best there is by default")
    sub.add_argument("--dtype", choices=DTYPES, help="of the UNet; the device's by default")
    sub.add_argument("--memory", choices=MODES, help="how lean; by the free memory by default")
    sub.add_argument("--compile", action="store_true", help="compile the UNet's blocks")
    sub.add_argument("--names", type=Path, help="text file with one celebrity per line")
    sub.add_argument("--face-pack", help="insightface pack: a name or a folder")
    sub.add_argument("--cache", type=Path, default=CACHE, help="folder for built bases")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--out", type=Path, help=out)
    return sub


def add_picture_options(sub: argparse.ArgumentParser, count: int) -> None:
    """How pictures are drawn, `count` of them if nothing else is asked."""
    sub.add_argument("--identities", type=Path, default=LIBRARY, help="folder of your people")
    sub.add_argument("--count", type=int, default=count, help="number of pictures")
    sub.add_argument("--steps", type=int)
    sub.add_argument("--guidance", type=float)
    late = "share of the steps, 0 to 1, before people come into the picture: more of the prompt"
    sub.add_argument("--delay", type=float, default=0.0, help=late)
    sub.add_argument("--negative", default="", help="what should not be in the picture")
    sub.add_argument("--scheduler", choices=list(SCHEDULERS))
    few = "LCM or Turbo LoRA, a file or a hub id: sets steps, guidance and scheduler"
    sub.add_argument("--fast-lora", help=few)
    small = "tiny, or the folder or hub id of an AutoencoderTiny: coarser pictures, sooner"
    sub.add_argument("--vae", help=small)


def studio_of(options: argparse.Namespace) -> Studio:
    """The model with its basis, faces and calibration; says why it was chosen."""
    studio = load_studio(
        options.model,
        device=options.device,
        dtype=options.dtype,
        memory=options.memory,
        compiled=options.compile,
        face_pack=options.face_pack,
        names=options.names,
        cache=cache_of(options),
    )
    logging.info(studio.models.note)
    return studio


def models_of(options: argparse.Namespace) -> Models:
    """The model alone."""
    return load_models(options.model, options.device, options.dtype, options.memory)


def cache_of(options: argparse.Namespace) -> Path:
    """The folder of --cache."""
    folder: Path = options.cache
    return folder.expanduser()


def advance(bar: Any, done: int, total: int) -> None:
    """Move a bar of tqdm to `done` of `total`."""
    bar.total = total
    bar.update(done - bar.n)
