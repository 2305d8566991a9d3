"""Aligned faces of thousands of random people, to train the recogniser and the judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from insightface.utils.face_align import norm_crop
from numpy.typing import NDArray

from celeb_core.scoring import CROP
from toonville.identity import Traits, sample_traits
from toonville.random_specs import varied_spec
from toonville.render import render

PAIR_SHARE = 0.3  # of the images, in which faces are smaller
LANDMARK_JITTER = 1.0  # pixels: a detector is never exact
CHUNK = 50  # people per job of a worker

AlignFace = Callable[[NDArray[np.uint8], NDArray[Any]], NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class PeopleStore:
    """N aligned faces of P people."""

    crops: NDArray[np.uint8]  # (N, side, side, 3)
    person_ids: NDArray[np.int64]  # (N,), 0 .. P - 1
    traits: Traits  # (P, NUM_TRAITS)

    def __len__(self) -> int:
        return len(self.crops)


def render_people_store(
    folder: Path,
    num_people: int,
    images_each: int,
    seed: int,
    align: AlignFace = norm_crop,
    side: int = CROP,
    workers: int = 2,
) -> None:
    """Render random people and store their aligned faces; a complete store is left as it is.

    Args:
        folder: Of the store.
        num_people: Number of people.
        images_each: Faces of each person.
        seed: Of the people and of their images.
        align: RGB image, landmarks (5, 2) -> crop (112, 112, 3); picklable.
        side: That crops are reduced to, in pixels.
        workers: Processes.
    """
    if (folder / "crops.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    traits = sample_traits(np.random.default_rng(seed), num_people)
    starts = range(0, num_people, CHUNK)
    jobs = [(traits[i : i + CHUNK], images_each, (seed, i), align, side) for i in starts]
    with ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(_render_people, jobs))
    ids = [start + chunk for start, (_, chunk) in zip(starts, parts, strict=True)]
    np.save(folder / "traits.npy", traits)
    np.save(folder / "who.npy", np.concatenate(ids))
    np.save(folder / "crops.npy", np.concatenate([crops for crops, _ in parts]))


_Job = tuple[Traits, int, tuple[int, int], AlignFace, int]


def _render_people(job: _Job) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    traits, images_each, seed, align, side = job
    rng = np.random.default_rng(seed)
    crops, ids = [], []
    for group in _groups(rng, len(traits), images_each):
        rendering = render(varied_spec(rng, traits[group]))
        image = np.asarray(rendering.image)
        for person, index in zip(rendering.people, group, strict=True):
            jitter = rng.uniform(-LANDMARK_JITTER, LANDMARK_JITTER, (5, 2))
            crop = align(image, person.landmarks + jitter)
            crops.append(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA))
            ids.append(index)
    return np.stack(crops).astype(np.uint8), np.array(ids)


def _groups(rng: np.random.Generator, people: int, each: int) -> Iterator[list[int]]:
    """Yield the people of one image, one or two, until everybody was in `each` images."""
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
