"""Who is where in an image: boxes of people as they come from the page, from programs and files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from celeb_core import CelebError, Identity, Prompt, RegionConfig, SampleConfig, Studio, checks
from celeb_core.errors import SettingsError
from celeb_core.faces import FoundFaces
from celeb_core.files import parse_json
from celeb_core.layout import layout, people_of
from celeb_core.prompt import parse_prompt
from celeb_core.sampling import image_size
from celeb_core.types import Box
from ui.grid import BLANK, fill

OFF, AUTOMATIC, BOXES = "off", "automatic", "boxes"
MODES = (OFF, AUTOMATIC, BOXES)
MOST_BOXES = 16
MOST_TEXT = 20_000  # characters of the boxes as JSON
MOST_LINES = 100  # prompts whose people are shown
WIDE, ABOVE, BELOW = 2.4, 0.6, 1.4
"""Head and shoulders around a face: width, and what is above and below it, in sides of the face."""


def parse_boxes(value: Any) -> dict[str, Box]:
    """Return name -> box of a JSON text, or of what such a text holds; nothing is an empty one.

    A box is left, top, right and bottom as shares of the image, from 0 to 1.

    Raises:
        SettingsError: It is something else, too long, or a box is too small.
    """
    if value is None or isinstance(value, str) and not value.strip():
        return {}
    if isinstance(value, str):
        try:
            value = parse_json(checks.text(value, "The boxes", MOST_TEXT))
        except ValueError as error:
            raise SettingsError("The boxes are no JSON. Reset them and draw them anew.") from error
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise SettingsError(
            f"The boxes are {checks.shown(value)}: give an object of names and boxes, as in "
            '{"ada": [0.5, 0, 1, 1]}.'
        )
    if len(value) > MOST_BOXES:
        raise SettingsError(f"There are {len(value):,} boxes. Leave at most {MOST_BOXES}.")
    return {
        bare(name): checks.box(box, f"The box of {checks.shown(name)}")
        for name, box in value.items()
    }


def bare(name: str) -> str:
    """Return a person's name without < and >."""
    return name.strip().removeprefix("<").removesuffix(">")


def with_boxes(
    prompt: Prompt, boxes: Mapping[str, Box], names: Sequence[str], person: str | None = None
) -> Prompt:
    """Return a prompt with the boxes of its people; boxes of others are left out.

    Args:
        prompt: Of `parse_prompt`.
        boxes: Name -> box; BLANK is the person of a grid.
        names: Of the celebrities.
        person: Who stands in the blanks of a grid.
    """
    people = people_of(prompt, names)
    if person is not None and BLANK in boxes:
        boxes = {bare(person): boxes[BLANK], **boxes}
    return replace(prompt, boxes={name: boxes[name] for name in people if name in boxes})


# --- what the page shows ------------------------------------------------------------------------


def plan(
    core: Studio,
    lines: Sequence[str],
    grid: bool,
    known: Mapping[str, Identity],
    config: SampleConfig,
    boxes: Mapping[str, Box],
) -> str | None:
    """Return as JSON whom the page shows, where without a box of their own, in which proportions.

    Of the prompts with two or more people: all of them, each where the first one has them.

    Args:
        core: The models.
        lines: Prompts.
        grid: They have blanks for the people of a grid.
        known: The people of the library.
        config: With the size, if it is not automatic.
        boxes: That are drawn: whoever has none gives way.

    Returns:
        {"aspect": width / height, "people": [{"name", "box", "strength"}, ...]}, or None while no
        prompt can be read, as when a name is being typed. Celebrities have no strength.
    """
    names, found, aspect, readable = core.basis.names, dict[str, Box](), 1.5, not lines
    strengths = dict[str, float]()
    crowd = {BLANK: core.basis.mean} if grid else {}  # anybody will do
    for line in lines[:MOST_LINES]:
        with suppress(CelebError):
            text = fill(line, f"<{BLANK}>") if grid and BLANK in line else line
            prompt = parse_prompt(text, {**known, **crowd})
            readable = True
            own = {name: 1.0 for name in prompt.identities if name != BLANK}
            strengths = {**own, **prompt.strengths, **strengths}
            if len(people := people_of(prompt, names)) > 1:
                if not found:
                    width, height = image_size(prompt, core.models, names, config)
                    aspect = width / height
                found = {
                    **{name: _automatic(name, prompt, boxes, names) for name in people},
                    **found,
                }
    if not readable:
        return None
    shown = [
        {"name": name, "box": box, "strength": strengths.get(name)}
        for name, box in list(found.items())[:MOST_BOXES]
    ]
    return json.dumps({"aspect": round(aspect, 3), "people": shown})


