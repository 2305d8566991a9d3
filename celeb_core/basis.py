"""Celebrity names -> CelebBasis (METHOD.md §1.1-1.4): build, compose, project, interpolate."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from celeb_core.errors import BasisMismatch, ModelError, ModelNotFound, UnknownName
from celeb_core.files import write_atomically
from celeb_core.types import CelebBasis, Identity

if TYPE_CHECKING:
    from celeb_core.encoders import TextEncoder
    from celeb_core.models import Models

K = 2  # words per name: the first two tokens (METHOD.md §1.2)
FORMAT = "celeb-basis 1"

log = logging.getLogger(__name__)


def token_ids(name: str, tokenizer: Any) -> list[int]:
    """Token ids of a name, without start and end."""
    ids: list[int] = tokenizer(name, add_special_tokens=False).input_ids
    return ids


def build_basis(names: Sequence[str], models: Models, p: int = 512) -> CelebBasis:
    """PCA of the first and second token embeddings of the names (METHOD.md §1.3, §4).

    Rows that several names share count once; one-token names feed the first position only.
    Each position has as many components as its rows have rank, at most p; a shorter position is
    padded with zero rows. Each text encoder gets its own; see `CelebBasis`. The rows are rounded
    to fp16 first, so that one model gives one basis (and one id) whatever precision it is loaded
    in. Raises ModelError if the names have too few distinct words.
    """
    encoders = models.encoders
    rows = [_distinct_rows(names, encoder) for encoder in encoders]
    counts = [len(group) for groups in rows for group in groups]
    if min(counts) < 3:
        raise ModelError(
            f"{len(names)} names are too few to span a celeb basis: they have {counts} distinct "
            "words per position. Use a longer list."
        )
    # One list per position, of one part per encoder.
    parts = [
        [principal_components(group, p) for group in groups] for groups in zip(*rows, strict=True)
    ]
    ranks = tuple(len(std) for position in parts for _, _, std in position)
    size = max(ranks)
    if min(ranks) < p:
        log.info("asked for %d components, the names give %s", p, ranks)
    means = [torch.cat([mean for mean, _, _ in position]) for position in parts]
    components = [torch.block_diag(*(_pad(c, size) for _, c, _ in position)) for position in parts]
    spreads = [torch.cat([_pad(std, size) for _, _, std in position]) for position in parts]
    return CelebBasis(
        mean=torch.stack(means).float(),
        components=torch.stack(components).float(),
        std=torch.stack(spreads).float(),
        names=tuple(names),
        base_model=models.id,
        id=basis_id(names, models, p),
        ranks=ranks,
        widths=tuple(encoder.table.shape[1] for encoder in encoders),
    )


def basis_id(names: Sequence[str], models: Models, p: int = 512) -> str:
    """Hash of all that determines the numbers: the names' word embeddings and p.

    It needs no decomposition, so that a stored basis can be looked up in milliseconds; and it is
    the same on every machine, which the last bits of an SVD are not.
    """
    digest = hashlib.sha256(f"{FORMAT} p={p}\n".encode())
    for name in names:
        digest.update(name.encode() + b"\n")
    for encoder in models.encoders:
        for group in _distinct_rows(names, encoder):
            digest.update(group.half().numpy().tobytes())
    return digest.hexdigest()[:16]


def save_basis(basis: CelebBasis, path: Path) -> None:
    """Write tensors and names to a .pt file that loads with `weights_only=True`."""
    buffer = io.BytesIO()
    torch.save({**vars(basis), "format": FORMAT}, buffer)
    write_atomically(path, buffer.getvalue())


def load_basis(path: Path) -> CelebBasis:
    """Read what `save_basis` wrote. Raises ModelNotFound."""
    try:
        content = torch.load(path, weights_only=True)
        if content.pop("format") != FORMAT:
            raise ValueError("another format")
        # Bases of one text encoder were written without its width at first.
        content.setdefault("widths", (content["mean"].shape[1],))
        return CelebBasis(**content)
    except Exception as error:
        raise ModelNotFound(
            f"{path} is no celeb basis that can be read. Build one: python -m celeb_core basis."
        ) from error


def compose(basis: CelebBasis, coefficients: Tensor) -> Tensor:
    """Coefficients (..., k, p) -> words (..., k, d): v = mean + (a * std) @ components.

    METHOD.md §1.4 with coefficients in units of the celebrities' spread (§4).
    """
    mean, components, std = _parts(basis, coefficients)
    return mean + torch.einsum("...kp,kpd->...kd", coefficients * std, components)


def project(basis: CelebBasis, words: Tensor) -> Tensor:
    """Words (..., k, d) -> coefficients (..., k, p): the left inverse of `compose`.

    What lies outside the span of the celebrities is dropped.
    """
    mean, components, std = _parts(basis, words)
    along = torch.einsum("...kd,kpd->...kp", words - mean, components)
    return torch.where(std > 0, along / std.clamp_min(torch.finfo(std.dtype).tiny), 0.0)


def words_of(person: str | Identity | Tensor, basis: CelebBasis, models: Models) -> Tensor:
    """The words (k, d) float32 of a celebrity name, an identity, or words themselves.

    A name's words are its first k token embeddings; a one-token name gets the mean second word,
    which is what the basis knows of a person's unspecified second word.
    Raises BasisMismatch, UnknownName (for an empty name).
    """
    if isinstance(person, Tensor):
        return person.float()
    if isinstance(person, Identity):
        if person.basis_id != basis.id:
            raise BasisMismatch(person.name, basis.id, person.basis_id, person.base_model)
        return compose(basis, person.coefficients.float())
    words = basis.mean.clone()
    for encoder in models.encoders:
        ids = token_ids(person, encoder.tokenizer)[: basis.k]
        if not ids:
            raise UnknownName(person, (), len(basis.names))
        words[: len(ids), encoder.share] = token_embeddings(ids, encoder)
    return words


def interpolate(
    a: str | Identity | Tensor,
    b: str | Identity | Tensor,
    lam: float,
    basis: CelebBasis,
    models: Models,
) -> Tensor:
    """lam * a + (1 - lam) * b, word by word -> (k, d). METHOD.md §1.1."""
    return mix((a, b), (lam, 1 - lam), basis, models)


def mix(
    people: Sequence[str | Identity | Tensor],
    weights: Sequence[float],
    basis: CelebBasis,
    models: Models,
) -> Tensor:
    """The weighted sum of the people's words, word by word -> (k, d).

    Weights that sum to 1 stay between the people; `bilinear` gives those of a square.
    Raises BasisMismatch, UnknownName.
    """
    parts = [
        weight * words_of(person, basis, models)
        for person, weight in zip(people, weights, strict=True)
    ]
    return torch.stack(parts).sum(0)


def bilinear(x: float, y: float) -> tuple[float, float, float, float]:
    """A place in the unit square, x to the right and y down -> the weights of its corners.

    Upper left, upper right, lower left, lower right; they sum to 1.
    """
    return ((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y)


def token_embeddings(ids: Sequence[int], encoder: TextEncoder) -> Tensor:
    """A text encoder's embeddings of some tokens (n, width), float32 on the CPU."""
    return encoder.table.detach()[list(ids)].float().cpu()


