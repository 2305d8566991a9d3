"""Celebrity names -> CelebBasis (METHOD.md §1.1-1.4): build, compose, project, interpolate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from celeb_core.types import CelebBasis, Identity

if TYPE_CHECKING:
    from celeb_core.models import Models


def build_basis(names: Sequence[str], models: Models, p: int = 512) -> CelebBasis:
    """PCA of the first and second token embeddings of the names; p is capped at the rank."""
    raise NotImplementedError


def save_basis(basis: CelebBasis, path: Path) -> None:
    """Write tensors and names to a .pt file that loads with `weights_only=True`."""
    raise NotImplementedError


def load_basis(path: Path) -> CelebBasis:
    """Read what `save_basis` wrote. Raises ModelNotFound."""
    raise NotImplementedError


def compose(basis: CelebBasis, coefficients: Tensor) -> Tensor:
    """Coefficients (..., k, p) -> words (..., k, d): v = mean + (a * std) @ components."""
    raise NotImplementedError


def project(basis: CelebBasis, words: Tensor) -> Tensor:
    """Words (..., k, d) -> coefficients (..., k, p): the left inverse of `compose`."""
    raise NotImplementedError


def words_of(person: str | Identity | Tensor, basis: CelebBasis, models: Models) -> Tensor:
    """The words (k, d) of a celebrity name, an identity, or words themselves.

    A name's words are its first k token embeddings; a one-token name gets the mean second word.
    Raises BasisMismatch, UnknownName (for an empty name).
    """
    raise NotImplementedError


def interpolate(
    a: str | Identity | Tensor,
    b: str | Identity | Tensor,
    lam: float,
    basis: CelebBasis,
    models: Models,
) -> Tensor:
    """lam * a + (1 - lam) * b, word by word -> (k, d). METHOD.md §1.1."""
    raise NotImplementedError
