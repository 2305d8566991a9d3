from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import celebrity_names

from celeb_core import Identity, parse_prompt
from celeb_core.errors import SettingsError
from celeb_core.layout import check_boxes, check_named, layout, people_of

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)


def prompt_of(basis, text="a photo of <ada> and <bob>", **boxes):
    nobody = Identity("x", torch.zeros(basis.k, basis.p), basis.id)
    return replace(parse_prompt(text, dict.fromkeys(("ada", "bob", "eve"), nobody)), boxes=boxes)


def test_people_are_found_in_the_order_of_the_text(basis):
    celebrity = celebrity_names()[0]
    prompt = prompt_of(basis, f"<bob>, {celebrity.upper()} and <ada>, <bob> smiling")
    assert people_of(prompt, basis.names) == ["bob", celebrity, "ada"]


def test_people_without_boxes_share_the_width(basis):
    prompt = prompt_of(basis, "<eve>, <ada> and <bob>")
    found = layout(prompt, basis.names)
    assert list(found) == ["eve", "ada", "bob"]
    assert [box[0] for box in found.values()] == pytest.approx([0, 1 / 3, 2 / 3])
    assert [box[2] for box in found.values()] == pytest.approx([1 / 3, 2 / 3, 1])
    assert {box[1::2] for box in found.values()} == {(0.0, 1.0)}


def test_people_without_boxes_keep_out_of_those_of_others(basis):
    assert layout(prompt_of(basis, ada=RIGHT), basis.names) == {"ada": RIGHT, "bob": LEFT}
    strangers = prompt_of(basis, eve=RIGHT)  # of another line of the page
    assert layout(strangers, basis.names) == {"ada": LEFT, "bob": RIGHT}


@pytest.mark.parametrize(
    "box", [(0.5, 0, 0.5, 1), (0, 0.9, 1, 0.1), (-0.1, 0, 1, 1), (0, 0, 1, float("nan")), (0, 1)]
)
def test_a_box_is_within_the_image(box):
    with pytest.raises(SettingsError, match="The box of ada"):
        check_boxes({"ada": box})


def test_whoever_has_a_box_is_in_the_prompt():
    check_named(["ada"], ["ada", "bob"])
    with pytest.raises(SettingsError, match="box for .*eve.*, who is in no prompt"):
        check_named(["ada", "eve"], ["ada", "bob"])
