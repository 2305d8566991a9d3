from __future__ import annotations

import pytest

from celeb_core.checks import LEAST_SIDE, box, choice, number, text, texts
from celeb_core.errors import QUOTED, SettingsError

NUMBERS = (float("nan"), float("inf"), -float("inf"), 1e30, -1, 0, 101, 10**400, 2.5, True)
VALUES = (*NUMBERS, "", "5", "x" * 10**6, None, [], [5], {"a": 5}, b"5", 5j)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_what_is_no_whole_number_of_the_range_is_refused_by_name(value):
    with pytest.raises(
        SettingsError, match="^Steps is .*: give a whole number from 1 to 100.$"
    ) as e:
        number(value, "Steps", 1, 100)
    assert len(str(e.value)) < QUOTED + 80


def test_numbers_of_the_range_are_taken():
    assert [number(value, "Steps", 1, 100) for value in (1, 100, 7.0)] == [1, 100, 7]
    assert type(number(7.0, "Steps", 1, 100)) is int
    assert number(1, "λ", 0, 1, whole=False) == 1.0 and number(0.25, "λ", 0, 1, whole=False) == 0.25
    assert type(number(1, "λ", 0, 1, whole=False)) is float
    with pytest.raises(SettingsError, match="from 0 to 1.5"):
        number(2.5, "λ", 0, 1.5, whole=False)
    with pytest.raises(SettingsError, match="Seed is 1e\\+30: .* from 0 to 4,294,967,295"):
        number(1e30, "Seed", 0, 2**32 - 1)


def test_texts_are_refused_by_their_length_and_type():
    assert text("a", "Prompt", 1) == "a" and text(None, "Prompt", 1) == ""
    with pytest.raises(SettingsError, match="Prompt has 20,000,000 characters. .* to 10"):
        text("x" * 20_000_000, "Prompt", 10)
    assert text("a\ud800b", "Prompt", 5) == "ab"
    with pytest.raises(SettingsError, match="give a text"):
        text(["a"], "Prompt", 10)
    assert texts(["a", "b"], "People", 1) == ["a", "b"] and texts(None, "People", 1) == []
    for wrong in ("ab", [1], [["a"]], 5, {"a": 1}, [None]):
        with pytest.raises(SettingsError, match="People is"):
            texts(wrong, "People", 9)
    with pytest.raises(SettingsError, match="characters"):
        texts(["abc"], "People", 2)


def test_choices_are_named():
    assert choice("Tall", "Shape", {"Wide": 1, "Tall": 2}) == "Tall"
    for wrong in ("tall", None, [], {}, 5, "x" * 10**6):
        with pytest.raises(SettingsError, match="Shape is .*: choose one of Wide, Tall"):
            choice(wrong, "Shape", ("Wide", "Tall"))


def test_boxes_are_shares_of_an_image():
    assert box([0, 0.25, 1, 0.5], "The box") == (0.0, 0.25, 1.0, 0.5)
    assert box((0.1, 0.1, 0.1 + LEAST_SIDE, 0.1 + LEAST_SIDE), "The box")
    for wrong in (None, "abcd", [0, 0, 1], [0, 0, 1, 2], [0, 0, 1, "1"], [0.5, 0, 0.4, 1], 5j):
        with pytest.raises(SettingsError, match="The box"):
            box(wrong, "The box")
