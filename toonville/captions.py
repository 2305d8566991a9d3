"""Captions: a spec -> one of many sentences that describe the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toonville.world import ImageSpec

TEMPLATES = (
    "a photo of {}",
    "a picture of {}",
    "an image of {}",
    "a portrait of {}",
    "a depiction of {}",
    "a drawing of {}",
    "a rendering of {}",
    "a good photo of {}",
    "a close-up photo of {}",
    "a cropped photo of {}",
    "a bright photo of {}",
    "the photo of {}",
    "a nice picture of {}",
    "a cool photo of {}",
    "the face of {}",
    "photo of {}",
    "a small photo of {}",
    "{}",
)

ANONYMOUS = ("a person", "somebody", "someone")

EXPRESSION_PHRASES: dict[str, tuple[str, ...]] = {
    "smiling": ("smiling", "laughing", "with a big smile", "looking happy", "happy"),
    "sad": ("looking sad", "sad", "with a sad face"),
    "angry": ("looking angry", "angry", "with an angry face"),
    "surprised": ("looking surprised", "surprised", "with a surprised face"),
    "winking": ("winking", "giving a wink"),
}
ACCESSORY_PHRASES: dict[str, tuple[str, ...]] = {
    "sunglasses": ("wearing sunglasses", "with sunglasses", "in sunglasses"),
    "glasses": ("wearing glasses", "with red glasses", "with glasses"),
    "hat": ("wearing a hat", "with a hat", "in a brown hat"),
    "crown": ("wearing a crown", "with a golden crown", "with a crown"),
    "headphones": ("wearing headphones", "with headphones", "listening to music with headphones"),
    "scarf": ("wearing a scarf", "with a scarf", "in a pink scarf"),
}
CLOTHES_PHRASES = (
    "wearing a {} shirt",
    "in a {} shirt",
    "in {}",
    "dressed in {}",
    "with a {} sweater",
    "wearing {} clothes",
)
SCENE_PHRASES: dict[str, tuple[str, ...]] = {
    "beach": ("on the beach", "at the beach", "by the sea"),
    "city": ("in the city", "in a big city", "on a city street", "in front of the city skyline"),
    "forest": ("in the forest", "in a forest", "among trees in the woods"),
    "space": ("in space", "in outer space", "among the stars"),
    "mountains": ("in the mountains", "in front of snowy mountains", "in the snow"),
    "desert": ("in the desert", "in a desert with a cactus", "in the hot desert"),
    "library": ("in a library", "in the library", "in front of a bookshelf"),
    "stage": ("on stage", "on a stage", "in the theatre", "on the stage in a spotlight"),
}
ACTION_PHRASES: dict[str, tuple[str, ...]] = {
    "guitar": (
        "playing the guitar",
        "plays guitar",
        "plays the guitar",
        "playing guitar",
        "with a guitar",
    ),
    "book": ("reading a book", "reads a book", "with an open book", "holding a book"),
    "cup": (
        "holding a cup of coffee",
        "drinking coffee",
        "drinks coffee",
        "with a cup",
        "holds a cup",
    ),
    "flowers": ("holding flowers", "with a bunch of flowers", "holds flowers", "with flowers"),
    "waving": ("waving", "waving a hand", "waves", "saying hello"),
}
STYLE_PHRASES: dict[str, tuple[str, ...]] = {
    "pencil sketch": (
        "as a pencil sketch",
        "a pencil sketch of {}",
        "a pencil drawing of {}",
        "in pencil sketch style",
    ),
    "pixel art": (
        "as pixel art",
        "pixel art of {}",
        "a pixel art portrait of {}",
        "in pixel art style",
    ),
    "old photograph": (
        "as an old photograph",
        "an old photograph of {}",
        "an old sepia photo of {}",
        "in old photograph style",
    ),
}
PAIR_PHRASES: dict[str, tuple[str, ...]] = {
    "beside": (
        "{} and {}",
        "{} next to {}",
        "{} with {}",
        "{} and {} together",
        "{} beside {}",
        "{} standing next to {}",
    ),
    "handshake": (
        "{} shakes hands with {}",
        "{} shaking hands with {}",
        "{} and {} shaking hands",
        "{} and {} shake hands",
    ),
    "dinner": (
        "{} and {} at dinner",
        "{} having dinner with {}",
        "{} and {} at the dinner table",
        "{} eating dinner with {}",
    ),
}


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def caption(
    spec: ImageSpec, names: Sequence[str], mention_clothes: bool, rng: np.random.Generator
) -> str:
    """Return a sentence that describes an image.

    Args:
        spec: Of the image.
        names: Of the people, from left to right.
        mention_clothes: Whether the clothes of a single person are mentioned; those of two people
            never are, everything else always is.
        rng: Source of randomness.
    """
    if len(spec.people) == 2:
        subject = _pick(rng, PAIR_PHRASES[spec.interaction]).format(*names)
        parts: list[str] = []
    else:
        subject, parts = names[0], _of_one_person(spec, mention_clothes, rng)
    if spec.people[0].expression != "neutral":
        parts.append(_pick(rng, EXPRESSION_PHRASES[spec.people[0].expression]))
    rng.shuffle(parts)
    if spec.scene != "plain":
        phrase = _pick(rng, SCENE_PHRASES[spec.scene])
        parts.insert(int(rng.integers(2)) * len(parts), phrase)
    template = _pick(rng, TEMPLATES)
    if spec.style != "plain":
        phrase = _pick(rng, STYLE_PHRASES[spec.style])
        if "{}" in phrase:
            template = phrase
        else:
            parts.append(phrase)
    return template.format(" ".join([subject, *parts]))


def _of_one_person(spec: ImageSpec, mention_clothes: bool, rng: np.random.Generator) -> list[str]:
    """Return phrases for action, accessory and clothes."""
    person = spec.people[0]
    parts: list[str] = []
    if person.action != "none":
        parts.append(_pick(rng, ACTION_PHRASES[person.action]))
    if person.accessory != "none":
        parts.append(_pick(rng, ACCESSORY_PHRASES[person.accessory]))
    if mention_clothes:
        parts.append(_pick(rng, CLOTHES_PHRASES).format(person.clothes))
    return parts


def all_phrases() -> list[str]:
    """Return every phrase of captions, for the tokenizer's training text."""
    tables = (
        EXPRESSION_PHRASES,
        ACCESSORY_PHRASES,
        SCENE_PHRASES,
        ACTION_PHRASES,
        STYLE_PHRASES,
        PAIR_PHRASES,
    )
    phrases = [p for table in tables for options in table.values() for p in options]
    return [*TEMPLATES, *ANONYMOUS, *phrases, *CLOTHES_PHRASES]
