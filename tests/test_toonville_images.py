"""Sheets of images with captions."""

from __future__ import annotations

import numpy as np
from PIL import Image

from toonville.images import LINE, MARGIN, sheet


def test_a_sheet_shows_every_image_above_its_caption() -> None:
    colours = [["red", "blue"], ["lime", "black"]]
    rows = [[Image.new("RGB", (60, 40), colour) for colour in row] for row in colours]
    short = sheet(rows, [["a", "b"], ["c", "d"]])
    pixels = np.asarray(short)
    for row in (0, 1):
        for column in (0, 1):
            x, y = MARGIN + column * (60 + MARGIN), MARGIN + row * (short.height - MARGIN) // 2
            tile = pixels[y : y + 40, x : x + 60]
            assert (tile == np.asarray(rows[row][column])).all()
            assert (pixels[y + 40 : y + 40 + LINE, x : x + 60] < 255).any()
    wrapped = sheet(rows, [["a caption of several lines", "b"], ["c", "d"]])
    assert wrapped.height > short.height and wrapped.width == short.width
