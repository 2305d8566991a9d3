from __future__ import annotations

import pytest
import torch

from celeb_core import parse_prompt
from celeb_core.person_positions import (
    late_people,
    people_in,
    position_hints,
    rearranged,
    token_position,
)
from celeb_core.text_encoder import tokenize
from celeb_core.types import PersonPositions, PositionCurve

PEOPLE = {name: torch.zeros(2, 48) for name in ("ada", "bob", "cleo")}
NAMES = ("Bane Dolven", "Will")


class Words:
    """An encoder that has a token per word and comma."""

    class tokenizer:  # noqa: N801
        model_max_length = 30
        all_special_ids = (0,)
        bos_token_id = eos_token_id = pad_token_id = 0

        def __len__(self):
            return 2

        def decode(self, ids):
            return ""

    tokenizer = tokenizer()

    def token_ids(self, text):
        return text.replace(",", " , ").replace(".", " . ").split()


def limits(first: int | None, later: int | None = None) -> PersonPositions:
    return PersonPositions(*(PositionCurve((1, 9), (1.0, 0.0), limit) for limit in (first, later)))


def prompt(text):
    return parse_prompt(text, PEOPLE)


def test_people_are_found_in_their_order():
    text = "he will see <bob>, Will and bane dolven with <ada> and <bob>"
    assert [name for name, _ in people_in(text, NAMES)] == ["bob", "Will", "Bane Dolven", "ada"]
    assert people_in("<Will> and a crowd", NAMES)[0] == ("Will", 0)
    assert people_in("nobody") == []


def test_positions_are_those_of_the_tokens(models):
    encoder = models.encoders[0]
    text = "a photo of <ada>, smiling, next to <bob> and <ada>"
    starts = [start for _, start in people_in(text)]
    columns = dict(reversed(tokenize(text, encoder, 2).slots))
    assert [token_position(text, start, encoder) for start in starts] == list(columns.values())


def test_who_is_late_depends_on_who_comes_first():
    together = prompt("<ada> and <bob> and <cleo>")  # at 1, 4 and 7
    assert late_people(together, limits(4, 4), Words()) == []
    (late,) = late_people(together, limits(4, 3), Words())[:1]
    assert (late.name, late.position, late.limit) == ("bob", 4, 3)
    assert late_people(together, limits(None, None), Words()) == []
    (late,) = late_people(prompt("a house and Will"), limits(3), Words(), NAMES)
    assert (late.name, late.position) == ("Will", 4)


@pytest.mark.parametrize(
    ("text", "new"),
    [
        (
            "masterpiece, best quality, <ada> on the beach",
            "an image of <ada> on the beach, masterpiece, best quality",
        ),
        (
            "best quality, in space, <ada>, wearing a hat, and <bob>, smiling",
            "an image of <ada>, wearing a hat, and <bob>, smiling, best quality, in space",
        ),
        ("8k, dark, moody, will, Will smiling", "an image of Will smiling, 8k, dark, moody, will"),
        ("a cat, a dog, and <ada> at home", "an image of <ada> at home, a cat, a dog"),
        (
            "It is a dark night. A town sleeps. <ada> walks.",
            "an image of <ada> walks. It is a dark night. A town sleeps.",
        ),
        (
            "a photo of a happy smiling <ada> on the beach, 8k",
            "a photo of <ada> on the beach, happy smiling, 8k",
        ),
        ("A very very happy <ada>", "an image of <ada>, very very happy"),
        (
            "a very detailed oil painting of <ada> and <bob> in Rome",
            "an image of <ada> and <bob> in Rome, a very detailed oil painting",
        ),
        ("best quality, a photo of a happy <ada>!", "a photo of <ada>, happy, best quality!"),
        (
            "a photo of a happy smiling <ada> and <bob>",  # who of them?
            "a happy smiling <ada> and <bob>, a photo",
        ),
        ("a dark and old photo of a man with <ada>", "a man with <ada>, a dark and old photo"),
    ],
)
def test_what_stands_before_a_late_person_moves_behind_them(text, new):
    before = prompt(text)
    after = rearranged(before, limits(4, 20), Words(), NAMES)
    assert (after.text, after.written) == (new, text)
    assert late_people(after, limits(4, 20), Words(), NAMES) == []
    assert after.identities == before.identities
    assert rearranged(after, limits(4, 20), Words(), NAMES) == after


@pytest.mark.parametrize(
    "text",
    [
        "a photo of <ada>, best quality",  # in time
        "two old men in hats look at <ada>",
        "a dog that loves the happy <ada>",
        "in the middle of a garden stands <ada>",
        "a castle on a hill",
        ", ".join(["a word"] * 9) + ", <ada>",  # one comma more would be too long
    ],
)
def test_what_cannot_be_moved_stays(text):
    before = prompt(text)
    assert rearranged(before, limits(4, 20), Words()) is before


def test_hints_say_what_was_changed_and_what_to_change():
    text = "masterpiece, best quality, <ada> on the beach"
    (hint,) = position_hints(prompt(text), limits(3), Words())
    assert "ada is at token 6" in hint and "up to token 3" in hint
    (hint,) = position_hints(rearranged(prompt(text), limits(3), Words()), limits(3), Words())
    assert "“<ada> on the beach, masterpiece, best quality”" in hint  # no room for more
    assert position_hints(prompt("<ada>"), limits(3), Words()) == []
