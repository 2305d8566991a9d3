"""Who is where in an image of several people."""

from collections.abc import Sequence

from celeb_core.prompt import known_names
from celeb_core.text_encoder import PLACEHOLDER, normal_name
from celeb_core.types import Box, Prompt


def people_of(prompt: Prompt, names: Sequence[str]) -> list[str]:
    """Return all people of a prompt, identities and celebrities, in the order of its text."""
    spots = [(found.start(), normal_name(found[1])) for found in PLACEHOLDER.finditer(prompt.text)]
    lower = prompt.text.casefold()
    spots += [(lower.find(name.casefold()), name) for name in known_names(prompt.text, names)]
    return list(dict.fromkeys(name for _, name in sorted(spots)))


def layout(prompt: Prompt, names: Sequence[str]) -> dict[str, Box]:
    """Return where each person is expected: in their box, or else in columns, left to right."""
    people = people_of(prompt, names)
    columns = {
        name: (i / len(people), 0.0, (i + 1) / len(people), 1.0) for i, name in enumerate(people)
    }
    return {**columns, **prompt.boxes}
