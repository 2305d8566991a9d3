"""Specs of images: the attributes that a prompt can ask for, and their labels."""

from __future__ import annotations

from dataclasses import dataclass

from toonville.identity import Traits

EXPRESSIONS = ("neutral", "smiling", "sad", "angry", "surprised", "winking")
ACCESSORIES = ("none", "sunglasses", "glasses", "hat", "crown", "headphones", "scarf")
CLOTHES = ("red", "blue", "green", "yellow", "purple", "orange", "white", "black")
SCENES = (
    "plain",
    "beach",
    "city",
    "forest",
    "space",
    "mountains",
    "desert",
    "library",
    "stage",
)
ACTIONS = ("none", "guitar", "book", "cup", "flowers", "waving")
STYLES = ("plain", "pencil sketch", "pixel art", "old photograph")
INTERACTIONS = ("beside", "handshake", "dinner")

GROUPS: dict[str, tuple[str, ...]] = {
    "expression": EXPRESSIONS,
    "accessory": ACCESSORIES,
    "clothes": CLOTHES,
    "scene": SCENES,
    "action": ACTIONS,
    "style": STYLES,
}

UNKNOWN = -1  # the label where an image of several people has no single answer

PIXELS = 2
"""Of an image per unit of the renderer's coordinates; an image is 128 units high."""
CELL = 16
"""Pixels of an image, in each direction, that one latent stands for."""
SIZES = {1: (256, 256), 2: (384, 256), 3: (576, 256)}
"""Number of people -> width and height of their image in pixels; faces have about one size."""


@dataclass(frozen=True)
class PersonSpec:
    """One person in an image: traits and attributes."""

    traits: Traits
    expression: str = "neutral"
    accessory: str = "none"
    clothes: str = "blue"
    action: str = "none"


@dataclass(frozen=True)
class ImageSpec:
    """Everything that determines an image: one to three people, left to right, and the scene.

    `seed` is that of the small random shifts of the rendering.
    """

    people: tuple[PersonSpec, ...]
    scene: str = "plain"
    style: str = "plain"
    interaction: str = "beside"
    seed: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, see SIZES."""
        return SIZES[len(self.people)]


def labels_of(spec: ImageSpec) -> list[int]:
    """Return the index of the right label of each group, in the order of GROUPS."""
    person = spec.people[0]
    attributes = {
        "expression": person.expression,
        "accessory": person.accessory,
        "clothes": person.clothes,
        "scene": spec.scene,
        "action": person.action,
        "style": spec.style,
    }
    labels = [values.index(attributes[group]) for group, values in GROUPS.items()]
    if len(spec.people) > 1:
        labels[list(GROUPS).index("clothes")] = UNKNOWN
    return labels
