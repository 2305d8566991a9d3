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
    """Label and template of every idea."""
    return [
        (f"{kind}: {template.format(**SHOWN)}", template)
        for kind, templates in IDEAS.items()
        for template in templates
    ]


def fill(template: str, people: Sequence[str], celebrities: Sequence[str]) -> str:
    """The people in order, each as they are written in a prompt; celebrities where they run out."""
    who = [*people, *celebrities, "a person", "a person"]
    famous = next((name for name in celebrities if name not in who[:1]), who[-1])
    return template.format(one=who[0], two=who[1], celebrity=famous)


def put_in(text: str, template: str, people: Sequence[str], celebrities: Sequence[str]) -> str:
    """The prompts with the idea as their last line.

    It takes the place of an idea that nobody has changed; what the user wrote stays above it.
    """
    lines = text.rstrip().splitlines()
    untouched = {fill(idea, people, celebrities) for _, idea in choices()}
    if lines and lines[-1].strip() in untouched:
        lines.pop()
    return "\n".join([*lines, fill(template, people, celebrities)])
