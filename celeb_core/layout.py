"""Who is where in an image of several people: the boxes of a prompt's people."""

from collections.abc import Collection, Mapping, Sequence

from celeb_core import checks
from celeb_core.errors import SettingsError, quote
from celeb_core.prompt import mentions
from celeb_core.types import Box, Prompt


def people_of(prompt: Prompt, names: Sequence[str]) -> list[str]:
    """Return the people of a prompt in the order of its text, each once: identities, celebrities.

    Args:
        prompt: Of `parse_prompt`.
        names: The celebrities whom the model knows.
    """
    return list(dict.fromkeys(name for name, _ in mentions(prompt.text, names)))


def layout(prompt: Prompt, names: Sequence[str]) -> dict[str, Box]:
    """Return where each person of a prompt is to be, as shares of width and height.

    That is the prompt's own box or, for people without one, a column: as many as there are people
    share the width, and those least covered by boxes are taken from left to right in the order of
    the text.
    """
    people = people_of(prompt, names)
    given = {name: box for name, box in prompt.boxes.items() if name in people}
    others = [name for name in people if name not in given]
    width = 1 / max(1, len(people))

    def covered(start: float) -> float:
        shares = (
            _common((start, start + width), box[::2]) * (box[3] - box[1]) for box in given.values()
        )
        return sum(shares)

    starts = sorted((width * column for column in range(len(people))), key=covered)
    columns = ((start, 0.0, start + width, 1.0) for start in sorted(starts[: len(others)]))
    found = {**given, **dict(zip(others, columns, strict=True))}
    return {name: found[name] for name in people}


def check_boxes(boxes: Mapping[str, Box]) -> None:
    """Raise SettingsError if a box is too small, or not within the image."""
    for name, sides in boxes.items():
        checks.box(sides, f"The box of {quote(name)}")


def check_named(boxes: Collection[str], people: Collection[str]) -> None:
    """Check that everybody who has a box is among the people of a prompt.

    Raises:
        SettingsError: Somebody is not.
    """
    for name in boxes:
        if name not in people:
            raise SettingsError(
                f"There is a box for {checks.shown(name)}, who is in no prompt. Write the name as "
                "in the prompt, or leave out the box."
            )


def _common(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the length that two intervals have in common."""
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
