"""Tokens -> hidden states, with token embeddings put in by a scoped hook.

SDXL has two text encoders. Token embeddings (k, d) and hidden states (tokens, d) are those of all
encoders side by side, as its UNet takes them; `columns` are one encoder's part.
"""

import re
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from celeb_core.errors import PromptTooLong
from celeb_core.types import PromptEmbeds

PLACEHOLDER = re.compile(r"<([^<>]*)>")


@dataclass(frozen=True)
class Tokens:
    """A tokenised prompt; filler ids stand where the embeddings of `slots` belong."""

    ids: tuple[int, ...]  # (model_max_length,) with start, end and padding
    slots: tuple[tuple[str, int], ...]  # name, column of its first token


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """One tokenizer and the text model that reads its tokens."""

    tokenizer: Any  # transformers.CLIPTokenizer
    model: Any  # transformers.CLIPTextModel, or CLIPTextModelWithProjection
    columns: slice  # of the last dimension of token embeddings and hidden states
    penultimate: bool  # the UNet takes the last layer but one, as SDXL's does

    @property
    def table(self) -> Tensor:
        """The token embedding table (vocabulary, width)."""
        return self.model.get_input_embeddings().weight  # type: ignore[no-any-return]

    def token_ids(self, text: str) -> list[int]:
        """Tokenise a text, without start and end."""
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def embed(self, ids: Sequence[int]) -> Tensor:
        """Look up token embeddings: n ids -> (n, width) float32 on the CPU."""
        return self.table.detach()[list(ids)].float().cpu()

    def encode_ids(self, ids: Tensor) -> PromptEmbeds:
        """Run the model on token ids (b, n); `pooled` is None but for SDXL's second encoder."""
        if not self.penultimate:
            return PromptEmbeds(self.model(ids)[0])
        output = self.model(ids, output_hidden_states=True)
        return PromptEmbeds(output.hidden_states[-2], output.get("text_embeds"))


def text_encoders(pipeline: Any) -> tuple[TextEncoder, ...]:
    """Return the encoders of a diffusers pipeline in the order in which its UNet takes them."""
    two = hasattr(pipeline, "text_encoder_2")
    found: list[TextEncoder] = []
    start = 0
    for suffix in ("", "_2") if two else ("",):
        tokenizer = getattr(pipeline, f"tokenizer{suffix}")
        model = getattr(pipeline, f"text_encoder{suffix}")
        end = start + int(model.get_input_embeddings().weight.shape[1])
        found.append(TextEncoder(tokenizer, model, slice(start, end), two))
        start = end
    return tuple(found)


def encode_texts(
    texts: Sequence[str],
    embeddings: Sequence[Mapping[str, Tensor]],
    k: int,
    encoders: Sequence[TextEncoder],
) -> PromptEmbeds:
    """Encode b texts in which every `<name>` stands for k tokens.

    `embeddings` has, for each text, name -> token embeddings (k, d); gradients flow to them. The
    hidden states (b, 77, d) are on their device (on the encoder's without any).

    Raises:
        PromptTooLong: A text has more tokens than the model reads.
    """
    parts = [
        encode_tokens([tokenize(text, encoder, k) for text in texts], embeddings, encoder)
        for encoder in encoders
    ]
    # SDXL's pooled output is that of the last encoder.
    return PromptEmbeds(torch.cat([part.hidden_states for part in parts], -1), parts[-1].pooled)


def tokenize(text: str, encoder: TextEncoder, k: int) -> Tokens:
    """Tokenise a text in which every `<name>` takes k tokens.

    Raises:
        PromptTooLong: It names the text beyond the tokenizer's model_max_length.
    """
    tokenizer = encoder.tokenizer
    limit = tokenizer.model_max_length - 1  # the end follows
    filler = next(i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids)
    ids, slots, cut = [tokenizer.bos_token_id], [], []
    for index, part in enumerate(PLACEHOLDER.split(text)):  # text, name, text, name, ..., text
        start = len(ids)
        ids += [filler] * k if index % 2 else encoder.token_ids(part)
        if index % 2:
            slots.append((normal_name(part), start))
        if len(ids) > max(start, limit):
            rest = tokenizer.decode(ids[max(start, limit) :]).strip()
            cut.append(f"<{slots[-1][0]}>" if index % 2 else rest)
    if cut:
        raise PromptTooLong(len(ids) + 1, limit + 1, " ".join(filter(None, cut)))
    ids += [tokenizer.eos_token_id] + [tokenizer.pad_token_id] * (limit - len(ids))
    return Tokens(tuple(ids), tuple(slots))


def encode_tokens(
    tokens: Sequence[Tokens], embeddings: Sequence[Mapping[str, Tensor]], encoder: TextEncoder
) -> PromptEmbeds:
    """Encode b tokenised prompts of equal lengths by one encoder, which takes its columns.

    The result is the one that real tokens with these embeddings would give; otherwise as
    `encode_texts`.
    """
    table = encoder.table
    ids = torch.tensor([prompt.ids for prompt in tokens], device=table.device)
    rows, columns, values = [], [], []
    for row, (prompt, people) in enumerate(zip(tokens, embeddings, strict=True)):
        for name, column in prompt.slots:
            for offset, embedding in enumerate(people[name][:, encoder.columns]):
                rows.append(row)
                columns.append(column + offset)
                values.append(embedding.to(table.device, table.dtype))
    if not values:
        return encoder.encode_ids(ids)
    home = next(iter(embeddings[rows[0]].values())).device
    with inject_embeddings(encoder.model, rows, columns, torch.stack(values)):
        return encoder.encode_ids(ids).map(lambda tensor: tensor.to(home))


@contextmanager
def inject_embeddings(
    model: nn.Module, rows: Sequence[int], columns: Sequence[int], embeddings: Tensor
) -> Iterator[None]:
    """Within the block, the token embedding at [rows[i], columns[i]] is embeddings[i], (n, width).

    A forward hook on the embedding layer, for the calling thread only: other threads see the
    encoder as it is.
    """
    owner = threading.get_ident()
    index = tuple(torch.tensor(axis, device=embeddings.device) for axis in (rows, columns))

    def put(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return output.index_put(index, embeddings) if threading.get_ident() == owner else output

    handle = model.get_input_embeddings().register_forward_hook(put)  # type: ignore[operator]
    try:
        yield
    finally:
        handle.remove()


def normal_name(name: str) -> str:
    """Return a name in Unicode's composed form, without spaces around it."""
    return unicodedata.normalize("NFC", name).strip()
