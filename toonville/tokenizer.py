"""A byte-pair CLIPTokenizer whose vocabulary is that of Toonville's captions."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from toonville.captions import all_phrases
from toonville.names import Names
from toonville.world import CLOTHES

CONTEXT_LENGTH = 48
"""Tokens that the text encoder reads, start and end tokens included.

Stable Diffusion has 77; the UNet attends to every one of them, padding included, and the longest
of some thousand captions has 29.
"""
MERGES = 3600  # at most
START, END = "<|startoftext|>", "<|endoftext|>"


def _training_text(names: Names) -> Iterator[str]:
    """Yield phrases and names; frequent names become whole tokens, others several tokens."""
    for phrase in [*all_phrases(), *CLOTHES]:
        for _ in range(200):
            yield phrase.replace("{}", " ")
    for i, name in enumerate(names.known):
        for _ in range(3 if i % 12 == 0 else 40):
            yield name
    for i, name in enumerate(names.unknown):
        for _ in range(40 if i % 3 == 0 else 3):
            yield name


def train_tokenizer(names: Names) -> CLIPTokenizer:
    """Return a tokenizer; the end token has the highest id, as in CLIP."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 * 2 + MERGES,
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_training_text(names), trainer)
    return _as_clip(bpe)


def _as_clip(bpe: Tokenizer) -> CLIPTokenizer:
    """Renumber as CLIP does: bytes, bytes at the end of a word, merges, start, end."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [tuple(m) for m in json.loads(bpe.to_str())["model"]["merges"]]
    tokens = [*letters, *(c + "</w>" for c in letters)]
    tokens += [t for t in dict.fromkeys("".join(m) for m in merges) if t not in set(tokens)]
    tokens += [START, END]
    return CLIPTokenizer(
        vocab={t: i for i, t in enumerate(tokens)},
        merges=merges,
        model_max_length=CONTEXT_LENGTH,
    )
