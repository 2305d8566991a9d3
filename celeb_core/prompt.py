"""“<ada> plays the guitar with <bob>” -> prompt embeddings, by a scoped hook."""

from __future__ import annotations

import difflib
import re
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from celeb_core.basis import token_ids, words_of
from celeb_core.errors import PromptTooLong, UnknownName
from celeb_core.types import CelebBasis, Identity, Prompt, PromptEmbeds

if TYPE_CHECKING:
    from celeb_core.encoders import TextEncoder
    from celeb_core.models import Models

PLACEHOLDER = re.compile(r"<([^<>]*)>")


@dataclass(frozen=True)
class Tokens:
    """A tokenised prompt: filler ids stand where the words of `slots` belong."""

    ids: tuple[int, ...]  # (model_max_length,) with start, end and padding
    slots: tuple[tuple[str, int], ...]  # name, column of its first word


def placeholders(text: str) -> list[str]:
    """The names between < and >, in order, each once."""
    return list(dict.fromkeys(_normal(name) for name in PLACEHOLDER.findall(text)))


def parse_prompt(text: str, people: Mapping[str, Identity | Tensor]) -> Prompt:
    """Bind the placeholders of a text. Raises UnknownName with the nearest known names."""
    used = {}
    for name in placeholders(text):
        if name not in people:
            folded = {known.casefold(): known for known in people}
            near = difflib.get_close_matches(name.casefold(), list(folded), 3, 0.5)
            raise UnknownName(name, [folded[match] for match in near], len(people))
        used[name] = people[name]
    return Prompt(text, used)


def known_names(text: str, names: Sequence[str]) -> list[str]:
    """The celebrities whom a text mentions, each once; the longest name wins.

    Names of several words are found in any case, single words only as written (“Will”, “will”).
    """
    if not names:
        return []
    forms = {name.casefold() if " " in name else name: name for name in names}
    longest_first = sorted(names, key=len, reverse=True)
    pattern = r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)"
    found = re.findall(pattern, PLACEHOLDER.sub(" ", text), re.IGNORECASE)
    known = [forms.get(match) or forms.get(match.casefold()) for match in found]
    return list(dict.fromkeys(name for name in known if name))


def encode_prompt(prompt: Prompt, basis: CelebBasis, models: Models) -> PromptEmbeds:
    """What the UNet hears of one prompt, 77 tokens. Raises PromptTooLong, BasisMismatch."""
    words = {name: words_of(who, basis, models) for name, who in prompt.identities.items()}
    with torch.no_grad():
        said = encode_texts([prompt.text], [words], basis.k, models.encoders)
    return said.to(models.device)


def encode_texts(
    texts: Sequence[str],
    words: Sequence[Mapping[str, Tensor]],
    k: int,
    encoders: Sequence[TextEncoder],
) -> PromptEmbeds:
    """What the UNet hears of b texts; words[i] maps the names of text i to (k, d).

    Gradients flow to the words. Raises PromptTooLong.
    """
    said = []
    for encoder in encoders:
        tokens = [tokenize(text, encoder.tokenizer, k) for text in texts]
        said.append(encode_tokens(tokens, words, encoder))
    # Of the whole text SDXL's UNet hears what the last encoder says.
    return PromptEmbeds(torch.cat([one.states for one in said], -1), said[-1].pooled)


def tokenize(text: str, tokenizer: Any, k: int) -> Tokens:
    """Token ids of a text in which every `<name>` takes k places.

    Raises PromptTooLong, which names the words beyond the tokenizer's model_max_length.
    """
    filler = next(i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids)
    ids, slots = [tokenizer.bos_token_id], []
    parts = PLACEHOLDER.split(text)  # text, name, text, name, ..., text
    for index, part in enumerate(parts):
        if index % 2:
            slots.append((_normal(part), len(ids)))
            ids += [filler] * k
        else:
            ids += token_ids(part, tokenizer)
    limit = tokenizer.model_max_length
    if len(ids) + 1 > limit:
        raise PromptTooLong(len(ids) + 1, limit, _overflow(ids, slots, limit - 1, tokenizer, k))
    ids.append(tokenizer.eos_token_id)
    ids += [tokenizer.pad_token_id] * (limit - len(ids))
    return Tokens(tuple(ids), tuple(slots))


def encode_tokens(
    tokens: Sequence[Tokens], words: Sequence[Mapping[str, Tensor]], encoder: TextEncoder
) -> PromptEmbeds:
    """What one encoder says of b prompts; words[i] maps the names of prompt i to (k, d).

    Of the words it reads its share. Gradients flow to them. The result is that of real tokens
    with these embeddings, on the device of the words (of the encoder, if there are none).
    """
    table = encoder.table
    ids = torch.tensor([prompt.ids for prompt in tokens], device=table.device)
    rows, columns, values = [], [], []
    for row, (prompt, people) in enumerate(zip(tokens, words, strict=True)):
        for name, column in prompt.slots:
            for offset, word in enumerate(people[name][:, encoder.share]):
                rows.append(row)
                columns.append(column + offset)
                values.append(word.to(table.device, table.dtype))
    if not values:
        return PromptEmbeds(*encoder.read(ids))
    home = next(iter(words[rows[0]].values())).device
    with inject_words(encoder.model, rows, columns, torch.stack(values)):
        return PromptEmbeds(*encoder.read(ids)).to(home)


@contextmanager
def inject_words(
    text_encoder: nn.Module, rows: Sequence[int], columns: Sequence[int], words: Tensor
) -> Iterator[None]:
    """Within the block, token embeddings at [rows[i], columns[i]] are words[i]; words (n, d).

    A forward hook on the token embedding, for the calling thread only: a picture drawn while a
    training runs in another thread sees the encoder as it is.
    """
    owner = threading.get_ident()
    place = (
        torch.tensor(rows, device=words.device),
        torch.tensor(columns, device=words.device),
    )

    def replace(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        if threading.get_ident() != owner:
            return output
        return output.index_put(place, words)

    handle = text_encoder.get_input_embeddings().register_forward_hook(replace)  # type: ignore[operator]
    try:
        yield
    finally:
        handle.remove()


def _normal(name: str) -> str:
    """As `identity.check_name` writes names: composed, trimmed."""
    return unicodedata.normalize("NFC", name).strip()


def _overflow(
    ids: list[int], slots: list[tuple[str, int]], limit: int, tokenizer: Any, k: int
) -> str:
    """The text of the tokens from column `limit` on, names as placeholders."""
    starts = dict((column, name) for name, column in slots)
    parts: list[str] = []
    run: list[int] = []
    column = limit
    # A person cut in the middle overflows as a whole.
    for start, name in starts.items():
        if start < limit < start + k:
            parts.append(f"<{name}>")
            column = start + k
    while column < len(ids):
        if column in starts:
            parts += [tokenizer.decode(run)] if run else []
            parts.append(f"<{starts[column]}>")
            run, column = [], column + k
        else:
            run.append(ids[column])
            column += 1
    parts += [tokenizer.decode(run)] if run else []
    return " ".join(part.strip() for part in parts if part.strip())
