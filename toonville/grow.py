"""Models with the shipped weights that are larger than the shipped ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence

import torch
from transformers import CLIPModel, CLIPTokenizer


def token_pieces(old: CLIPTokenizer, new: CLIPTokenizer) -> dict[int, list[int]]:
    """Find what a tokenizer's new tokens were before they were added.

    Args:
        old: The tokenizer before.
        new: The same with merges added behind the others; `old`'s tokens have the same ids, except
            for the start and the end token.

    Returns:
        Id of each new token -> ids of the old tokens that it stands for, in their order.
    """
    known, vocabulary = old.get_vocab(), new.get_vocab()
    merges = json.loads(new.backend_tokenizer.to_str())["model"]["merges"]
    halves: dict[str, tuple[str, str]] = {}
    for left, right in merges:
        halves.setdefault(left + right, (left, right))

    def pieces(token: str) -> list[int]:
        if token in known:
            return [known[token]]
        return [piece for half in halves[token] for piece in pieces(half)]

    return {i: pieces(token) for token, i in vocabulary.items() if token not in known}


@torch.no_grad()
def grow_clip(clip: CLIPModel, vocab_size: int, pieces: Mapping[int, Sequence[int]]) -> CLIPModel:
    """Return a copy of CLIP with more tokens.

    Start and end token, the last two of the old vocabulary, are the last two of the new one. All
    other old tokens keep their ids, all old tokens their embeddings. A new token's embedding is the
    mean of its pieces'.

    Args:
        clip: Stays as it is.
        vocab_size: Of the copy.
        pieces: Id of each new token -> ids of old tokens, see `token_pieces`.

    Raises:
        ValueError: The ids are not those of a vocabulary of that size.
    """
    text = clip.config.text_config
    first_new, end = text.vocab_size - 2, vocab_size - 1
    if (text.bos_token_id, text.eos_token_id) != (first_new, first_new + 1):
        raise ValueError(
            f"Start and end token are {text.bos_token_id} and {text.eos_token_id}, not the last "
            f"two of {text.vocab_size}."
        )
    if sorted(pieces) != list(range(first_new, end - 1)):
        raise ValueError(
            f"{len(pieces)} new tokens do not fill the ids {first_new} to {end - 2}. Pass one "
            "entry for each."
        )
    config = copy.deepcopy(clip.config)
    config.text_config.vocab_size = vocab_size
    config.text_config.bos_token_id = end - 1
    config.text_config.eos_token_id = config.text_config.pad_token_id = end
    grown = CLIPModel(config)
    old = clip.text_model.get_input_embeddings().weight
    new = [old[list(pieces[i])].mean(0) for i in range(first_new, end - 1)]
    table = torch.cat([old[:first_new], torch.stack(new), old[first_new:]]) if new else old
    name = "text_model.embeddings.token_embedding.weight"
    grown.load_state_dict(clip.state_dict() | {name: table})
    return grown
