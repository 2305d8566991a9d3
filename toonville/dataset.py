"""Training pictures: random specs with captions, and a store of drawn ones on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toonville.captions import SOMEBODY, caption
from toonville.identity import NUM_TRAITS, Traits, sample_distinct_traits, sample_traits
from toonville.names import Names, make_names
from toonville.render import render
from toonville.world import (
    ACCESSORIES,
    ACTIONS,
    CLOTHES,
    EXPRESSIONS,
    GROUPS,
    INTERACTIONS,
    PAIR_SIZE,
    SCENES,
    SINGLE_SIZE,
    STYLES,
    PersonSpec,
    PictureSpec,
    labels_of,
)

CELEBRITY_SEED = 11
ATTRIBUTE_CHANCES = {
    "expression": 0.35,
    "accessory": 0.30,
    "scene": 0.5,
    "action": 0.30,
    "style": 0.15,
}
CAPTION_CHANCES = {
    "expression": 0.5,
    "accessory": 0.4,
    "scene": 0.5,
    "action": 0.45,
    "style": 0.2,
}  # of what a caption says: what is rare is learned late
KNOWN, UNKNOWN, ANYBODY = 0.80, 0.12, 0.08  # of the people in captions


@cache
def celebrities() -> tuple[Names, Traits]:
    """Return the names, and the traits of the known ones, (NUM_KNOWN, NUM_TRAITS)."""
    names = make_names()
    return names, sample_distinct_traits(np.random.default_rng(CELEBRITY_SEED), len(names.known))


def _attribute(rng: np.random.Generator, chance: float, values: tuple[str, ...]) -> str:
    if rng.random() < chance:
        return values[rng.integers(1, len(values))]
    return values[0]


def random_person(
    rng: np.random.Generator, traits: Traits, chances: dict[str, float] = ATTRIBUTE_CHANCES
) -> PersonSpec:
    """Return a person who looks and does anything at all."""
    return PersonSpec(
        traits,
        expression=_attribute(rng, chances["expression"], EXPRESSIONS),
        accessory=_attribute(rng, chances["accessory"], ACCESSORIES),
        clothes=CLOTHES[rng.integers(len(CLOTHES))],
        action=_attribute(rng, chances["action"], ACTIONS),
    )


def random_spec(
    rng: np.random.Generator, people: Traits, chances: dict[str, float] = ATTRIBUTE_CHANCES
) -> PictureSpec:
    """Return a picture of one or two people of given traits, (1 or 2, NUM_TRAITS)."""
    specs = [random_person(rng, traits, chances) for traits in people]
    interaction = "beside"
    if len(specs) == 2:  # two people: one mood, no things; see captions.caption
        mood = specs[0].expression
        specs = [replace(p, accessory="none", action="none", expression=mood) for p in specs]
        interaction = INTERACTIONS[rng.integers(len(INTERACTIONS))]
    return PictureSpec(
        tuple(specs),
        scene=_attribute(rng, chances["scene"], SCENES),
        style=_attribute(rng, chances["style"], STYLES),
        interaction=interaction,
        seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True)
class Captioned:
    """A picture to be drawn, its caption, and which celebrities are in it (-1: not one)."""

    spec: PictureSpec
    text: str
    who: tuple[int, ...]
    names: tuple[str, ...]


def captioned(num_people: int, seed: int) -> Captioned:
    """Return the training example of a seed."""
    rng = np.random.default_rng(seed)
    names, known = celebrities()
    who, words, traits = [], [], []
    for other in rng.permutation(len(names.known))[:num_people]:
        kind = rng.random()
        if kind < KNOWN:
            who.append(int(other))
            words.append(names.known[other])
            traits.append(known[other])
            continue
        who.append(-1)
        pool = names.unknown if kind < KNOWN + UNKNOWN else SOMEBODY
        words.append(pool[rng.integers(len(pool))])
        traits.append(sample_traits(rng, 1)[0])
    return example_of(rng, who, words, traits)


def unknown_example(seed: int) -> Captioned:
    """Return the training example of a seed: one person whose name is not known, with any face.

    For the UNet alone, which needs more of them than `captioned` gives: CLIP learns from that, and
    has 700 names to learn.
    """
    rng = np.random.default_rng(seed)
    unknown = celebrities()[0].unknown
    name = unknown[rng.integers(len(unknown))]
    return example_of(rng, (-1,), (name,), sample_traits(rng, 1))


def example_of(
    rng: np.random.Generator, who: Sequence[int], words: Sequence[str], traits: Sequence[Traits]
) -> Captioned:
    """Return these people, left to right, in a random picture with its caption."""
    spec = random_spec(rng, np.stack(traits), CAPTION_CHANCES)
    text = caption(spec, words, say_clothes=rng.random() < 0.5, rng=rng)
    return Captioned(spec, text, tuple(who), tuple(words))


@dataclass(frozen=True, eq=False)
class Store:
    """Drawn examples on disk. N pictures of one size; P people in each."""

    pictures: NDArray[np.uint8]  # (N, height, width, 3)
    masks: NDArray[np.uint8]  # (N, height / 8, width / 8): share of face, 0..255
    traits: NDArray[np.float32]  # (N, P, NUM_TRAITS)
    landmarks: NDArray[np.float32]  # (N, P, 5, 2), pixels
    labels: NDArray[np.int8]  # (N, len(GROUPS)): see world.labels_of
    captions: list[dict[str, object]]  # text, who, names

    def __len__(self) -> int:
        return len(self.pictures)


FIELDS = ("pictures", "masks", "traits", "landmarks", "labels")


def draw_store(
    folder: Path,
    n: int,
    num_people: int,
    first_seed: int,
    example: Callable[[int], Captioned],
    workers: int = 2,
) -> None:
    """Draw n examples into a folder; a store that is complete already is left alone.

    `example` gives that of a seed, with `num_people` people.
    """
    if (folder / "captions.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    width, height = SINGLE_SIZE if num_people == 1 else PAIR_SIZE
    shapes = {
        "pictures": ((n, height, width, 3), np.uint8),
        "masks": ((n, height // 8, width // 8), np.uint8),
        "traits": ((n, num_people, NUM_TRAITS), np.float32),
        "landmarks": ((n, num_people, 5, 2), np.float32),
        "labels": ((n, len(GROUPS)), np.int8),
    }
    for field, (shape, dtype) in shapes.items():
        np.lib.format.open_memmap(folder / f"{field}.npy", "w+", dtype=dtype, shape=shape)
    chunks = [
        (folder, start, min(start + 500, n), first_seed, example) for start in range(0, n, 500)
    ]
    with ProcessPoolExecutor(workers) as pool:
        captions = [row for rows in pool.map(_draw_chunk, chunks) for row in rows]
    (folder / "captions.json").write_text(json.dumps(captions))


_Chunk = tuple[Path, int, int, int, Callable[[int], Captioned]]


def _draw_chunk(job: _Chunk) -> list[dict[str, object]]:
    folder, start, stop, first_seed, example_of_seed = job
    arrays = {f: np.load(folder / f"{f}.npy", mmap_mode="r+") for f in FIELDS}
    rows: list[dict[str, object]] = []
    for i in range(start, stop):
        example = example_of_seed(first_seed + i)
        picture = render(example.spec)
        arrays["pictures"][i] = np.asarray(picture.image)
        mask = picture.face_mask()
        arrays["masks"][i] = mask.reshape(mask.shape[0] // 8, 8, -1, 8).mean((1, 3))
        arrays["traits"][i] = [p.traits for p in example.spec.people]
        arrays["landmarks"][i] = [p.landmarks for p in picture.people]
        arrays["labels"][i] = labels_of(example.spec)
        rows.append({"text": example.text, "who": example.who, "names": example.names})
    return rows


def load_store(folder: Path) -> Store:
    """Map a store into memory."""
    arrays = {f: np.load(folder / f"{f}.npy", mmap_mode="r") for f in FIELDS}
    return Store(**arrays, captions=json.loads((folder / "captions.json").read_text()))


def shuffled_batches(n: int, size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield batches of indices for ever, each index once per round."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(n)
        for start in range(0, n - size + 1, size):
            yield order[start : start + size]


def rare_rows(
    labels: NDArray[np.int8], rare: Mapping[str, Sequence[str]]
) -> list[NDArray[np.int64]]:
    """Return the rows of labels (N, len(GROUPS)) that show one of `rare`, one array per group."""
    columns = {group: labels[:, place] for place, group in enumerate(GROUPS)}
    return [
        np.flatnonzero(np.isin(columns[group], [GROUPS[group].index(v) for v in values]))
        for group, values in rare.items()
    ]


def draw_rows(
    rare: Sequence[NDArray[np.int64]],
    total: int,
    n: int,
    rng: np.random.Generator,
    share: float,
) -> NDArray[np.int64]:
    """Return n rows of `total`, sorted: `share` of them rare ones, each group as often."""
    groups = rng.integers(len(rare), size=round(n * share))
    chosen = [rng.choice(rare[group]) for group in groups]
    return np.sort([*chosen, *rng.choice(total, n - len(chosen), replace=False)])
