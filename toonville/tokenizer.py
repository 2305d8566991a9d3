"""A byte-pair CLIPTokenizer whose vocabulary is that of Toonville's captions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from toonville.names import Names, make_names
from toonville.phrases import plain_phrases
from toonville.world import CLOTHES

CONTEXT_LENGTH = 48
"""Tokens that the text encoder reads, start and end tokens included.

Stable Diffusion has 77; the UNet attends to every one of them, padding included, and captions are
made to fit.
"""
MERGES = 3600  # at most, of captions in the plain form
MOST_NEW_TOKENS = 600
START, END = "<|startoftext|>", "<|endoftext|>"


def _training_text(names: Names) -> Iterator[str]:
    """Yield plain phrases and names; frequent names become whole tokens, others several tokens."""
    for phrase in [*plain_phrases(), *CLOTHES]:
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
    merges = _merges(bpe)
    tokens = [*letters, *(c + "</w>" for c in letters)]
    tokens += [t for t in dict.fromkeys("".join(m) for m in merges) if t not in set(tokens)]
    return _clip_tokenizer(tokens, merges)


Merge = tuple[str, str]


def _merges(bpe: Tokenizer) -> list[Merge]:
    return [(left, right) for left, right in json.loads(bpe.to_str())["model"]["merges"]]


def _clip_tokenizer(tokens: Sequence[str], merges: list[Merge]) -> CLIPTokenizer:
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate([*tokens, START, END])},
        merges=merges,
        model_max_length=CONTEXT_LENGTH,
    )


def extended(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> CLIPTokenizer:
    """Add tokens for the words of texts, and change nothing else.

    Names, phrases of the plain form, and all that consists of other words keep their tokens, and
    tokens keep their ids, but start and end, which stay the last two.

    Args:
        tokenizer: Of `train_tokenizer`, or read from its files.
        texts: Whose words should be one token each. Some are several, where the merge that makes
            them one would change a name.
    """
    names = make_names()
    kept = [*names.known, *names.unknown, *(p.replace("{}", " ") for p in plain_phrases())]
    fixed = {
        pair for word in _words(tokenizer, kept) for pair in pairwise(tokenizer.tokenize(word))
    }
    words = [tokenizer.tokenize(word) for word in _words(tokenizer, texts) if word.isalpha()]
    bpe = tokenizer.backend_tokenizer
    merges = _merges(bpe)
    ids = sorted(bpe.get_vocab().items(), key=lambda item: item[1])
    tokens = [token for token, _ in ids if token not in (START, END)]
    limit = len(tokens) + MOST_NEW_TOKENS
    while len(tokens) < limit:
        pairs = Counter(pair for word in words for pair in pairwise(word) if pair not in fixed)
        if not pairs:
            break
        best = pairs.most_common(1)[0][0]  # of equal ones that which comes first
        merges.append(best)
        if "".join(best) not in tokens:
            tokens.append("".join(best))
        words = [_merged(word, best) for word in words]
    longer = _clip_tokenizer(tokens, merges)
    changed = [text for text in kept if tokenizer.tokenize(text) != longer.tokenize(text)]
    if changed:
        raise ValueError(f"The new tokens change those of {changed[:5]}.")
    return longer


def _words(tokenizer: CLIPTokenizer, texts: Iterable[str]) -> list[str]:
    """Return the distinct words of texts as the tokenizer splits them, in their order."""
    split = tokenizer.backend_tokenizer.pre_tokenizer
    lower = (text.lower().replace("{}", " ") for text in texts)
    return list(dict.fromkeys(word for text in lower for word, _ in split.pre_tokenize_str(text)))


def _merged(word: Sequence[str], pair: Merge) -> list[str]:
    """Return a word's tokens with each occurrence of a pair as one token."""
    out: list[str] = []
    for token in word:
        if out and (out[-1], token) == pair:
            out[-1] += token
        else:
            out.append(token)
    return out
