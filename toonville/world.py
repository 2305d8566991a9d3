"""What a prompt may say: the words of Toonville's pictures, apart from who is in them."""

from __future__ import annotations

from dataclasses import dataclass, field

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

UNKNOWN = -1  # the label where a picture of two has no one answer

SINGLE_SIZE = (128, 128)
PAIR_SIZE = (192, 128)


@dataclass(frozen=True)
class PersonSpec:
    """One person in a picture: who it is and how they look there."""

    traits: Traits
    expression: str = "neutral"
    accessory: str = "none"
    clothes: str = "blue"
    action: str = "none"


@dataclass(frozen=True)
class PictureSpec:
    """All of a picture that is decided before it is drawn; one or two people, left to right."""

    people: tuple[PersonSpec, ...]
    scene: str = "plain"
    style: str = "plain"
    interaction: str = "beside"
    seed: int = field(default=0)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels: two people get a wider canvas, and faces keep their size."""
        return SINGLE_SIZE if len(self.people) == 1 else PAIR_SIZE


def labels_of(spec: PictureSpec) -> list[int]:
    """Return the number of the right label of each group, in the order of GROUPS."""
    person = spec.people[0]
    said = {
        "expression": person.expression,
        "accessory": person.accessory,
        "clothes": person.clothes,
        "scene": spec.scene,
        "action": person.action,
        "style": spec.style,
    }
    labels = [values.index(said[group]) for group, values in GROUPS.items()]
    if len(spec.people) == 2:
        labels[list(GROUPS).index("clothes")] = UNKNOWN
    return labels
