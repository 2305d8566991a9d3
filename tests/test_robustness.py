"""Nothing that a person hands in raises anything but a CelebError, is slow, or takes much memory.

A few mutations are a part of every test run; all of them: --full -s, which prints one line each.
"""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from conftest import portrait
from fuzzing import image_seeds, mutations
from PIL import Image

from celeb_core import find_faces, load_face_model, load_photo
from celeb_core.errors import CelebError

SECONDS, MEGABYTES = 5, 1000
FACES = Path(__file__).parents[1] / "assets" / "toonville" / "faces"


@dataclass
class Figures:
    """What became of a number of files."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0  # seconds of the processor
    megabytes: float = 0.0  # more than before, at the peak
    others: list[str] = field(default_factory=list)  # what is no CelebError

    def attempt(self, what: str, read: Callable[[], object]) -> None:
        """Call a function once."""
        started = time.process_time()
        try:
            read()
            self.read += 1
        except CelebError:
            self.refused += 1
        except Exception as error:
            self.others.append(f"{what}: {error!r}")
        self.slowest = max(self.slowest, time.process_time() - started)


def peak() -> float:
    """Return the most memory that this process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def read_images(seed: int, count: int, with_faces: bool) -> Figures:
    """Read mutated images, in a process of its own, whose peak of memory is theirs alone."""
    face = Image.open(FACES.parents[2] / "docs" / "images" / "ada.png").convert("RGB")
    seeds = image_seeds(face if with_faces else portrait())
    model = load_face_model(FACES, det_size=(288, 288)) if with_faces else None
    figures, rng, before = Figures(), random.Random(seed), peak()
    each = {name: mutations(content, list(seeds.values()), rng) for name, content in seeds.items()}
    for name in islice((name for _ in range(count) for name in each), count):
        content = next(each[name])
        read = partial(find_faces, content, model) if model else partial(load_photo, content)
        figures.attempt(f"{name} of seed {seed}", read)
    figures.megabytes = peak() - before
    return figures


def check(what: str, parts: list[Figures]) -> None:
    read, refused = sum(part.read for part in parts), sum(part.refused for part in parts)
    slowest, megabytes = max(p.slowest for p in parts), max(p.megabytes for p in parts)
    print(
        f"{what}: {read + refused} files, {read} read, {refused} refused, the slowest "
        f"{slowest:.2f} s, at most {megabytes:.0f} MB more"
    )
    assert [other for part in parts for other in part.others] == []
    assert read and refused and megabytes < MEGABYTES


def test_mutated_images(request):
    full = request.config.getoption("--full")
    if not full:
        check("images", [read_images(0, 150, with_faces=False)])
        return
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(read_images, range(8), [250] * 8, [True] * 8))
    check("images", parts)
    assert max(part.slowest for part in parts) < SECONDS
