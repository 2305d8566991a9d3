"""The bundled model knows the words of its captions, and says what is near to others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from celeb_core.vocabulary import parse_vocabulary, unknown_words, vocabulary_hint
from toonville.captions import all_phrases
from toonville.vocabulary import TABLES, vocabulary

SHIPPED = Path(__file__).parent.parent / "assets" / "toonville" / "studio.json"


def test_no_caption_has_an_unknown_word() -> None:
    known = parse_vocabulary(vocabulary(), "captions")
    assert known is not None
    assert {
        phrase: found for phrase in all_phrases() if (found := unknown_words(phrase, known))
    } == {}
    assert [len(known.groups[name]) for name in TABLES] == [len(table) for table in TABLES.values()]
    assert not [request for request in known.requests if request in known.words]


def test_words_that_people_write_are_known() -> None:
    known = parse_vocabulary(vocabulary(), "captions")
    assert known is not None
    text = "masterpiece, best quality, a grinning person in a green t-shirt, vintage photo, dunes"
    assert unknown_words(text, known) == []
    assert unknown_words("a horse in a hoodie", known) == ["horse", "hoodie"]


@pytest.mark.toonville
def test_the_model_folder_says_so() -> None:
    shipped = parse_vocabulary(json.loads(SHIPPED.read_text())["vocabulary"], "studio.json")
    assert shipped is not None
    hint = vocabulary_hint("an oil painting of a person riding horses on the beach", shipped)
    assert hint.startswith("This model does not know “oil painting”, “riding” and “horses”.")
    assert "a pencil sketch, pixel art, an old photograph." in hint
    assert vocabulary_hint("a photo of somebody who plays the guitar, smiling", shipped) == ""