def _automatic(name: str, prompt: Prompt, boxes: Mapping[str, Box], names: Sequence[str]) -> Box:
    """Return where somebody is who has no box, while others may have theirs."""
    others = {other: box for other, box in boxes.items() if other != name}
    return layout(with_boxes(prompt, others, names), names)[name]


def boxes_around(found: FoundFaces, people: Sequence[str]) -> dict[str, Box]:
    """Return boxes of people around the faces of a photo: head and shoulders, left to right.

    Args:
        found: Of `examine_photo`. Of more faces than people, the largest ones are taken.
        people: In the order of the prompt.

    Raises:
        SettingsError: There are fewer faces than people.
    """
    if len(found.faces) < len(people):
        faces = f"{len(found.faces)} face{'s' * (len(found.faces) != 1)}"
        raise SettingsError(
            f"The prompt has {len(people)} people, this image {faces}. Choose an image with "
            f"{len(people)} faces or more, or draw the boxes."
        )
    sizes = {index: _side(face.box) for index, face in enumerate(found.faces)}
    largest = sorted(sorted(sizes, key=lambda index: -sizes[index])[: len(people)])
    width, height = found.photo.size
    boxes = {}
    for name, index in zip(people, largest, strict=True):
        left, top, right, bottom = found.faces[index].box
        side, middle = sizes[index], (left + right) / 2
        box = (
            (middle - WIDE / 2 * side) / width,
            (top - ABOVE * side) / height,
            (middle + WIDE / 2 * side) / width,
            (bottom + BELOW * side) / height,
        )
        boxes[name] = _inside(box)
    return boxes


def _side(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _inside(box: Box) -> Box:
    """Return a box cut at the edges of the image, rounded, and as large as a box has to be."""
    left, top, right, bottom = (round(min(max(share, 0.0), 1.0), 3) for share in box)
    left, top = min(left, 1 - checks.LEAST_SIDE), min(top, 1 - checks.LEAST_SIDE)
    right, bottom = max(right, left + checks.LEAST_SIDE), max(bottom, top + checks.LEAST_SIDE)
    return (left, top, right, bottom)


# --- settings of an image -----------------------------------------------------------------------


def region_settings(config: RegionConfig | None, prompt: Prompt) -> dict[str, Any]:
    """Return what an image of several people keeps of its regions, as JSON values."""
    if config is None:
        return {"mode": OFF}
    return {
        "mode": BOXES if prompt.boxes else AUTOMATIC,
        "strength": config.strength,
        "self_attention_share": config.self_attention_share,
        "boxes": {name: list(box) for name, box in prompt.boxes.items()},
    }


def describe_regions(stored: Mapping[str, Any]) -> str:
    """Return in words what `region_settings` says."""
    if stored["mode"] == OFF:
        return OFF
    where = f"boxes of {', '.join(stored['boxes'])}" if stored["boxes"] else AUTOMATIC
    return f"{where}, strength {stored['strength']:g}"


def from_region_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `Form` that the settings of an image mean; what is damaged is left out.

    Images of several people from before there were regions had none.
    """
    stored, scores = settings.get("regions"), settings.get("scores")
    if stored is None:
        people = scores.get("people") if isinstance(scores, Mapping) else None
        return {"regions": OFF} if isinstance(people, Mapping) and len(people) > 1 else {}
    if not isinstance(stored, Mapping) or stored.get("mode") not in MODES:
        return {}
    fields: dict[str, Any] = {"regions": stored["mode"]}
    for name, key in (("region_strength", "strength"), ("self_attention_share",) * 2):
        with suppress(SettingsError):
            fields[name] = checks.number(stored.get(key), name, 0, 1, whole=False)
    if stored["mode"] == BOXES:
        try:
            fields["boxes"] = json.dumps(parse_boxes(stored.get("boxes")))
        except SettingsError:
            fields["regions"] = AUTOMATIC
    return fields
