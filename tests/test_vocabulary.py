"""What a model does not know of a prompt is named; what it may know never is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celeb_core import parse_prompt
from celeb_core.errors import FeatureMissing
from celeb_core.studio import prompt_hints, word_hint
from celeb_core.vocabulary import parse_vocabulary, unknown_words, vocabulary_hint

ABOUT = {
    "words": "a photo of playing smiling the guitar pencil sketch beach wearing hat party".split(),
    "groups": {"styles": ["a pencil sketch"], "actions": ["playing the guitar"]},
    "requests": {"oil painting": "styles", "dancing": "actions", "horse": ""},
}
NAMES = ("Mira Dolven", "Grezin")


@pytest.fixture(scope="module")
def vocabulary():
    return parse_vocabulary(ABOUT, "studio.json")


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("a photo of someone riding a horse", ["someone", "riding", "horse"]),
        ("An OIL painting, an oil painting of horses", ["oil painting", "horses"]),
        ("plays guitars, smiles, smiled; at parties with hats", []),
        ("a 4k photo (hat:1.3), {} 50 ((beach))", []),
        ("with the guitar and my hat, on, under, of it", []),
        ("Mira's hat", []),
        ("the oil of a painting", ["oil", "painting"]),
        ("马 café", ["café"]),  # a single letter counts little
        ("", []),
    ],
)
def test_words_without_a_caption_are_found(vocabulary, text, unknown):
    assert unknown_words(text, vocabulary, NAMES) == unknown


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a horse", "This model does not know “horse”."),
        (
            "an oil painting of a horse",
            "This model does not know “oil painting” and “horse”. "
            "It knows these styles: a pencil sketch.",
        ),
        ("she danced", "“danced”. It knows these actions: playing the guitar."),
        ("a pencel sketch", "This model does not know “pencel”. Did you mean “pencil”?"),
        ("aa bb cc dd ee ff gg", "“ee” and 2 words more."),
    ],
)
def test_the_hint_says_what_is_known_instead(vocabulary, text, hint):
    assert vocabulary_hint(text, vocabulary).endswith(hint)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"words": ["a"], "groups": {}},
        {"words": "a", "groups": {}, "requests": {}},
        {"words": ["a"], "groups": {"styles": "x"}, "requests": {}},
        {"words": ["a"], "groups": {}, "requests": {"horse": "animals"}},
    ],
)
def test_a_damaged_vocabulary_is_refused(value):
    with pytest.raises(FeatureMissing, match="tiny/studio.json"):
        parse_vocabulary(value, "tiny/studio.json")


def test_a_model_that_does_not_say_what_it_knows_gives_no_hint(studio, vocabulary):
    prompt = parse_prompt("a horse", {})
    assert prompt_hints(prompt, studio) == []
    known = replace(studio, models=replace(studio.models, vocabulary=vocabulary))
    assert prompt_hints(prompt, known) == ["This model does not know “horse”."]
    assert word_hint(f"a photo of <nobody> and {known.basis.names[0]}", known) == ""
