"""The language of Toonville: a spec becomes a sentence, in many ways."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toonville.world import PictureSpec

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

SOMEBODY = ("a person", "somebody", "someone")

EXPRESSION_WORDS: dict[str, tuple[str, ...]] = {
    "smiling": ("smiling", "laughing", "with a big smile", "looking happy", "happy"),
    "sad": ("looking sad", "sad", "with a sad face"),
    "angry": ("looking angry", "angry", "with an angry face"),
    "surprised": ("looking surprised", "surprised", "with a surprised face"),
    "winking": ("winking", "giving a wink"),
}
ACCESSORY_WORDS: dict[str, tuple[str, ...]] = {
    "sunglasses": ("wearing sunglasses", "with sunglasses", "in sunglasses"),
    "glasses": ("wearing glasses", "with red glasses", "with glasses"),
    "hat": ("wearing a hat", "with a hat", "in a brown hat"),
    "crown": ("wearing a crown", "with a golden crown", "with a crown"),
    "headphones": ("wearing headphones", "with headphones", "listening to music with headphones"),
    "scarf": ("wearing a scarf", "with a scarf", "in a pink scarf"),
}
CLOTHES_WORDS = (
    "wearing a {} shirt",
    "in a {} shirt",
    "in {}",
    "dressed in {}",
    "with a {} sweater",
    "wearing {} clothes",
)
SCENE_WORDS: dict[str, tuple[str, ...]] = {
    "beach": ("on the beach", "at the beach", "by the sea"),
    "city": ("in the city", "in a big city", "on a city street", "in front of the city skyline"),
    "forest": ("in the forest", "in a forest", "among trees in the woods"),
    "space": ("in space", "in outer space", "among the stars"),
    "mountains": ("in the mountains", "in front of snowy mountains", "in the snow"),
    "desert": ("in the desert", "in a desert with a cactus", "in the hot desert"),
    "library": ("in a library", "in the library", "in front of a bookshelf"),
    "stage": ("on stage", "on a stage", "in the theatre", "on the stage in a spotlight"),
}
ACTION_WORDS: dict[str, tuple[str, ...]] = {
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
STYLE_WORDS: dict[str, tuple[str, ...]] = {
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
PAIR_WORDS: dict[str, tuple[str, ...]] = {
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
    return options[rng.integers(len(options))]


def caption(
    spec: PictureSpec,
    who: Sequence[str],
    say_clothes: bool,
    rng: np.random.Generator,
) -> str:
    """Return a sentence for a picture.

    `who` names the people from left to right. Everything drawn is said, except the clothes of a
    single person if `say_clothes` is false, and the clothes of two, which are never said.
    """
    if len(spec.people) == 2:
        subject = _pick(rng, PAIR_WORDS[spec.interaction]).format(*who)
        parts: list[str] = []
    else:
        subject, parts = _single(spec, who[0], say_clothes, rng)
    if spec.people[0].expression != "neutral":
        parts.append(_pick(rng, EXPRESSION_WORDS[spec.people[0].expression]))
    rng.shuffle(parts)
    if spec.scene != "plain":
        words = _pick(rng, SCENE_WORDS[spec.scene])
        parts.insert(int(rng.integers(2)) * len(parts), words)
    template = _pick(rng, TEMPLATES)
    if spec.style != "plain":
        words = _pick(rng, STYLE_WORDS[spec.style])
        if "{}" in words:
            template = words
        else:
            parts.append(words)
    return template.format(" ".join([subject, *parts]))


def _single(
    spec: PictureSpec, who: str, say_clothes: bool, rng: np.random.Generator
) -> tuple[str, list[str]]:
    person = spec.people[0]
    parts: list[str] = []
    if person.action != "none":
        parts.append(_pick(rng, ACTION_WORDS[person.action]))
    if person.accessory != "none":
        parts.append(_pick(rng, ACCESSORY_WORDS[person.accessory]))
    if say_clothes:
        parts.append(_pick(rng, CLOTHES_WORDS).format(person.clothes))
    return who, parts


def all_words() -> list[str]:
    """Return every caption phrase, for the tokenizer's training text."""
    tables = (EXPRESSION_WORDS, ACCESSORY_WORDS, SCENE_WORDS, ACTION_WORDS, STYLE_WORDS, PAIR_WORDS)
    phrases = [p for table in tables for options in table.values() for p in options]
    return [*TEMPLATES, *SOMEBODY, *phrases, *CLOTHES_WORDS]
