"""Aligned faces of thousands of random people: what the recogniser and the judge learn from."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from celeb_core.alignment import ARCFACE_TEMPLATE, SIDE, align
from toonville.identity import Traits, sample_traits
from toonville.render import render
from toonville.world import (
    ACCESSORIES,
    ACTIONS,
    CLOTHES,
    EXPRESSIONS,
    INTERACTIONS,
    SCENES,
    STYLES,
    PersonSpec,
    PictureSpec,
)

PAIR_SHARE = 0.3  # of the pictures; there the faces are smaller
LANDMARK_JITTER = 1.0  # pixels: a detector is never exact
CHUNK = 50  # people


@dataclass(frozen=True, eq=False)
class PeopleStore:
    """N aligned faces of P people."""

    crops: NDArray[np.uint8]  # (N, side, side, 3)
    who: NDArray[np.int64]  # (N,), 0 .. P - 1
    traits: Traits  # (P, NUM_TRAITS)

    def __len__(self) -> int:
        return len(self.crops)


def _pick(rng: np.random.Generator, values: tuple[str, ...], chance: float) -> str:
    """Return one of the values but the first with this chance, else the first."""
    return values[rng.integers(1, len(values))] if rng.random() < chance else values[0]


def varied_spec(rng: np.random.Generator, people: Traits) -> PictureSpec:
    """Return a picture of one or two people (1 or 2, NUM_TRAITS) who look and do anything at all.

    More mixed than captions are: accessories, actions and styles come often and with two people.
    """
    specs = tuple(
        PersonSpec(
            traits,
            expression=_pick(rng, EXPRESSIONS, 0.6),
            accessory=_pick(rng, ACCESSORIES, 0.45),
            clothes=CLOTHES[rng.integers(len(CLOTHES))],
            action=_pick(rng, ACTIONS, 0.3),
        )
        for traits in people
    )
    return PictureSpec(
        specs,
        scene=_pick(rng, SCENES, 0.7),
        style=_pick(rng, STYLES, 0.25),
        interaction=INTERACTIONS[rng.integers(len(INTERACTIONS))],
        seed=int(rng.integers(2**31)),
    )


def draw_people_store(
    folder: Path,
    num_people: int,
    pictures_each: int,
    seed: int,
    template: NDArray[np.float32] = ARCFACE_TEMPLATE,
    side: int = SIDE,
    workers: int = 2,
) -> None:
    """Draw random people and store their faces, aligned to a template and reduced to `side`.

    A store that is complete already is left alone.
    """
    if (folder / "crops.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    traits = sample_traits(np.random.default_rng(seed), num_people)
    starts = range(0, num_people, CHUNK)
    jobs = [(traits[i : i + CHUNK], pictures_each, (seed, i), template, side) for i in starts]
    with ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(_draw_people, jobs))
    who = [start + chunk for start, (_, chunk) in zip(starts, parts, strict=True)]
    np.save(folder / "traits.npy", traits)
    np.save(folder / "who.npy", np.concatenate(who))
    np.save(folder / "crops.npy", np.concatenate([crops for crops, _ in parts]))


_Job = tuple[Traits, int, tuple[int, int], NDArray[np.float32], int]


def _draw_people(job: _Job) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    traits, pictures_each, seed, template, side = job
    rng = np.random.default_rng(seed)
    crops, who = [], []
    for group in _groups(rng, len(traits), pictures_each):
        picture = render(varied_spec(rng, traits[group]))
        image = np.asarray(picture.image)
        for person, index in zip(picture.people, group, strict=True):
            jitter = rng.uniform(-LANDMARK_JITTER, LANDMARK_JITTER, (5, 2))
            crop = align(image, person.landmarks + jitter, template)
            crops.append(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA))
            who.append(index)
    return np.stack(crops), np.array(who)


def _groups(rng: np.random.Generator, people: int, each: int) -> Iterator[list[int]]:
    """Yield who is in the next picture, one or two, until everybody was drawn `each` times."""
    queue = np.concatenate([rng.permutation(people) for _ in range(each)]).tolist()
    while queue:
        pair = len(queue) > 1 and queue[-1] != queue[-2] and rng.random() < PAIR_SHARE
        yield [queue.pop() for _ in range(2 if pair else 1)]


def load_people_store(folder: Path) -> PeopleStore:
    """Map a store into memory."""
    return PeopleStore(
        np.load(folder / "crops.npy", mmap_mode="r"),
        np.load(folder / "who.npy"),
        np.load(folder / "traits.npy"),
    )
