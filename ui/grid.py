"""A grid of people x prompts x seeds, and the one image that shows it all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from celeb_core import CelebError
from ui.jobs import SavedImage
from ui.progress import joined
from ui.sheet import Cell, sheet

BLANK = "{}"  # in a prompt: where each of the people goes
NAME_OR_BLANK = re.compile(r"<[^<>]*>|\{\}")


@dataclass(frozen=True)
class Grid:
    """One row per person; one column per prompt and seed. Generated row by row."""

    people: tuple[str, ...]  # as they are written in a prompt: "<ada>", or a celebrity's name
    prompts: tuple[str, ...]  # each with a blank
    seeds: tuple[int, ...]

    def sheet(self, pixels: Sequence[Image.Image], images: Sequence[SavedImage]) -> Image.Image:
        """Lay out the images that there are (at least one) with labels and identity scores."""
        across = len(self.prompts) * len(self.seeds)
        cells = [Cell(*pair) for pair in zip(pixels, map(_note, images), strict=True)]
        cells += [Cell(None)] * (across * len(self.people) - len(cells))
        return sheet(
            [person.strip("<>") for person in self.people],
            [fill(prompt, "…") for prompt in self.prompts],
            [f"seed {seed}" for seed in self.seeds],
            [cells[first : first + across] for first in range(0, len(cells), across)],
        )


def fill(prompt: str, person: str | None) -> str:
    """Write a person into the blanks of a prompt; blanks within a <name> are its own.

    Args:
        prompt: With a blank, or without one if there is no person.
        person: As written in a prompt, or None.

    Raises:
        CelebError: There is no blank for the person, or a blank without a person.
    """
    blanks = [found for found in NAME_OR_BLANK.findall(prompt) if found == BLANK]
    if person is None and blanks:
        raise CelebError(
            f"{BLANK} stands for the people of a grid: choose them under “Grid of people”, or "
            "write a name instead, as in <ada>."
        )
    if person is not None and not blanks:
        raise CelebError(
            f"Write {BLANK} where the people of the grid go, as in “a photo of {BLANK}”."
        )
    return NAME_OR_BLANK.sub(lambda found: str(person) if found[0] == BLANK else found[0], prompt)


def _note(image: SavedImage) -> str:
    """Identity scores, and the seed of an image that is a later attempt."""
    people: Mapping[str, float] = image.settings["scores"]["people"]
    attempts = image.settings.get("attempts", ())
    seed = image.settings.get("seed")
    later = [f"seed {seed}"] if attempts and attempts[0]["seed"] != seed else []
    return joined(*later, *(f"{score:.2f}" for score in people.values()))
