"""Which names of a list the model knows (METHOD.md §1.2): each is drawn and looked at.

A name is kept if its pictures over several seeds show a face, and always the same one; if that
face is its own and not a better known namesake's; and if it is still there beside somebody else.
Made-up names, which nobody has, are drawn too: what they reach is chance.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from celeb_core.calibration import PORTRAIT, largest
from celeb_core.errors import FeatureMissing
from celeb_core.files import write_atomically
from celeb_core.prompt import parse_prompt
from celeb_core.sampling import generate
from celeb_core.types import SampleConfig

if TYPE_CHECKING:
    from celeb_core.models import Studio

BESIDE = ("a photo of {0} and {1}", "a photo of {1} and {0}")
MADE_UP = 24  # names that nobody has, drawn to see what chance reaches
OWN = 2  # pictures of the words that no other name has
LEAST = 4  # names and pictures below which there is nothing to compare
THUMBNAIL = 96  # pixels


@dataclass(frozen=True)
class Candidate:
    """A name and what it is drawn with."""

    name: str
    own: str  # its words that no other candidate has; empty if all or none of them are
    partner: str  # who is beside it
    made_up: bool = False


@dataclass(frozen=True, eq=False)
class Sighting:
    """What the recogniser saw of one name. Unit vectors; zeros where there was no face."""

    faces: Tensor  # (s, 512) one per seed, the same seeds for every name
    own: Tensor  # (o, 512) of its own words alone, seeds 0 to o; o is 0 if it has none
    beside: Tensor  # (b, 512) all faces of the pictures with its partner
    pictures: Tensor  # (bytes,) uint8: a JPEG of the pictures in a row


@dataclass(frozen=True)
class FilterConfig:
    """How names are drawn."""

    pictures: int = 4  # portraits per name
    seed: int = 0
    steps: int | None = None  # None: the model's own


def candidates(names: Sequence[str]) -> list[Candidate]:
    """The names, each with the next one as its partner, and made-up ones after them.

    Raises FeatureMissing for a list that is too short to compare anybody.
    """
    if len(names) < LEAST:
        raise FeatureMissing(
            f"{len(names)} names are too few to be compared with each other. List {LEAST} or more."
        )
    shared = Counter(word for name in names for word in set(name.split()))
    found = []
    for index, name in enumerate(names):
        own = " ".join(word for word in name.split() if shared[word] == 1)
        partner = names[(index + 1) % len(names)]
        found.append(Candidate(name, "" if own == name else own, partner))
    every = max(1, len(names) // MADE_UP)
    for real in found[::every][:MADE_UP]:
        words = [word[::-1].capitalize() for word in real.name.split()]
        found.append(Candidate(" ".join(words), "", real.partner, made_up=True))
    return found


def look(
    people: Sequence[Candidate],
    studio: Studio,
    folder: Path,
    config: FilterConfig,
    share: tuple[int, int] = (0, 1),
) -> Iterator[tuple[int, int]]:
    """Draw and keep in `folder` what is not there yet -> (done, all) of this share.

    `share` (i, n) takes every n-th name from the i-th on: n processes with one folder divide
    the work.
    """
    mine = people[share[0] :: share[1]]
    for done, who in enumerate(mine, start=1):
        path = folder / f"{_key(who, studio, config)}.safetensors"
        if load_sighting(path) is None:
            tensors = vars(_see(who, studio, config))
            write_atomically(path, save({key: value for key, value in tensors.items()}))
        yield done, len(mine)


def sightings(
    people: Sequence[Candidate], studio: Studio, folder: Path, config: FilterConfig
) -> list[Sighting | None]:
    """What is kept of each name; None for one that was not drawn yet."""
    keys = [_key(who, studio, config) for who in people]
    return [load_sighting(folder / f"{key}.safetensors") for key in keys]


def load_sighting(path: Path) -> Sighting | None:
    """What `look` kept; None if it is not there or was cut short."""
    try:
        tensors = load_file(path)
    except (FileNotFoundError, SafetensorError):
        return None
    return Sighting(
        **{key: t if t.dtype == torch.uint8 else t.float() for key, t in tensors.items()}
    )


def _see(who: Candidate, studio: Studio, config: FilterConfig) -> Sighting:
    shown: list[Image.Image] = []

    def draw(text: str, count: int) -> list[Image.Image]:
        prompt = parse_prompt(text, {})
        sample = SampleConfig(num_images=count, seed=config.seed, steps=config.steps)
        drawn = generate(prompt, studio.models, studio.basis, sample)
        shown.extend(drawn)
        return drawn

    portraits = draw(PORTRAIT.format(who.name), config.pictures)
    together = [p for text in BESIDE for p in draw(text.format(who.name, who.partner), 1)]
    alone = draw(PORTRAIT.format(who.own), OWN) if who.own else []
    beside = [face.embedding for picture in together for face in studio.faces.find(picture)]
    return Sighting(
        faces=_faces(portraits, studio).half(),
        own=_faces(alone, studio).half(),
        beside=torch.stack(beside).half() if beside else torch.zeros(0, 512).half(),
        pictures=_jpeg(shown),
    )


def _faces(pictures: Sequence[Image.Image], studio: Studio) -> Tensor:
    """The largest face of each picture (n, 512); zeros where there is none."""
    seen = torch.zeros(len(pictures), 512)
    for index, picture in enumerate(pictures):
        if found := studio.faces.find(picture):
            seen[index] = largest(found).embedding
    return seen


def _jpeg(pictures: Sequence[Image.Image]) -> Tensor:
    """Thumbnails in a row, as the bytes of one JPEG."""
    small = [p.resize((p.width * THUMBNAIL // p.height, THUMBNAIL)) for p in pictures]
    row = Image.new("RGB", (sum(p.width + 2 for p in small), THUMBNAIL), "white")
    at = 0
    for picture in small:
        row.paste(picture, (at, 0))
        at += picture.width + 2
    buffer = io.BytesIO()
    row.save(buffer, "JPEG", quality=80)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def _key(who: Candidate, studio: Studio, config: FilterConfig) -> str:
    """A hash of all that decides the pictures of a name, the UNet by its last layer."""
    drawn_with = [who.name, who.own, who.partner, studio.models.id, studio.basis.id]
    digest = hashlib.sha256(json.dumps([*drawn_with, studio.faces.id, vars(config)]).encode())
    digest.update(studio.models.unet.conv_out.weight.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:24]
