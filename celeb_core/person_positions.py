"""Where people are in a prompt: a model may know them up to some token only.

Which token that is was measured by `prepare.positions`. A prompt with a later person is rearranged
where that keeps its meaning; otherwise a hint says what to do.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from celeb_core.basis import K
from celeb_core.errors import PromptTooLong, quote
from celeb_core.prompt import mentions
from celeb_core.text_encoder import PLACEHOLDER, TextEncoder, tokenize
from celeb_core.types import PersonPositions, Prompt

OPENING = "an image of "  # before a person who has come first; it says nothing of the style
SEPARATOR = re.compile(r"[,;]\s*|[.!?]\s+(?=[A-Z<])")
CONJUNCTION = re.compile(r"(?:and|with|plus|featuring|starring)\s+", re.IGNORECASE)
# What an image is may be said behind its people. Not so “in front of <ada>”, “a cup of tea and”.
IMAGE = (
    r"[^<>]*\b(?:art|caricature|cartoon|close-?up|depiction|drawing|illustration|image|painting|photo|"
    r"photograph|picture|portrait|poster|rendering|render|screenshot|selfie|shot|sketch|snapshot|"
    r"still|watercolou?r)"
)
HEAD = re.compile(rf"(?P<head>{IMAGE})\s+of\s+", re.IGNORECASE)
# “a photo of a happy young <ada>”: words that can only describe the name behind them.
DESCRIBED = re.compile(
    rf"(?P<head>{IMAGE}\s+of\s+|)(?:an?|the)\s+(?P<words>\w+(?:[ -]\w+){{0,5}})\s+",
    re.IGNORECASE,
)
LINKS = set(
    "a an the and or of in on at to by with from for as near next beside behind under over between "
    "into like is are who that while".split()
)
"""Words after an article of which the next one is no description of a name."""


@dataclass(frozen=True)
class LatePerson:
    """A person of a prompt whom the model does not know there."""

    name: str
    position: int  # of their first token; the start token is 0
    limit: int  # the last position where the model knows them


def people_in(text: str, names: Sequence[str] = ()) -> list[tuple[str, int]]:
    """Return the people of a text in order, placeholders and celebrities, and where they begin.

    Each is there once, at the first mention.
    """
    first: dict[str, int] = {}
    for name, match in mentions(text, names):
        first.setdefault(name, match.start())
    return list(first.items())


def token_position(text: str, start: int, encoder: TextEncoder) -> int:
    """Return the position of the token that begins at a character; the start token is 0."""
    parts = PLACEHOLDER.split(text[:start])  # text, name, text, name, ..., text
    return 1 + sum(K if i % 2 else len(encoder.token_ids(part)) for i, part in enumerate(parts))


def late_people(
    prompt: Prompt, limits: PersonPositions, encoder: TextEncoder, names: Sequence[str] = ()
) -> list[LatePerson]:
    """Return the people of a prompt who are behind the last position where the model knows them.

    Args:
        prompt: Of `parse_prompt`.
        limits: As measured, of the model.
        encoder: Whose tokens count; of several encoders the first.
        names: Celebrities.
    """
    late = []
    for index, (name, start) in enumerate(people_in(prompt.text, names)):
        limit = limits.later.limit if index else limits.first.limit
        if limit is None:
            continue
        # Pairs were measured. What further people add before the next one is no word of the scene.
        limit += max(0, index - 1) * (K + 1)
        if (position := token_position(prompt.text, start, encoder)) > limit:
            late.append(LatePerson(name, position, limit))
    return late


def rearranged(
    prompt: Prompt, limits: PersonPositions, encoder: TextEncoder, names: Sequence[str] = ()
) -> Prompt:
    """Move what stands before the first person behind them, as far as the model needs that.

    “masterpiece, best quality, <ada> on the beach” becomes “an image of <ada> on the beach,
    masterpiece, best quality”. Whole clauses go first; if that is not enough, words that describe
    the person (“a happy <ada>”), then what the image is (“an oil painting of <ada>”), which keep
    their words. Where the person would come first of all, OPENING stands before them: a model that
    knows people early only has mostly seen them behind such words. The prompt comes back as it is
    if nobody is late, or nothing can be moved.

    Args:
        prompt: Of `parse_prompt`.
        limits: As measured, of the model.
        encoder: Whose tokens count; of several encoders the first.
        names: Celebrities.

    Returns:
        The prompt with the new `text`, and the old one as `written`.
    """
    best = prompt
    for change in (_clauses_moved, _description_moved, _head_moved):
        if not (late := late_people(best, limits, encoder, names)):
            break
        moved = replace(best, text=change(best.text, names))
        if _excess(late_people(moved, limits, encoder, names)) < _excess(late):
            best = moved
    if best is not prompt and people_in(best.text, names)[0][1] == 0:
        opened = replace(best, text=OPENING + best.text)
        if not late_people(opened, limits, encoder, names) and not _too_long(opened.text, encoder):
            best = opened
    if best is prompt or _too_long(best.text, encoder):
        return prompt
    return replace(best, written=prompt.written or prompt.text)


def position_hints(
    prompt: Prompt, limits: PersonPositions, encoder: TextEncoder, names: Sequence[str] = ()
) -> list[str]:
    """Say how a prompt was rearranged, and who is still too late in it."""
    found = []
    if prompt.written:
        found.append(
            "This model knows people near the beginning of a prompt only, so that yours was "
            f"rearranged: “{quote(prompt.text)}”"
        )
    for late in late_people(prompt, limits, encoder, names):
        found.append(
            f"{late.name} is at token {late.position}; this model knows people there up to token "
            f"{late.limit}. Write {late.name} nearer to the beginning."
        )
    return found


def _excess(late: Sequence[LatePerson]) -> int:
    """Tokens by which people are too late, in all."""
    return sum(one.position - one.limit for one in late)


def _too_long(text: str, encoder: TextEncoder) -> bool:
    """Whether a text has more tokens than the encoder reads."""
    try:
        tokenize(text, encoder, K)
    except PromptTooLong:
        return True
    return False


def _clauses_moved(text: str, names: Sequence[str]) -> str:
    """Move the clauses before that of the first person to the end."""
    start = people_in(text, names)[0][1]
    cuts = [found for found in SEPARATOR.finditer(text) if found.end() <= start]
    if not cuts:
        return text
    before, after = text[: cuts[-1].start()], text[cuts[-1].end() :]
    if found := CONJUNCTION.match(after):
        after = after[found.end() :]
    return _joined(after, cuts[-1][0].strip(), before)


def _description_moved(text: str, names: Sequence[str]) -> str:
    """Move words that describe the only person of a clause behind that clause."""
    start, clause = _first_clause(text, names)
    found = DESCRIBED.fullmatch(text, 0, start)
    if not found or LINKS & set(found["words"].lower().split()):
        return text
    if len(people_in(text[:clause], names)) > 1:
        return text
    return f"{found['head']}{text[start:clause]}, {found['words']}{text[clause:]}"


def _head_moved(text: str, names: Sequence[str]) -> str:
    """Move “a photo of” behind the clause that it begins."""
    start, clause = _first_clause(text, names)
    if not (found := HEAD.match(text, 0, start)):
        return text
    return f"{text[found.end() : clause]}, {found['head']}{text[clause:]}"


def _first_clause(text: str, names: Sequence[str]) -> tuple[int, int]:
    """Return where the first person begins, and where that clause ends."""
    start = people_in(text, names)[0][1]
    end = SEPARATOR.search(text, start)
    return start, end.start() if end else len(text.rstrip(" .!?"))


def _joined(first: str, separator: str, second: str) -> str:
    """Join two parts of a text by a separator of theirs."""
    body = first.rstrip(" ,;")
    end = body[-1:] if body[-1:] in (".", "!", "?") else ""
    return f"{body.removesuffix(end)}{separator} {second.strip(' ,;')}{end}"
