"""CLIP's training: where names end, and what a caption's states are asked."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from toonville import probe
from toonville.__main__ import ASSETS
from toonville.between import text_encoder
from toonville.clip import Reading, TokenisedCaptions, tokenise
from toonville.dataset import Store, captioned, celebrities, draw_store, load_store
from toonville.tokenizer import train_tokenizer
from toonville.world import GROUPS, UNKNOWN

WIDTH = 64


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder: Path = tmp_path_factory.mktemp("pairs")
    draw_store(folder, 30, 2, 5_000_000, partial(captioned, 2), workers=1)
    return load_store(folder)


def test_names_end_where_their_last_token_is(pairs: Store) -> None:
    tokenizer = train_tokenizer(celebrities()[0])
    captions: TokenisedCaptions = tokenise(pairs, tokenizer)
    assert any(who < 0 for row in pairs.captions for who in row["who"])  # strangers too
    for row, ids, ends in zip(pairs.captions, captions.input_ids, captions.name_ends, strict=True):
        for name, end in zip(row["names"], ends, strict=True):
            said = tokenizer.decode(ids[1 : end + 1]).strip()
            assert said.endswith(name.lower())


def test_reading_asks_for_size_not_for_a_large_weight() -> None:
    torch.manual_seed(0)
    reading = Reading(WIDTH)
    states, labels = torch.randn(5, WIDTH), torch.zeros(5, len(GROUPS), dtype=torch.long)
    before = reading(states, labels)
    with torch.no_grad():
        reading.rows *= 100
    torch.testing.assert_close(reading(states, labels), before)
    rows = torch.nn.functional.normalize(reading.rows.detach(), dim=-1)
    firsts = torch.tensor([0, *torch.tensor([len(v) for v in GROUPS.values()]).cumsum(0)[:-1]])
    told = rows[firsts].sum(0).expand(5, WIDTH)
    assert reading(40 * told, labels) < 0.5 * reading(4 * told, labels) < before


def test_what_has_no_one_answer_is_not_asked() -> None:
    labels = torch.full((3, len(GROUPS)), UNKNOWN)
    assert Reading(WIDTH)(torch.randn(3, WIDTH), labels) == 0


@pytest.mark.toonville
def test_the_shipped_states_say_who_and_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "CAPTIONS", 300)
    monkeypatch.setattr(probe, "HELD_OUT_CAPTIONS", 100)
    tower = CLIPTextModel.from_pretrained(ASSETS / "text_encoder").float()
    encoder = text_encoder(tower, CLIPTokenizer.from_pretrained(ASSETS / "tokenizer"))
    assert probe.probe_names(encoder) > 0.8
    right = probe.probe_captions(encoder)
    assert right["scene"] > 0.9 and right["accessory"] > 0.8
