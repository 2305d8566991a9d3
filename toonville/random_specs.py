"""Random specs: people with random attributes in random scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from toonville.identity import Traits
from toonville.world import (
    ACCESSORIES,
    ACTIONS,
    CLOTHES,
    EXPRESSIONS,
    INTERACTIONS,
    SCENES,
    STYLES,
    ImageSpec,
    PersonSpec,
)

# How often an attribute is not the default (neutral, none, plain).
ATTRIBUTE_CHANCES = {
    "expression": 0.35,
    "accessory": 0.30,
    "scene": 0.5,
    "action": 0.30,
    "style": 0.15,
}
VARIED_CHANCES = {
    "expression": 0.6,
    "accessory": 0.45,
    "scene": 0.7,
    "action": 0.3,
    "style": 0.25,
}


def random_spec(
    rng: np.random.Generator, people: Traits, chances: Mapping[str, float] = ATTRIBUTE_CHANCES
) -> ImageSpec:
    """Return a random spec, of several people one that a caption describes fully.

    Args:
        rng: Source of randomness.
        people: Traits (1 to 3, NUM_TRAITS), from left to right.
        chances: Attribute -> how often it is not the default.
    """
    specs = [_random_person(rng, traits, chances) for traits in people]
    interaction = "beside"
    if len(specs) > 1:
        specs = simplify_group(specs)
        interaction = _interaction(rng, len(specs))
    return ImageSpec(
        tuple(specs),
        scene=_pick(rng, SCENES, chances["scene"]),
        style=_pick(rng, STYLES, chances["style"]),
        interaction=interaction,
        seed=int(rng.integers(2**31)),
    )


def varied_spec(rng: np.random.Generator, people: Traits) -> ImageSpec:
    """Return a random spec that is more varied than captions are, for the face models.

    Accessories, actions and styles are frequent, and several people have their own ones.

    Args:
        rng: Source of randomness.
        people: Traits (1 to 3, NUM_TRAITS), from left to right.
    """
    return ImageSpec(
        tuple(_random_person(rng, traits, VARIED_CHANCES) for traits in people),
        scene=_pick(rng, SCENES, VARIED_CHANCES["scene"]),
        style=_pick(rng, STYLES, VARIED_CHANCES["style"]),
        interaction=_interaction(rng, len(people)),
        seed=int(rng.integers(2**31)),
    )


def simplify_group(people: Sequence[PersonSpec]) -> list[PersonSpec]:
    """Return two or three people as captions describe them.

    They have one expression, and no accessories or actions.
    """
    expression = people[0].expression
    return [
        replace(person, accessory="none", action="none", expression=expression) for person in people
    ]


def _interaction(rng: np.random.Generator, num_people: int) -> str:
    """Return a random interaction; three people do not shake hands."""
    options = [one for one in INTERACTIONS if num_people < 3 or one != "handshake"]
    return options[rng.integers(len(options))]


def _random_person(
    rng: np.random.Generator, traits: Traits, chances: Mapping[str, float]
) -> PersonSpec:
    return PersonSpec(
        traits,
        expression=_pick(rng, EXPRESSIONS, chances["expression"]),
        accessory=_pick(rng, ACCESSORIES, chances["accessory"]),
        clothes=CLOTHES[rng.integers(len(CLOTHES))],
        action=_pick(rng, ACTIONS, chances["action"]),
    )


def _pick(rng: np.random.Generator, values: tuple[str, ...], chance: float) -> str:
    """Return with this chance one of the values but the first, else the first."""
    return values[rng.integers(1, len(values))] if rng.random() < chance else values[0]
