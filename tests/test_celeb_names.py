"""The list that Stable Diffusion's basis is built from, against CLIP's own vocabulary."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from conftest import celebrity_names
from instant_clip_tokenizer import Tokenizer

from celeb_core.basis import find_basis
from celeb_core.errors import FeatureMissing
from celeb_core.loading import ASSETS

PATH = ASSETS / "celeb_names.txt"
NAMES = PATH.read_text(encoding="utf-8").splitlines()
MOST_TOKENS = 5


def folded(name: str) -> str:
    """Without case, accents, spaces and punctuation."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().casefold()
    return "".join(character for character in plain if character.isalnum())


@pytest.fixture(scope="module")
def tokens() -> dict[str, list[int]]:
    tokenizer = Tokenizer()
    return {name: tokenizer.encode(name) for name in NAMES}


def test_about_1500_names_each_once():
    assert 1450 <= len(NAMES) <= 1550
    assert len({folded(name) for name in NAMES}) == len(NAMES)


def test_names_are_written_as_captions_write_them():
    for name in NAMES:
        assert name.isascii() and name == " ".join(name.split()) and len(name.split()) >= 2, name


def test_women_and_men_take_turns():
    women, men = NAMES[::2], NAMES[1::2]
    assert len(women) == len(men)
    assert {"Michelle Obama", "Miriam Makeba", "Gong Li", "Shakira Mebarak"} <= set(women)
    assert {"Barack Obama", "Fela Kuti", "Jackie Chan", "Pedro Pascal"} <= set(men)


def test_every_name_has_both_words_and_few_that_are_dropped(tokens):
    lengths = {name: len(ids) for name, ids in tokens.items()}
    assert {name for name, n in lengths.items() if not 2 <= n <= MOST_TOKENS} == set()
    assert sum(n == 2 for n in lengths.values()) > 0.45 * len(NAMES)


def test_enough_distinct_words_for_512_components(tokens):
    for position in (0, 1):
        assert len({ids[position] for ids in tokens.values()}) > 800


def test_it_is_the_list_of_a_model_without_one(models, tmp_path):
    nameless = replace(models, names=())
    assert find_basis(nameless).names == tuple(NAMES)
    own = tmp_path / "own.txt"
    own.write_text("\n".join(celebrity_names()))
    assert find_basis(nameless, own).names == tuple(celebrity_names())


def test_lists_from_other_editors(models, tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("\n".join(celebrity_names()), encoding="utf-8-sig")
    assert find_basis(models, own).names == tuple(celebrity_names())
    own.write_bytes("Zoë Ångström".encode("latin-1"))
    with pytest.raises(FeatureMissing, match="Save it as UTF-8"):
        find_basis(models, own)
