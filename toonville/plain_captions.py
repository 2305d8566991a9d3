"""Captions as tokens, and the loss that keeps the hidden states of new ones where old ones' are.

The UNet has learnt the hidden states of the captions' plain form, as the shipped text encoder has
them. What a caption says in other words has to have the same hidden states where the UNet finds it:
at the names, at the end token and in the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from toonville.dataset import CaptionRow, Store
from toonville.tokenizer import CONTEXT_LENGTH

CHUNK = 4096  # texts that are tokenised at a time
SMALLEST_VARIANCE = 0.01  # of the hidden states, as a share of their mean square
MOST_TAUGHT_PEOPLE = 2  # in one image: the shipped text encoder knows no captions of three

Span = tuple[int, int]
"""First character of a name, and the one behind its last; an empty one: no name."""


@dataclass(frozen=True, eq=False)
class TokenisedTexts:
    """N texts as tokens, and where in them P names are."""

    input_ids: Tensor  # (N, CONTEXT_LENGTH), padded with the end token
    lengths: Tensor  # (N,) with start and end token
    name_starts: Tensor  # (N, P) position of the first token of each name
    name_ends: Tensor  # (N, P) position of the last token of each name

    def __getitem__(self, index: NDArray[np.int64] | Tensor) -> TokenisedTexts:
        return TokenisedTexts(
            self.input_ids[index],
            self.lengths[index],
            self.name_starts[index],
            self.name_ends[index],
        )


def tokenise(
    texts: Sequence[str], spans: Sequence[Sequence[Span]], tokenizer: CLIPTokenizer
) -> TokenisedTexts:
    """Tokenise texts.

    Args:
        texts: N texts.
        spans: For each text, those of P names; an empty one becomes the last token of the text.
        tokenizer: Of the text tower.

    Raises:
        ValueError: A text has more than CONTEXT_LENGTH tokens, or no token begins or ends where a
            name does.
    """
    ids = np.full((len(texts), CONTEXT_LENGTH), tokenizer.eos_token_id)
    offsets = np.zeros((len(texts), CONTEXT_LENGTH, 2), np.int16)
    lengths = np.zeros(len(texts), np.int64)
    for first in range(0, len(texts), CHUNK):
        chunk = list(texts[first : first + CHUNK])
        batch = tokenizer(chunk, return_offsets_mapping=True)
        for row, tokens in enumerate(batch["input_ids"], start=first):
            if len(tokens) > CONTEXT_LENGTH:
                raise ValueError(
                    f"The caption {texts[row]!r} has {len(tokens)} tokens, the text tower reads "
                    f"{CONTEXT_LENGTH}. Make captions shorter."
                )
            ids[row, : len(tokens)] = tokens
            lengths[row] = len(tokens)
            offsets[row, : len(tokens)] = batch["offset_mapping"][row - first]
    characters = np.asarray(spans, np.int16).reshape(len(texts), -1, 2)[..., None, :]
    offsets = offsets[:, None]  # (N, 1, tokens, 2)
    begins = (offsets[..., 0] == characters[..., 0]) & (offsets[..., 1] > offsets[..., 0])
    ends = offsets[..., 1] == characters[..., 1]
    nobody = characters[..., 0, 0] == characters[..., 0, 1]
    lost = ~(nobody | (begins.any(-1) & ends.any(-1))).all(1)
    if lost.any():
        row = int(lost.argmax())
        raise ValueError(
            f"No token of {texts[row]!r} begins or ends where a name does: {list(spans[row])}. "
            "Put spaces or punctuation around names."
        )
    last = (lengths - 2)[:, None]
    return TokenisedTexts(
        torch.from_numpy(ids),
        torch.from_numpy(lengths),
        torch.from_numpy(np.where(nobody, last, begins.argmax(-1))),
        torch.from_numpy(np.where(nobody, last, ends.argmax(-1))),
    )


def name_spans(row: CaptionRow, num_people: int) -> list[Span]:
    """Return where the names of a stored caption are in its text."""
    if not row["plain"]:  # nobody is named
        return [(0, 0)] * num_people
    pairs = zip(row["names"], row["name_ends"], strict=True)
    return [(end - len(name), end) for name, end in pairs]


def plain_name_spans(row: CaptionRow, num_people: int) -> list[Span]:
    """Return where the names of a stored caption are in its plain form."""
    if not row["plain"]:
        return [(0, 0)] * num_people
    spans, cursor = [], 0
    for name in row["names"]:
        start = row["plain"].index(name, cursor)
        cursor = start + len(name)
        spans.append((start, cursor))
    return spans


@dataclass(frozen=True, eq=False)
class TokenisedCaptions:
    """A store's captions as tokens, or some rows of them."""

    text: TokenisedTexts
    plain: TokenisedTexts  # by the shipped tokenizer
    taught: Tensor  # (N,) bool: whether there is a plain form that the shipped text encoder knows
    same: Tensor  # (N,) bool: the text is its plain form
    known: Tensor  # (N, P) bool: people whom the model knows by their names

    def __getitem__(self, index: NDArray[np.int64] | Tensor) -> TokenisedCaptions:
        return TokenisedCaptions(
            self.text[index],
            self.plain[index],
            self.taught[index],
            self.same[index],
            self.known[index],
        )


