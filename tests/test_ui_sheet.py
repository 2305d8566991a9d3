from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ui.grid import fill
from ui.sheet import LARGEST, Cell, sheet

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def cell(colour, size=(64, 64), note=""):
    return Cell(Image.new("RGB", size, colour), note)


def middle_of(page, colour):
    """(x, y) of all pixels of a colour, or nothing."""
    there = np.argwhere((np.asarray(page) == colour).all(-1))
    return tuple(there.mean(0)[::-1]) if len(there) else None


def test_rows_are_below_each_other_and_groups_beside_each_other():
    page = sheet(
        ["ada", "bob"],
        ["one", "two"],
        ["seed 1"],
        [[cell(RED), cell(GREEN)], [cell(BLUE), Cell(None)]],
    )
    red, green, blue = (middle_of(page, colour) for colour in (RED, GREEN, BLUE))
    assert green[0] > red[0] + 64 and green[1] == red[1]
    assert blue[1] > red[1] + 64 and blue[0] == red[0]


def test_labels_and_notes_are_written():
    plain = sheet([""], [""], [""], [[cell(RED)]])
    for which in range(4):
        row, group, column, note = ("label" if which == number else "" for number in range(4))
        page = sheet([row], [group], [column], [[cell(RED, note=note)]])
        assert ink(page) > ink(plain) == 0


def ink(page):
    return int((np.asarray(page).max(-1) < 180).sum())


def test_large_images_are_made_smaller_and_keep_their_shape():
    page = sheet(["a"], ["b"], ["c"], [[cell(RED, (1536, 1024)), cell(BLUE, (1024, 1024))]])
    red = np.argwhere((np.asarray(page) == RED).all(-1))
    height, width = red.max(0) - red.min(0) + 1
    assert width == LARGEST and height == pytest.approx(LARGEST / 1.5, abs=1)


@pytest.mark.parametrize("name", ["x" * 64, "مرحبا بالعالم", "Zoë 🦊 張", "a b c d " * 16, "<b>&"])
def test_any_name_fits_the_sheet(name):
    page = sheet([name], [name], ["seed 1"], [[cell(RED)]])
    assert page.width < 400 and page.height < 400


def test_a_person_is_written_into_a_blank_but_not_of_one_within_a_name():
    assert fill("{} with <a{}b> and {}", "<ada>") == "<ada> with <a{}b> and <ada>"
    assert fill("<a{}b>", None) == "<a{}b>"