def _distinct_rows(names: Sequence[str], encoder: TextEncoder) -> list[Tensor]:
    """Distinct token embeddings per position, in order of appearance: k x (m_j, width)."""
    seen: list[dict[int, None]] = [{} for _ in range(K)]
    for name in names:
        for position, token in enumerate(token_ids(name, encoder.tokenizer)[:K]):
            seen[position][token] = None
    return [token_embeddings(list(tokens), encoder) for tokens in seen]


def principal_components(rows: Tensor, p: int) -> tuple[Tensor, Tensor, Tensor]:
    """PCA of (m, d) rows, rounded to fp16 -> mean (d,), components (r, d), std (r,) as float64.

    r = min(p, rank). Each component's largest entry is positive.
    """
    rows = rows.half().double()
    mean = rows.mean(0)
    _, singular, components = torch.linalg.svd(rows - mean, full_matrices=False)
    # Rounding to fp16 is the noise floor of the rows, so of their rank.
    rank = int((singular > singular[0] * 1e-3).sum())
    rank = min(rank, p, len(rows) - 1)
    components = components[:rank]
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return mean, components * largest.sign(), singular[:rank] / (len(rows) - 1) ** 0.5


def _pad(rows: Tensor, length: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(length - len(rows), *rows.shape[1:])])


def _parts(basis: CelebBasis, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return (
        basis.mean.to(like.device, like.dtype),
        basis.components.to(like.device, like.dtype),
        basis.std.to(like.device, like.dtype),
    )
