"""Many images as one, with labels for its rows and columns."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

LARGEST = 320  # longer side of an image on a sheet, in pixels
GAP, EDGE = 8, 24  # pixels
PAPER, INK, GREY = (255, 255, 255), (15, 23, 42), (71, 85, 105)
TEXT, SMALL = 17, 14  # sizes of letters
LINES = 6  # of a label at most
# The systems' fonts with letters of most scripts; what none of them has appears as a box.
FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "arial.ttf", "msyh.ttc",
    "Arial Unicode.ttf",
)  # fmt: skip
NO_LETTER = "\uffff"

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Cell:
    """An image, or a gap where there is none, and what is written under it."""

    image: Image.Image | None
    note: str = ""


def sheet(
    rows: Sequence[str],
    groups: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[Cell]],
) -> Image.Image:
    """Lay out cells of which at least one has an image; RGB, black on white.

    Args:
        rows: Labels.
        groups: Titles of the groups of columns.
        columns: Labels; every group has every column.
        cells: Row i has len(groups) * len(columns) of them.
    """
    images = [cell.image for row in cells for cell in row if cell.image]
    scale = min(1.0, LARGEST / max(max(image.size) for image in images))
    width = round(scale * max(image.width for image in images))
    height = round(scale * max(image.height for image in images))
    span = len(columns) * (width + GAP) - GAP
    names = [_wrapped(row, width, TEXT) for row in rows]
    titles = [_wrapped(group, span, TEXT) for group in groups]
    left = EDGE + max(_length(line, TEXT) for name in names for line in name) + 2 * GAP
    top = EDGE + max(map(len, titles)) * _line(TEXT) + _line(SMALL) + GAP
    step = height + _line(SMALL) + 2 * GAP  # from one row to the next
    wide = left + len(groups) * (span + 2 * GAP) - 2 * GAP + EDGE
    page = Image.new("RGB", (wide, top + len(rows) * step - 2 * GAP + EDGE), PAPER)
    draw = ImageDraw.Draw(page)

    def write(lines: Sequence[str], x: float, y: float, size: int, ink: tuple[int, ...]) -> None:
        """Lines below each other, centred at x."""
        for number, line in enumerate(lines):
            draw.text((x, y + number * _line(size)), line, ink, _font(line, size), anchor="ma")

    def left_of(column: int) -> int:
        group, inside = divmod(column, len(columns))
        return left + group * (span + 2 * GAP) + inside * (width + GAP)

    for number, title in enumerate(titles):
        write(title, left_of(number * len(columns)) + span / 2, EDGE, TEXT, INK)
        for inside, label in enumerate(columns):
            x = left_of(number * len(columns) + inside) + width / 2
            write([label], x, top - GAP - _line(SMALL), SMALL, GREY)
    for number, (name, row) in enumerate(zip(names, cells, strict=True)):
        y = top + number * step
        begin = y + (height - len(name) * _line(TEXT)) / 2
        write(name, (EDGE + left - 2 * GAP) / 2, begin, TEXT, INK)
        for column, cell in enumerate(row):
            corner = left_of(column)
            if cell.image:
                size = (round(scale * cell.image.width), round(scale * cell.image.height))
                small = cell.image.resize(size, Image.Resampling.LANCZOS)
                page.paste(small, (corner + (width - size[0]) // 2, y + (height - size[1]) // 2))
            write([cell.note], corner + width / 2, y + height + 2, SMALL, GREY)
    return page


def _wrapped(text: str, width: int, size: int) -> list[str]:
    """Lines of at most that width, broken within a word only where one alone is too long."""
    lines = [""]
    for word in text.split():
        if _length(f"{lines[-1]} {word}".strip(), size) <= width:
            lines[-1] = f"{lines[-1]} {word}".strip()
            continue
        lines.append("")
        for letter in word:
            if _length(lines[-1] + letter, size) > width:
                lines.append("")
            lines[-1] += letter
    lines = [line for line in lines if line] or [""]
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], lines[LINES - 1][:-1] + "…"]
    return lines


def _length(text: str, size: int) -> int:
    return round(_font(text, size).getlength(text))


@functools.cache
def _font(text: str, size: int) -> Font:
    """The first font that has all letters of the text."""
    fonts = _fonts(size)
    return next((font for font in fonts if all(_has(font, letter) for letter in text)), fonts[0])


@functools.cache
def _fonts(size: int) -> list[Font]:
    found: list[Font] = []
    for name in FONTS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:  # not on this machine
            continue
    return [*found, ImageFont.load_default(size)]


@functools.cache
def _has(font: Font, letter: str) -> bool:
    return bytes(font.getmask(letter)) != bytes(font.getmask(NO_LETTER))


def _line(size: int) -> int:
    """Height of a line of text in pixels."""
    return round(1.4 * size)
