"""Measurements of images of two and three people: is everybody there, each in the right place."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from toonville.dataset import celebrities
from toonville.generated import Array, FaceEmbedder, ImageGenerator, mean
from toonville.phrases import PAIR_PHRASES, TRIO_PHRASES
from toonville.world import SIZES
from toonville.written_phrases import PAIR_FORMS, TRIO_FORMS

NUM_PAIRS = NUM_WIDE = 80
NUM_TRIOS = 60
GALLERY = 100  # celebrities that a face is compared with, those of the prompt included
TABLES = {2: (PAIR_PHRASES, PAIR_FORMS), 3: (TRIO_PHRASES, TRIO_FORMS)}  # plain, written


def written_orders(num_people: int) -> list[str]:
    """Return the written forms that do not name two or three people from left to right."""
    _, table = TABLES[num_people]
    forms = [form for options in table.values() for form in options]
    orders = [(form, re.findall(r"{(\d)}", form)) for form in forms]
    return [form for form, order in orders if order != sorted(order)]


def mixed_forms(num_people: int, n: int) -> list[str]:
    """Return n forms of two or three people: plain phrases and written orders in turn."""
    table, _ = TABLES[num_people]
    plain = [phrase for options in table.values() for phrase in options]
    kinds = (plain, written_orders(num_people))
    return [kinds[i % 2][i // 2 % len(kinds[i % 2])] for i in range(n)]


def group_prompts(
    forms: Sequence[str], num_people: int, rng: np.random.Generator
) -> tuple[list[str], list[NDArray[np.int64]]]:
    """Return prompts of random celebrities.

    Args:
        forms: Of each prompt.
        num_people: In each of them.
        rng: Source of randomness.

    Returns:
        The prompts; and for each of them GALLERY rows of celebrities, the first of which are the
        people of the prompt, from left to right.
    """
    names = celebrities()[0].known
    galleries = [rng.permutation(len(names))[:GALLERY] for _ in forms]
    prompts = [
        "a photo of " + form.format(*(names[row] for row in rows[:num_people]))
        for form, rows in zip(forms, galleries, strict=True)
    ]
    return prompts, galleries


def in_place(
    generator: ImageGenerator,
    embedder: FaceEmbedder,
    known_gallery: Array,
    forms: Sequence[str],
    num_people: int,
    rng: np.random.Generator,
    seed: int,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Generate an image of random celebrities for each form.

    Args:
        generator: Generates.
        embedder: Finds and embeds faces.
        known_gallery: The judge's embeddings of all celebrities.
        forms: Of the prompts.
        num_people: In each of them.
        rng: Of the celebrities.
        seed: Of the images.

    Returns:
        Whether each image (n,) has as many faces as people, and whether each place
        (n, num_people) has the right person: rank-1 among GALLERY celebrities. A place in an image
        with more or fewer faces is wrong.
    """
    prompts, galleries = group_prompts(forms, num_people, rng)
    complete = np.zeros(len(prompts), np.bool_)
    right = np.zeros((len(prompts), num_people), np.bool_)
    images = generator(prompts, seed, SIZES[num_people])
    for i, (image, rows) in enumerate(zip(images, galleries, strict=True)):
        faces = embedder.judged(image)
        complete[i] = len(faces) == num_people
        if complete[i]:
            right[i] = (faces @ known_gallery[rows].T).argmax(1) == np.arange(num_people)
    return complete, right


def pairs(
    generator: ImageGenerator, embedder: FaceEmbedder, known_gallery: Array, seed: int
) -> dict[str, float]:
    """Return the share of images of two with both faces, and of sides with the right person."""
    first = [phrases[0] for phrases in PAIR_PHRASES.values()]
    forms = [first[i % len(first)] for i in range(NUM_PAIRS)]
    rng = np.random.default_rng((seed, 3))
    complete, right = in_place(generator, embedder, known_gallery, forms, 2, rng, seed)
    return {"pair_found": mean(complete), "pair_rank1": mean(right)}


def groups_right(
    generator: ImageGenerator,
    embedder: FaceEmbedder,
    known_gallery: Array,
    num_people: int,
    n: int,
    seed: int,
) -> float:
    """Return the share of n images with all people in the right places; see `mixed_forms`."""
    forms = mixed_forms(num_people, n)
    rng = np.random.default_rng((seed, 6, num_people))
    _, right = in_place(generator, embedder, known_gallery, forms, num_people, rng, seed)
    return mean(np.all(right, axis=1))
