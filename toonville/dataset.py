"""Training data: random specs with captions, and a store of rendered examples on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from toonville.captions import caption
from toonville.identity import NUM_TRAITS, Traits, sample_distinct_traits, sample_traits
from toonville.names import Names, make_names
from toonville.phrases import ANONYMOUS
from toonville.random_specs import random_spec
from toonville.render import render
from toonville.world import CELL, GROUPS, PIXELS, SIZES, ImageSpec, labels_of

CELEBRITY_SEED = 11
CAPTION_CHANCES = {
    "expression": 0.5,
    "accessory": 0.4,
    "scene": 0.5,
    "action": 0.45,
    "style": 0.2,
}  # higher than random_specs': what is rare is learned late
# Of the people in captions; the others are anonymous ("a person").
KNOWN_SHARE, UNKNOWN_SHARE = 0.80, 0.12
CHUNK = 500  # examples per job of a worker


@cache
def celebrities() -> tuple[Names, Traits]:
    """Return the names, and the traits (NUM_KNOWN, NUM_TRAITS) of the known ones."""
    names = make_names()
    return names, sample_distinct_traits(np.random.default_rng(CELEBRITY_SEED), len(names.known))


@dataclass(frozen=True)
class Captioned:
    """A training example: the spec of an image, its caption, and who is in it, left to right."""

    spec: ImageSpec
    text: str
    plain: str  # see captions.Caption
    name_ends: tuple[int, ...]  # see captions.Caption
    person_ids: tuple[int, ...]  # rows of the celebrities (or of others, see users); -1: none
    names: tuple[str, ...]  # as they are in the caption


def captioned(num_people: int, seed: int) -> Captioned:
    """Return the training example of a seed, of 1 to 3 people."""
    rng = np.random.default_rng(seed)
    names, known = celebrities()
    ids, chosen, traits = [], [], []
    for row in rng.permutation(len(names.known))[:num_people]:
        kind = rng.random()
        if kind < KNOWN_SHARE:
            ids.append(int(row))
            chosen.append(names.known[row])
            traits.append(known[row])
            continue
        ids.append(-1)
        pool = names.unknown if kind < KNOWN_SHARE + UNKNOWN_SHARE else ANONYMOUS
        chosen.append(pool[rng.integers(len(pool))])
        traits.append(sample_traits(rng, 1)[0])
    return example_of(rng, ids, chosen, np.stack(traits))


def unknown_example(seed: int) -> Captioned:
    """Return the training example of a seed: one person with an unknown name and random traits.

    For the UNet alone, which needs more of them than `captioned` gives; CLIP would be distracted
    from the 700 known names.
    """
    rng = np.random.default_rng(seed)
    unknown = celebrities()[0].unknown
    name = unknown[rng.integers(len(unknown))]
    return example_of(rng, (-1,), (name,), sample_traits(rng, 1))


def example_of(
    rng: np.random.Generator, person_ids: Sequence[int], names: Sequence[str], traits: Traits
) -> Captioned:
    """Return an example of given people with random attributes.

    Args:
        rng: Source of randomness.
        person_ids: See `Captioned`.
        names: See `Captioned`.
        traits: (1 to 3, NUM_TRAITS), from left to right.
    """
    spec = random_spec(rng, traits, CAPTION_CHANCES)
    said = caption(spec, names, mention_clothes=rng.random() < 0.5, rng=rng)
    return Captioned(spec, said.text, said.plain, said.name_ends, tuple(person_ids), tuple(names))


class CaptionRow(TypedDict):
    """A `Captioned` without its spec, as it is stored."""

    text: str
    plain: str
    name_ends: list[int]
    who: list[int]  # person_ids
    names: list[str]


@dataclass(frozen=True, eq=False)
class Store:
    """Rendered examples on disk: N images of one size with P people each."""

    images: NDArray[np.uint8]  # (N, height, width, 3)
    masks: NDArray[np.uint8]  # (N, height / cell, width / cell): share of face, 0..255
    traits: NDArray[np.float32]  # (N, P, NUM_TRAITS)
    landmarks: NDArray[np.float32]  # (N, P, 5, 2), pixels
    labels: NDArray[np.int8]  # (N, len(GROUPS)): see world.labels_of
    captions: list[CaptionRow]

    def __len__(self) -> int:
        return len(self.images)


# Field of Store -> its file. That of the images has an older name.
FILES = {
    "images": "pictures.npy",
    "masks": "masks.npy",
    "traits": "traits.npy",
    "landmarks": "landmarks.npy",
    "labels": "labels.npy",
}


def render_store(
    folder: Path,
    n: int,
    num_people: int,
    first_seed: int,
    example: Callable[[int], Captioned],
    workers: int = 2,
    pixels: int = PIXELS,
) -> None:
    """Render n examples into a folder; a complete store is left as it is.

    Args:
        folder: Of the store.
        n: Number of examples.
        num_people: In each image.
        first_seed: Example i has the seed `first_seed` + i.
        example: Seed -> example; picklable.
        workers: Processes.
        pixels: Of the images per unit, see `render`; a latent's cell has CELL * pixels / PIXELS.
    """
    if (folder / "captions.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    width, height = (side * pixels // PIXELS for side in SIZES[num_people])
    cell = CELL * pixels // PIXELS
    shapes = {
        "images": ((n, height, width, 3), np.uint8),
        "masks": ((n, height // cell, width // cell), np.uint8),
        "traits": ((n, num_people, NUM_TRAITS), np.float32),
        "landmarks": ((n, num_people, 5, 2), np.float32),
        "labels": ((n, len(GROUPS)), np.int8),
    }
    for field, (shape, dtype) in shapes.items():
        np.lib.format.open_memmap(folder / FILES[field], "w+", dtype=dtype, shape=shape)
    jobs = [
        (folder, range(start, min(start + CHUNK, n)), first_seed, example, pixels)
        for start in range(0, n, CHUNK)
    ]
    with ProcessPoolExecutor(workers) as pool:
        captions = [row for rows in pool.map(_render_chunk, jobs) for row in rows]
    (folder / "captions.json").write_text(json.dumps(captions))


_Job = tuple[Path, range, int, Callable[[int], Captioned], int]


def _render_chunk(job: _Job) -> list[CaptionRow]:
    folder, indices, first_seed, example_of_seed, pixels = job
    cell = CELL * pixels // PIXELS
    arrays = {field: np.load(folder / file, mmap_mode="r+") for field, file in FILES.items()}
    rows: list[CaptionRow] = []
    for i in indices:
        example = example_of_seed(first_seed + i)
        rendering = render(example.spec, pixels)
        arrays["images"][i] = np.asarray(rendering.image)
        mask = rendering.face_mask()
        arrays["masks"][i] = mask.reshape(mask.shape[0] // cell, cell, -1, cell).mean((1, 3))
        arrays["traits"][i] = [p.traits for p in example.spec.people]
        arrays["landmarks"][i] = [p.landmarks for p in rendering.people]
        arrays["labels"][i] = labels_of(example.spec)
        rows.append(
            {
                "text": example.text,
                "plain": example.plain,
                "name_ends": list(example.name_ends),
                "who": list(example.person_ids),
                "names": list(example.names),
            }
        )
    return rows


def load_store(folder: Path) -> Store:
    """Map a store into memory."""
    arrays = {field: np.load(folder / file, mmap_mode="r") for field, file in FILES.items()}
    return Store(**arrays, captions=json.loads((folder / "captions.json").read_text()))


def rare_rows(
    labels: NDArray[np.int8], rare: Mapping[str, Sequence[str]]
) -> list[NDArray[np.int64]]:
    """Find the examples that show a rare value.

    Args:
        labels: (N, len(GROUPS)).
        rare: Group -> values.

    Returns:
        For each group of `rare`, the rows that show one of its values.
    """
    columns = {group: labels[:, column] for column, group in enumerate(GROUPS)}
    return [
        np.flatnonzero(np.isin(columns[group], [GROUPS[group].index(v) for v in values]))
        for group, values in rare.items()
    ]


def sample_rows(
    rare: Sequence[NDArray[np.int64]],
    total: int,
    n: int,
    rng: np.random.Generator,
    share: float,
) -> NDArray[np.int64]:
    """Sample rows, rare ones more often.

    Args:
        rare: Rows per group, see `rare_rows`.
        total: Number of rows to sample from.
        n: Number of rows to sample.
        rng: Source of randomness.
        share: Of the n rows, that are rare ones; every group of `rare` is as likely.

    Returns:
        (n,), sorted.
    """
    groups = rng.integers(len(rare), size=round(n * share))
    chosen = [rng.choice(rare[group]) for group in groups]
    return np.sort([*chosen, *rng.choice(total, n - len(chosen), replace=False)])
