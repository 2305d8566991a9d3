"""CLIP's training: where names end, and the heads on attributes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from toonville.clip import AttributeHead, TokenisedCaptions, square_images, tokenise
from toonville.dataset import Store, captioned, celebrities, load_store, render_store
from toonville.tokenizer import train_tokenizer
from toonville.world import GROUPS, UNKNOWN

WIDTH = 64


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder: Path = tmp_path_factory.mktemp("pairs")
    render_store(folder, 30, 2, 5_000_000, partial(captioned, 2), workers=1)
    return load_store(folder)


def test_names_end_where_their_last_token_is(pairs: Store) -> None:
    tokenizer = train_tokenizer(celebrities()[0])
    captions: TokenisedCaptions = tokenise(pairs, tokenizer)
    assert any(row_id < 0 for row in pairs.captions for row_id in row["who"])  # unknown names, too
    for row, ids, ends in zip(pairs.captions, captions.input_ids, captions.name_ends, strict=True):
        for name, end in zip(row["names"], ends, strict=True):
            text = tokenizer.decode(ids[1 : end + 1]).strip()
            assert text.endswith(name.lower())


def test_wide_images_are_letterboxed(pairs: Store) -> None:
    squares = square_images(pairs, torch.arange(2).numpy())
    assert squares.shape == (2, 3, 128, 128)
    assert (squares[:, :, :18] < -0.9).all() and (squares[:, :, -18:] < -0.9).all()
    assert (squares[:, :, 30:-30] > -0.9).any()


def test_certainty_needs_large_states_not_large_weights() -> None:
    torch.manual_seed(0)
    head = AttributeHead(WIDTH)
    states, labels = torch.randn(5, WIDTH), torch.zeros(5, len(GROUPS), dtype=torch.long)
    before = head(states, labels)
    with torch.no_grad():
        head.rows *= 100
    torch.testing.assert_close(head(states, labels), before)
    rows = torch.nn.functional.normalize(head.rows.detach(), dim=-1)
    firsts = torch.tensor([0, *torch.tensor([len(v) for v in GROUPS.values()]).cumsum(0)[:-1]])
    right = rows[firsts].sum(0).expand(5, WIDTH)
    assert head(40 * right, labels) < 0.5 * head(4 * right, labels) < before


def test_unknown_labels_have_no_loss() -> None:
    labels = torch.full((3, len(GROUPS)), UNKNOWN)
    assert AttributeHead(WIDTH)(torch.randn(3, WIDTH), labels) == 0
