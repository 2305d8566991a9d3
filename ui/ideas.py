"""Ready-made prompts, and how the chosen people get into them."""

from __future__ import annotations

from collections.abc import Sequence

IDEAS: dict[str, tuple[str, ...]] = {
    "Plain": ("a photo of {one}", "a close-up photo of {one}"),
    "Action": (
        "a photo of {one} playing the guitar on stage",
        "a photo of {one} reading a book in the library",
        "a photo of {one} drinking coffee",
        "a photo of {one} holding flowers",
    ),
    "Scene": (
        "a photo of {one} on the beach wearing sunglasses",
        "a photo of {one} in the forest",
        "a photo of {one} in the mountains wearing a scarf",
        "a photo of {one} in space",
    ),
    "Expression": (
        "a photo of {one} smiling",
        "a photo of {one} looking surprised",
        "a photo of {one} winking",
    ),
    "Style": (
        "a pencil sketch of {one}",
        "pixel art of {one}",
        "an old photograph of {one}",
    ),
    "Two people": (
        "a photo of {one} and {two}",
        "a photo of {one} shaking hands with {two}",
        "a photo of {one} having dinner with {two}",
    ),
    "With a celebrity": (
        "a photo of {one} and {celebrity}",
        "a photo of {one} shaking hands with {celebrity}",
        "a photo of {one} having dinner with {celebrity}",
    ),
}
SHOWN = {"one": "…", "two": "…", "celebrity": "a celebrity"}


def choices() -> list[tuple[str, str]]:
    """Return label and template of every idea."""
    return [
        (f"{kind}: {template.format(**SHOWN)}", template)
        for kind, templates in IDEAS.items()
        for template in templates
    ]


def fill(template: str, people: Sequence[str], celebrities: Sequence[str]) -> str:
    """Write people into an idea, in order and as in a prompt; celebrities where they run out."""
    names = [*people, *celebrities, "a person", "a person"]
    celebrity = next((name for name in celebrities if name not in names[:1]), names[-1])
    return template.format(one=names[0], two=names[1], celebrity=celebrity)


def put_in(text: str, template: str, people: Sequence[str], celebrities: Sequence[str]) -> str:
    """Return the prompts with the idea as their last line.

    It replaces an idea that was not edited; what the user wrote stays above it.
    """
    lines = text.rstrip().splitlines()
    untouched = {fill(idea, people, celebrities) for _, idea in choices()}
    if lines and lines[-1].strip() in untouched:
        lines.pop()
    return "\n".join([*lines, fill(template, people, celebrities)])
