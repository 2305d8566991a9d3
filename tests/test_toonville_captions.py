"""Captions describe the whole image and nothing else, and say where the names are."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import toonville
from toonville.captions import PLAIN_SHARE, all_phrases, caption, phrases_of
from toonville.dataset import Captioned, captioned
from toonville.phrases import ANONYMOUS
from toonville.random_specs import random_spec
from toonville.world import CLOTHES, GROUPS

N = 3000
WRITTEN = Path(toonville.__file__).parent / "written_prompts.json"
OTHER_WORDS = frozenset(
    """along behind busking can crowd days electric everywhere faded flying gets hell king lights
    live low man meet mood named paper postcard queen quick quiet rock say screen showing smirk so
    sprite stomping strolling sun that thirsty toned uhd why you""".split()
)
"""Of the written prompts: words that captions lack and that ask for nothing."""


@cache
def examples(num_people: int) -> list[Captioned]:
    return [captioned(num_people, seed) for seed in range(N)]


def shown(example: Captioned) -> dict[str, str]:
    """Return group -> value of what the caption has to name."""
    person, spec = example.spec.people[0], example.spec
    values = {
        "expression": person.expression,
        "accessory": person.accessory,
        "action": person.action,
        "scene": spec.scene,
        "style": spec.style,
    }
    return {group: value for group, value in values.items() if value != GROUPS[group][0]}


@cache
def naming(group: str, value: str) -> re.Pattern[str]:
    phrases = sorted(phrases_of(group, value), key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, phrases))})\b")


@cache
def naming_anything() -> re.Pattern[str]:
    pairs = [(group, value) for group, values in GROUPS.items() for value in values]
    asked = [(g, v) for g, v in pairs if g == "clothes" or v != GROUPS[g][0]]
    return re.compile("|".join(naming(group, value).pattern for group, value in asked))


@pytest.mark.parametrize("num_people", [1, 2, 3])
def test_captions_name_all_attributes_and_no_other(num_people: int) -> None:
    for example in examples(num_people):
        for text in (example.text, example.plain):
            for group, value in shown(example).items() if text else ():
                assert naming(group, value).search(text), (group, value, text)
            rest = text
            for group, value in shown(example).items():
                rest = naming(group, value).sub("|", rest)
            if num_people == 1:
                rest = naming("clothes", example.spec.people[0].clothes).sub("|", rest)
            other = naming_anything().search(rest)
            assert other is None, (other, text)


@pytest.mark.parametrize("num_people", [1, 2, 3])
def test_name_ends_are_behind_the_names_in_the_order_of_the_people(num_people: int) -> None:
    orders = set()
    for example in examples(num_people):
        if not example.plain:
            assert example.name_ends == (len(example.text),)
            continue
        assert len(example.name_ends) == num_people == len(set(example.name_ends))
        cursor = 0
        for name, end in zip(example.names, example.name_ends, strict=True):
            assert example.text[:end].endswith(name)
            cursor = example.plain.index(name, cursor) + len(name)
        orders.add(example.name_ends == tuple(sorted(example.name_ends)))
    assert orders == ({True} if num_people == 1 else {True, False})


def test_fragments_name_nobody_and_something() -> None:
    fragments = [e for e in examples(1) if not e.plain]
    assert 0.02 < len(fragments) / N < 0.06
    assert all(e.names[0] in ANONYMOUS and e.text for e in fragments)
    assert not any(name in e.text for e in fragments for name in ANONYMOUS)
    assert all(e.plain for count in (2, 3) for e in examples(count))


def test_a_share_of_captions_is_plain() -> None:
    for count in (1, 2, 3):
        share = np.mean([e.text == e.plain for e in examples(count)])
        assert PLAIN_SHARE - 0.05 < share < PLAIN_SHARE + 0.05


def test_the_same_rng_gives_the_same_caption() -> None:
    spec = random_spec(np.random.default_rng(0), np.zeros((1, 24), np.float32))
    one, same = (caption(spec, ("Ada",), True, np.random.default_rng(5)) for _ in range(2))
    assert one == same
    texts = {caption(spec, ("Ada",), True, np.random.default_rng(i)).text for i in range(50)}
    assert len(texts) > 40


def test_written_prompts_ask_for_what_there_is_in_known_words_and_new_forms() -> None:
    rows = json.loads(WRITTEN.read_text())
    prompts = [row["prompt"] for row in rows]
    assert len(rows) == 100 == len(set(prompts))
    texts = [*all_phrases(), *CLOTHES]
    known = set(re.findall(r"[^\W\d_]+", " ".join(texts).lower())) | OTHER_WORDS
    produced = {e.text.replace(e.names[0], "{}").lower() for e in examples(1)}
    for row in rows:
        assert row["prompt"].count("{}") == 1
        assert set(re.findall(r"[^\W\d_]+", row["prompt"].lower())) <= known, row
        assert 1 <= len(row["expects"]) <= 3
        for group, value in row["expects"].items():
            assert value in GROUPS[group][0 if group == "clothes" else 1 :]
        assert row["prompt"].lower() not in produced
