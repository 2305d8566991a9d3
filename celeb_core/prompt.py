"""“<ada> plays the guitar with <bob>” -> prompt embeddings, by a scoped hook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor, nn

from celeb_core.types import CelebBasis, Identity, Prompt

if TYPE_CHECKING:
    from celeb_core.models import Models


def placeholders(text: str) -> list[str]:
    """The names between < and >, in order, each once."""
    raise NotImplementedError


def parse_prompt(text: str, people: Mapping[str, Identity | Tensor]) -> Prompt:
    """Bind the placeholders of a text. Raises UnknownName with the nearest known names."""
    raise NotImplementedError


def encode_prompt(prompt: Prompt, basis: CelebBasis, models: Models) -> Tensor:
    """Text states (1, 77, d). Raises PromptTooLong, BasisMismatch."""
    raise NotImplementedError


@contextmanager
def inject_words(
    text_encoder: nn.Module, rows: Sequence[int], columns: Sequence[int], words: Tensor
) -> Iterator[None]:
    """Within the block, token embeddings at [rows[i], columns[i]] are words[i]; words (n, d)."""
    raise NotImplementedError
    yield
