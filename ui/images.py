"""Images for the page and the disk: framed photos, PNG files that hold their settings."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from celeb_core import Face
from celeb_core.errors import PhotoUnreadable
from celeb_core.files import parse_json, write_atomically
from celeb_core.formats.image_file import png_text
from celeb_core.marks.provenance import PARAMETERS, SETTINGS, Marker
from ui.parameters import parse_parameters

SHOWN = 720  # longer side of a framed photo on the page
CHOSEN, OTHER = (79, 70, 229), (255, 255, 255)


def framed(photo: Image.Image, faces: Sequence[Face], chosen: int | None) -> Image.Image:
    """Draw a box around every face of a photo, with a number if there are several.

    Args:
        photo: Upright.
        faces: In the photo.
        chosen: Index of the highlighted face.

    Returns:
        The photo, `scale(photo)` times its size.
    """
    factor = scale(photo)
    size = (round(photo.width * factor), round(photo.height * factor))
    shown = photo.resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(shown)
    for index, face in enumerate(faces):
        left, top, right, bottom = (value * factor for value in face.box)
        colour = CHOSEN if index == chosen else OTHER
        draw.rounded_rectangle((left - 2, top - 2, right + 2, bottom + 2), 10, None, (0, 0, 0), 7)
        draw.rounded_rectangle((left, top, right, bottom), 8, None, colour, 4)
        if len(faces) > 1:
            _number(draw, index + 1, (left, top), colour)
    return shown


def scale(photo: Image.Image) -> float:
    """Return the pixels on the page per pixel of the photo."""
    return SHOWN / max(photo.size)


def face_at(faces: Sequence[Face], x: float, y: float) -> int:
    """Return the index of the face whose centre is nearest to a point of the photo."""

    def distance(index: int) -> float:
        left, top, right, bottom = faces[index].box
        return (x - (left + right) / 2) ** 2 + (y - (top + bottom) / 2) ** 2

    return min(range(len(faces)), key=distance)


def save_photo(image: Image.Image, path: Path) -> Path:
    """Write a photo as a PNG, atomically and without any mark; return the path.

    Raises:
        SaveFailed: The file cannot be written.
    """
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return write_atomically(path, buffer.getvalue())


def save_generated(
    image: Image.Image, path: Path, settings: Mapping[str, Any] | None, marker: Marker
) -> Path:
    """Write a generated image as a PNG with its mark, atomically.

    Args:
        image: RGB.
        path: Of the file; it is returned.
        settings: Stored as text, as A1111 does, and as JSON; None: not at all.
        marker: Of the installation.

    Raises:
        SaveFailed: The file cannot be written.
    """
    text = "" if settings is None else _as_text(settings)
    return write_atomically(path, marker.png(image, settings, text))


def read_settings(path: Path) -> dict[str, Any]:
    """Read the settings that `save_generated` wrote or, in another tool's PNG, its parameters.

    Raises:
        PhotoUnreadable: The file has neither.
    """
    try:
        if (text := png_text(path, SETTINGS)) is not None:
            settings = parse_json(text, finite=False)
        else:
            settings = parse_parameters(png_text(path, PARAMETERS) or "")
        if not isinstance(settings, dict):
            raise ValueError("no settings")
    except (PhotoUnreadable, ValueError) as error:
        raise PhotoUnreadable(
            "This image carries no settings. Choose a PNG as it was downloaded from here, or as "
            "A1111 or Forge saved it."
        ) from error
    return settings


def _as_text(settings: Mapping[str, Any]) -> str:
    """Write settings as A1111 does: prompt, then "Key: value" pairs."""
    lines = [str(settings.get("prompt", ""))]
    if settings.get("negative_prompt"):
        lines.append(f"Negative prompt: {settings['negative_prompt']}")
    names = {"steps": "Steps", "scheduler": "Sampler", "guidance": "CFG scale", "seed": "Seed"}
    pairs = [f"{label}: {settings[key]}" for key, label in names.items() if key in settings]
    pairs += [f"Size: {settings.get('width')}x{settings.get('height')}"]
    pairs += [f"Model: {settings.get('model')}"]
    return "\n".join([*lines, ", ".join(pairs)])


def _number(
    draw: ImageDraw.ImageDraw, number: int, corner: tuple[float, float], colour: tuple[int, ...]
) -> None:
    x, y = max(corner[0], 14.0), max(corner[1], 14.0)
    draw.ellipse((x - 14, y - 14, x + 14, y + 14), colour, (0, 0, 0), 2)
    ink = (255, 255, 255) if colour == CHOSEN else (0, 0, 0)
    font = ImageFont.load_default(18)
    draw.text((x, y), str(number), ink, font, anchor="mm")


@functools.cache
def silhouette(side: int = 256) -> Image.Image:
    """Return a portrait of a person without one."""
    image = Image.new("RGB", (side, side), (203, 213, 225))
    draw = ImageDraw.Draw(image)
    unit, grey = side / 16, (148, 163, 184)
    draw.ellipse((5 * unit, 3 * unit, 11 * unit, 9 * unit), grey)
    draw.ellipse((2.5 * unit, 10 * unit, 13.5 * unit, 22 * unit), grey)
    return image
