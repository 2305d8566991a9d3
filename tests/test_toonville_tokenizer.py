"""The tokenizer: whole names, and CLIP's numbering."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from transformers import CLIPTokenizer

import toonville
from celeb_core.loading import ASSETS, BUNDLED
from toonville.captions import all_phrases
from toonville.dataset import captioned
from toonville.names import make_names
from toonville.phrases import plain_phrases
from toonville.tokenizer import CONTEXT_LENGTH, MOST_NEW_TOKENS, extended, train_tokenizer


def test_tokenizer_has_whole_names_and_the_highest_end_token() -> None:
    names = make_names()
    tokenizer = train_tokenizer(names)
    assert tokenizer.eos_token_id == len(tokenizer) - 1 == max(tokenizer.get_vocab().values())
    assert tokenizer.eos_token_id != 2
    lengths = Counter(
        len(tokenizer(name, add_special_tokens=False).input_ids) for name in names.known
    )
    assert lengths[2] > 0.75 * 700 and lengths[1] > 0 and lengths[3] > 0
    row = tokenizer("a photo of Nobody 12 é", padding="max_length").input_ids
    assert len(row) == CONTEXT_LENGTH
    assert tokenizer.unk_token_id not in row[1 : row.index(tokenizer.eos_token_id)]


@pytest.fixture(scope="module")
def short() -> CLIPTokenizer:
    """Return a tokenizer of the plain form's words."""
    return train_tokenizer(make_names())


@pytest.fixture(scope="module")
def long(short: CLIPTokenizer) -> CLIPTokenizer:
    return extended(short, all_phrases())


def test_more_words_change_no_name_and_no_old_phrase(
    short: CLIPTokenizer, long: CLIPTokenizer
) -> None:
    names = make_names()
    old = [phrase.replace("{}", " ") for phrase in plain_phrases()]
    for text in [*names.known, *names.unknown, *old]:
        assert (
            long(text, add_special_tokens=False).input_ids
            == short(text, add_special_tokens=False).input_ids
        )
    before, after = short.get_vocab(), long.get_vocab()
    special = {short.bos_token, short.eos_token}
    assert all(after[token] == i for token, i in before.items() if token not in special)
    assert (long.bos_token_id, long.eos_token_id) == (len(long) - 2, len(long) - 1)
    assert 200 < len(long) - len(short) <= MOST_NEW_TOKENS


def test_words_of_captions_are_one_token(short: CLIPTokenizer, long: CLIPTokenizer) -> None:
    words = {w for text in all_phrases() for w in text.lower().split() if w.isalpha()}
    assert sum(len(short.tokenize(word)) > 1 for word in words) > 100
    assert np.mean([len(long.tokenize(word)) == 1 for word in words]) > 0.98


def test_a_saved_tokenizer_is_the_same(long: CLIPTokenizer, tmp_path: Path) -> None:
    long.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    for seed in range(20):
        text = captioned(1, seed).text
        assert again(text).input_ids == long(text).input_ids


@pytest.mark.toonville
def test_the_shipped_tokenizer_has_the_tokens_of_the_plain_form(short: CLIPTokenizer) -> None:
    shipped = CLIPTokenizer.from_pretrained(ASSETS / BUNDLED / "tokenizer")
    for text in [*make_names().known, *(p.replace("{}", " ") for p in plain_phrases())]:
        assert shipped.tokenize(text) == short.tokenize(text)


@pytest.mark.parametrize("num_people", [1, 2, 3])
def test_captions_fit_and_name_people_early_and_late(num_people: int, long: CLIPTokenizer) -> None:
    starts = []
    for example in [captioned(num_people, seed) for seed in range(3000)]:
        batch = long(example.text, return_offsets_mapping=True)
        assert len(batch.input_ids) <= CONTEXT_LENGTH, example.text
        assert len(long(example.plain).input_ids) <= CONTEXT_LENGTH
        if example.plain:
            first = min(e - len(n) for n, e in zip(example.names, example.name_ends, strict=True))
            starts.append(sum(start < first for start, _ in batch.offset_mapping[1:-1]))
            ends = {end for _, end in batch.offset_mapping}
            assert set(example.name_ends) <= ends
    assert np.mean(np.array(starts) >= 8) >= 0.3
    assert np.mean(np.array(starts) < 4) >= 0.2


def test_written_prompts_name_the_person_within_reach(long: CLIPTokenizer) -> None:
    rows = json.loads((Path(toonville.__file__).parent / "written_prompts.json").read_text())
    starts = [len(long.tokenize(row["prompt"].split("{}")[0])) for row in rows]
    assert min(starts) == 0 and max(starts) >= 12 and max(starts) < 25
    assert max(len(long(row["prompt"]).input_ids) for row in rows) < CONTEXT_LENGTH - 6
