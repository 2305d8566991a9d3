"""Growing the vocabulary: old captions keep their hidden states, new tokens begin as old ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_clip import small_clip
from transformers import CLIPModel, CLIPTokenizer

from toonville.grow import grow_clip, token_pieces

TOKENIZER = Path(__file__).parent.parent / "assets" / "toonville" / "tokenizer"


def with_merges(tokenizer: CLIPTokenizer, merges: list[tuple[str, str]]) -> CLIPTokenizer:
    """Return a tokenizer with merges behind the existing ones."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    old = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    tokens = [token for token, _ in old]
    tokens[-2:-2] = [left + right for left, right in merges]
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=[*map(tuple, model["merges"]), *merges],
        model_max_length=tokenizer.model_max_length,
    )


@pytest.fixture(scope="module")
def shipped() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(TOKENIZER)


@pytest.fixture(scope="module")
def longer(shipped: CLIPTokenizer) -> CLIPTokenizer:
    """The shipped tokenizer with the word "zzqzz" as one token."""
    assert len(shipped.tokenize("zzqzz")) == 5
    return with_merges(
        shipped, [("z", "z"), ("z", "z</w>"), ("zz", "q"), ("zzq", "zz</w>"), ("zzqzz</w>", "x")]
    )


@pytest.fixture(scope="module")
def clip(shipped: CLIPTokenizer) -> CLIPModel:
    return small_clip(shipped)


def test_pieces_are_the_old_tokens(shipped: CLIPTokenizer, longer: CLIPTokenizer) -> None:
    pieces = token_pieces(shipped, longer)
    assert sorted(pieces) == list(range(len(shipped) - 2, len(longer) - 2))
    new = longer.convert_tokens_to_ids("zzqzz</w>")
    assert longer("zzqzz").input_ids[1:-1] == [new]
    assert pieces[new] == shipped("zzqzz").input_ids[1:-1]


@torch.no_grad()
def test_old_captions_keep_their_hidden_states(
    shipped: CLIPTokenizer, longer: CLIPTokenizer, clip: CLIPModel
) -> None:
    grown = grow_clip(clip, len(longer), token_pieces(shipped, longer)).eval()
    texts = ["a photo of somebody wearing a hat", "a person in space"]
    before, after = (
        model.text_model(
            input_ids=tokenizer(texts, padding="max_length", return_tensors="pt").input_ids
        )
        for model, tokenizer in ((clip, shipped), (grown, longer))
    )
    assert torch.equal(before.last_hidden_state, after.last_hidden_state)
    assert torch.equal(before.pooler_output, after.pooler_output)
    text = grown.config.text_config
    assert (text.bos_token_id, text.eos_token_id, text.pad_token_id) == (
        longer.bos_token_id,
        longer.eos_token_id,
        longer.pad_token_id,
    )


def test_new_tokens_start_at_the_mean_of_their_pieces(
    shipped: CLIPTokenizer, longer: CLIPTokenizer, clip: CLIPModel
) -> None:
    grown = grow_clip(clip, len(longer), token_pieces(shipped, longer))
    new = longer.convert_tokens_to_ids("zzqzz</w>")
    old = clip.text_model.get_input_embeddings().weight[shipped("zzqzz").input_ids[1:-1]]
    torch.testing.assert_close(grown.text_model.get_input_embeddings().weight[new], old.mean(0))


def test_every_new_id_needs_pieces(shipped: CLIPTokenizer, clip: CLIPModel) -> None:
    with pytest.raises(ValueError, match=f"0 new tokens do not fill the ids {len(shipped) - 2} to"):
        grow_clip(clip, len(shipped) + 1, {})