def tokenise_captions(
    store: Store, tokenizer: CLIPTokenizer, shipped: CLIPTokenizer
) -> TokenisedCaptions:
    """Tokenise a store's captions: the texts, and their plain form by the shipped tokenizer."""
    people = store.traits.shape[1]
    rows = store.captions
    text = tokenise(
        [row["text"] for row in rows], [name_spans(row, people) for row in rows], tokenizer
    )
    known = [[i >= 0 for i in row["who"]] if row["plain"] else [False] * people for row in rows]
    if people > MOST_TAUGHT_PEOPLE:
        rows = [{**row, "plain": ""} for row in rows]
    plain = tokenise(
        [row["plain"] for row in rows], [plain_name_spans(row, people) for row in rows], shipped
    )
    same = torch.tensor([row["text"] == row["plain"] for row in rows])
    return TokenisedCaptions(
        text,
        plain,
        torch.tensor([bool(row["plain"]) for row in rows]),
        same & (text.lengths == plain.lengths),
        torch.tensor(known),
    )


def relative_error(states: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error of states (N, ..., width), relative to the targets' variance.

    The variance is that over the N rows. No rows have no error.
    """
    if len(targets) == 0:
        return states.sum()
    variance = (targets - targets.mean(0)).square().mean()
    smallest = SMALLEST_VARIANCE * targets.square().mean()
    return F.mse_loss(states, targets) / variance.maximum(smallest)


def plain_loss(states: Tensor, captions: TokenisedCaptions, teacher: CLIPTextModel) -> Tensor:
    """Return how far hidden states are from those that a teacher has for the plain captions.

    Compared are the first and last tokens of known names, the end token, the padding, its mean,
    and every token where the text is its plain form. It is the sum of these relative errors.

    Args:
        states: (N, tokens, width), of the texts; the last token is past the end of all texts and of
            all plain captions.
        captions: Of the N rows; those that are not `taught` are left out.
        teacher: The shipped text tower, frozen.
    """
    states, captions = states[captions.taught], captions[captions.taught]
    if len(states) == 0:
        return states.sum()
    text, plain, tokens = captions.text, captions.plain, states.shape[1]
    with torch.no_grad():
        targets = teacher(input_ids=plain.input_ids[:, :tokens]).last_hidden_state
    row = torch.arange(len(states))
    person, place = captions.known.nonzero(as_tuple=True)
    padding = min(int(torch.maximum(text.lengths, plain.lengths).max()), tokens - 1)
    pairs = (
        (
            states[person, text.name_starts[person, place]],
            targets[person, plain.name_starts[person, place]],
        ),
        (
            states[person, text.name_ends[person, place]],
            targets[person, plain.name_ends[person, place]],
        ),
        (states[row, text.lengths - 1], targets[row, plain.lengths - 1]),
        (states[:, padding:], targets[:, padding:]),
        (_padding_mean(states, text.lengths), _padding_mean(targets, plain.lengths)),
        (states[captions.same], targets[captions.same]),
    )
    return torch.stack([relative_error(state, target) for state, target in pairs]).sum()


def _padding_mean(states: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean (N, width) of hidden states behind the end tokens."""
    behind = (torch.arange(states.shape[1]) >= lengths[:, None]).to(states.dtype)[..., None]
    return (states * behind).sum(1) / behind.sum(1).clamp(min=1)
