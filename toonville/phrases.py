"""The phrases of captions' plain form; a {} stands for a person, or the rest of the caption."""

from __future__ import annotations

import re

from toonville.world import CLOTHES


def listed(text: str) -> tuple[str, ...]:
    """Split phrases at semicolons."""
    return tuple(" ".join(phrase.split()) for phrase in text.split(";"))


def coloured(text: str) -> dict[str, tuple[str, ...]]:
    """Return colour -> the phrases of a text as for `listed` whose {} is the colour."""
    return {
        colour: tuple(right_article(phrase.format(colour)) for phrase in listed(text))
        for colour in CLOTHES
    }


def right_article(text: str) -> str:
    """Return a text with "an" before vowels."""
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


ANONYMOUS = ("a person", "somebody", "someone")
TEMPLATES = listed(
    "a photo of {}; a picture of {}; an image of {}; a portrait of {}; a depiction of {};"
    "a drawing of {}; a rendering of {}; a good photo of {}; a close-up photo of {};"
    "a cropped photo of {}; a bright photo of {}; the photo of {}; a nice picture of {};"
    "a cool photo of {}; the face of {}; photo of {}; a small photo of {}; {}"
)
EXPRESSION_PHRASES = {
    "smiling": listed("smiling; laughing; with a big smile; looking happy; happy"),
    "sad": listed("looking sad; sad; with a sad face"),
    "angry": listed("looking angry; angry; with an angry face"),
    "surprised": listed("looking surprised; surprised; with a surprised face"),
    "winking": listed("winking; giving a wink"),
}
ACCESSORY_PHRASES = {
    "sunglasses": listed("wearing sunglasses; with sunglasses; in sunglasses"),
    "glasses": listed("wearing glasses; with red glasses; with glasses"),
    "hat": listed("wearing a hat; with a hat; in a brown hat"),
    "crown": listed("wearing a crown; with a golden crown; with a crown"),
    "headphones": listed("wearing headphones; with headphones; listening to music with headphones"),
    "scarf": listed("wearing a scarf; with a scarf; in a pink scarf"),
}
CLOTHES_PHRASES = listed(
    "wearing a {} shirt; in a {} shirt; in {}; dressed in {}; with a {} sweater; wearing {} clothes"
)
SCENE_PHRASES = {
    "beach": listed("on the beach; at the beach; by the sea"),
    "city": listed("in the city; in a big city; on a city street; in front of the city skyline"),
    "forest": listed("in the forest; in a forest; among trees in the woods"),
    "space": listed("in space; in outer space; among the stars"),
    "mountains": listed("in the mountains; in front of snowy mountains; in the snow"),
    "desert": listed("in the desert; in a desert with a cactus; in the hot desert"),
    "library": listed("in a library; in the library; in front of a bookshelf"),
    "stage": listed("on stage; on a stage; in the theatre; on the stage in a spotlight"),
}
ACTION_PHRASES = {
    "guitar": listed(
        "playing the guitar; plays guitar; plays the guitar; playing guitar; with a guitar"
    ),
    "book": listed("reading a book; reads a book; with an open book; holding a book"),
    "cup": listed(
        "holding a cup of coffee; drinking coffee; drinks coffee; with a cup; holds a cup"
    ),
    "flowers": listed("holding flowers; with a bunch of flowers; holds flowers; with flowers"),
    "waving": listed("waving; waving a hand; waves; saying hello"),
}
STYLE_PHRASES = {
    "pencil sketch": listed(
        "as a pencil sketch; a pencil sketch of {}; a pencil drawing of {}; in pencil sketch style"
    ),
    "pixel art": listed(
        "as pixel art; pixel art of {}; a pixel art portrait of {}; in pixel art style"
    ),
    "old photograph": listed(
        "as an old photograph; an old photograph of {}; an old sepia photo of {};"
        "in old photograph style"
    ),
}
PAIR_PHRASES = {
    "beside": listed(
        "{} and {}; {} next to {}; {} with {}; {} and {} together; {} beside {};"
        "{} standing next to {}"
    ),
    "handshake": listed(
        "{} shakes hands with {}; {} shaking hands with {}; {} and {} shaking hands;"
        "{} and {} shake hands"
    ),
    "dinner": listed(
        "{} and {} at dinner; {} having dinner with {}; {} and {} at the dinner table;"
        "{} eating dinner with {}"
    ),
}
TRIO_PHRASES = {
    "beside": listed("{}, {} and {}; {} next to {} and {}; {} and {} and {} together"),
    "dinner": listed("{}, {} and {} at dinner; {} having dinner with {} and {}"),
}
PLAIN_TABLES = {
    "clothes": {c: tuple(p.format(c) for p in CLOTHES_PHRASES) for c in CLOTHES},
    "expression": EXPRESSION_PHRASES,
    "accessory": ACCESSORY_PHRASES,
    "scene": SCENE_PHRASES,
    "action": ACTION_PHRASES,
    "style": STYLE_PHRASES,
}


def plain_phrases() -> list[str]:
    """Return every phrase of captions in the plain form."""
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
