"""The identity of a person: a vector of continuous traits, each in [-1, 1]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TRAITS = (
    "skin_tone",  # light .. dark
    "skin_hue",  # olive .. pink
    "hair_light",  # black .. white
    "hair_warm",  # blue-grey .. ginger
    "hair_length",  # cropped .. below the shoulders
    "hair_curl",  # sleek .. curly and wide
    "hair_line",  # high forehead .. low fringe
    "face_width",
    "face_height",
    "jaw",  # pointed .. square
    "ears",
    "eye_size",
    "eye_spacing",
    "eye_colour",  # brown .. green .. blue
    "eye_slant",  # down .. up
    "brow_thickness",
    "brow_angle",  # falling .. rising outwards
    "nose_length",
    "nose_width",
    "mouth_width",
    "lips",  # thin .. full
    "facial_hair",  # none below 0 .. full beard
    "freckles",  # none below 0 .. many
    "age_lines",  # none below 0 .. deep
)
NUM_TRAITS = len(TRAITS)

Traits = NDArray[np.float32]


def sample_traits(rng: np.random.Generator, n: int) -> Traits:
    """Return n random people (n, NUM_TRAITS), uniform in [-1, 1]."""
    return rng.uniform(-1, 1, (n, NUM_TRAITS)).astype(np.float32)


def sample_distinct_traits(rng: np.random.Generator, n: int, candidates: int = 12) -> Traits:
    """Return n people (n, NUM_TRAITS), each far from those before.

    Mitchell's best-candidate sampling: celebrities are easy to tell apart.

    Args:
        rng: Source of randomness.
        n: Number of people.
        candidates: Random people per choice, of whom the most distant is taken.
    """
    chosen = sample_traits(rng, n)
    for i in range(1, n):
        offers = sample_traits(rng, candidates)
        gaps = ((offers[:, None] - chosen[None, :i]) ** 2).sum(-1).min(1)
        chosen[i] = offers[gaps.argmax()]
    return chosen


def trait(person: Traits, name: str) -> float:
    """Return one trait of one person, in [-1, 1]."""
    return float(person[TRAITS.index(name)])
