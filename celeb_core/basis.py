"""Celebrity names -> CelebBasis (PCA); compose, project, interpolate (Celeb Basis, section 3.2)."""

import hashlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from celeb_core.errors import (
    BasisMismatch,
    FeatureMissing,
    IdentityUnreadable,
    ModelError,
    ModelNotFound,
    SaveFailed,
    UnknownName,
)
from celeb_core.files import write_atomically
from celeb_core.formats.tensor_file import read_tensor_file
from celeb_core.loading import ASSETS
from celeb_core.models import Models, read_names
from celeb_core.text_encoder import TextEncoder
from celeb_core.types import CelebBasis, Identity

Subject: TypeAlias = str | Identity | Tensor  # celebrity's name, identity, or embeddings (k, d)

K = 2  # token embeddings per name: the first two
MAX_P = 512
FORMAT = "celeb-basis 1"

log = logging.getLogger(__name__)


def find_basis(
    models: Models, names: Path | None = None, cache: Path | None = None, p: int = MAX_P
) -> CelebBasis:
    """Load the model's basis, or build it, with at most p components per token embedding.

    `names` is a text file of names; None is the model's own list, else the shipped one. A basis
    that is built is stored in the folder `cache` and found there by its `basis_id`.

    Raises:
        FeatureMissing: There is no list of names.
        ModelError: The list is too short.
    """
    listed = models.names
    if names is not None or not listed:
        path = names or ASSETS / "celeb_names.txt"
        if not path.is_file():
            raise FeatureMissing(
                f"A celeb basis needs a list of names, and there is none at {path}. "
                "Name a text file with one celebrity per line: --names FILE."
            )
        listed = read_names(path)
    wanted = basis_id(listed, models, p)
    paths = [folder / "basis.pt" for folder in (ASSETS, models.folder) if folder]
    for path in paths:
        if path.is_file() and (basis := load_basis(path)).id == wanted:
            return basis
    stored = cache / f"basis-{wanted}.pt" if cache else None
    try:
        if stored and stored.is_file() and (basis := load_basis(stored)).id == wanted:
            return basis
    except (ModelNotFound, OSError) as error:
        log.warning("made anew: %s", error)
    log.info("building the celeb basis of %d names", len(listed))
    basis = build_basis(listed, models, p)
    try:
        if stored:
            save_basis(basis, stored)
    except SaveFailed as error:  # it is built again next time
        log.warning("%s", error)
    return basis


def build_basis(names: Sequence[str], models: Models, p: int = MAX_P) -> CelebBasis:
    """Fit the PCA of the names' first and second token embeddings, for each text encoder.

    Embeddings that several names share count once; one-token names have no second one. Each
    position has as many components as its embeddings have rank, at most p, and zeros beyond.

    Raises:
        ModelError: The names have too few distinct tokens.
    """
    rows = [_distinct_embeddings(names, encoder) for encoder in models.encoders]
    counts = [len(position) for positions in rows for position in positions]
    if min(counts) < 3:
        raise ModelError(
            f"{len(names)} names are too few to span a celeb basis: they have {counts} distinct "
            "tokens per position. Use a longer list."
        )
    # One list per position, of one PCA per encoder.
    parts = [[principal_components(part, p) for part in pos] for pos in zip(*rows, strict=True)]
    ranks = tuple(len(std) for position in parts for _, _, std in position)
    size = max(ranks)
    components = [
        torch.block_diag(*(pad(rows, (0, 0, 0, size - len(rows))) for _, rows, _ in position))
        for position in parts
    ]
    stds = [torch.cat([pad(std, (0, size - len(std))) for _, _, std in pos]) for pos in parts]
    return CelebBasis(
        mean=torch.stack([torch.cat([mean for mean, _, _ in pos]) for pos in parts]).float(),
        components=torch.stack(components).float(),
        std=torch.stack(stds).float(),
        names=tuple(names),
        base_model=models.id,
        id=basis_id(names, models, p),
        ranks=ranks,
        widths=tuple(encoder.table.shape[1] for encoder in models.encoders),
    )


def basis_id(names: Sequence[str], models: Models, p: int = MAX_P) -> str:
    """Hash all that determines a basis: the names, their token embeddings, and p.

    It takes milliseconds, and is the same on every machine, which the last bits of an SVD are not.
    """
    digest = hashlib.sha256("\n".join([f"{FORMAT} p={p}", *names, ""]).encode())
    for encoder in models.encoders:
        for rows in _distinct_embeddings(names, encoder):
            digest.update(rows.half().numpy().tobytes())
    return digest.hexdigest()[:16]


def save_basis(basis: CelebBasis, path: Path) -> None:
    """Write a .pt file that loads with `weights_only=True`, atomically."""
    buffer = io.BytesIO()
    torch.save({**vars(basis), "format": FORMAT}, buffer)
    write_atomically(path, buffer.getvalue())


def load_basis(path: Path) -> CelebBasis:
    """Load what `save_basis` wrote, or raise ModelNotFound if it cannot be read."""
    try:
        content = read_tensor_file(path)
        if content.pop("format") != FORMAT:
            raise ValueError("it has another format")
        # Files of one text encoder did not have its width at first.
        content.setdefault("widths", (content["mean"].shape[1],))
        basis = CelebBasis(**content)
        (k, p), d = basis.std.shape, sum(basis.widths)
        shapes = (basis.mean.shape, basis.components.shape) == ((k, d), (k, p, d))
        tensors = (basis.mean, basis.components, basis.std)
        if not shapes or not all(bool(part.isfinite().all()) for part in tensors):
            raise ValueError("its tensors have wrong shapes, or are not finite")
        return basis
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelNotFound(
            f"{path} is no celeb basis that can be read ({error}). Build one: celeb-basis basis."
        ) from error


def compose(basis: CelebBasis, coefficients: Tensor) -> Tensor:
    """Return the token embeddings (..., k, d) of coefficients (..., k, p).

    mean + (coefficients * std) @ components, on the device and in the dtype of the coefficients.
    """
    mean, components, std = (t.to(coefficients) for t in (basis.mean, basis.components, basis.std))
    return mean + torch.einsum("...kp,kpd->...kd", coefficients * std, components)


def project(basis: CelebBasis, embeddings: Tensor) -> Tensor:
    """Return coefficients (..., k, p) of token embeddings (..., k, d), as `compose` takes them.

    What lies outside of the celebrities' span is dropped.
    """
    mean, components, std = (t.to(embeddings) for t in (basis.mean, basis.components, basis.std))
    return over_std(torch.einsum("...kd,kpd->...kp", embeddings - mean, components), std)


def over_std(unscaled: Tensor, std: Tensor) -> Tensor:
    """Return coefficients (..., k, p) of unscaled components in standard deviations (k, p)."""
    return torch.where(std > 0, unscaled / std.clamp_min(torch.finfo(std.dtype).tiny), 0.0)


def person_embeddings(person: Subject, basis: CelebBasis, models: Models) -> Tensor:
    """Return the token embeddings (k, d) of a person, float32.

    Of a name the first k tokens count; a one-token name gets the mean second embedding.

    Raises:
        BasisMismatch, IdentityUnreadable: The identity does not belong to the basis.
        UnknownName: The name is empty.
    """
    if isinstance(person, Tensor):
        return person.float()
    if isinstance(person, Identity):
        check_identity(person, basis)
        return compose(basis, person.coefficients.float())
    embeddings = basis.mean.clone()
    for encoder in models.encoders:
        ids = encoder.token_ids(person)[: basis.k]
        if not ids:
            raise UnknownName(person, (), len(basis.names))
        embeddings[: len(ids), encoder.columns] = encoder.embed(ids)
    return embeddings


def check_identity(identity: Identity, basis: CelebBasis) -> None:
    """Check that an identity belongs to a basis.

    Raises:
        BasisMismatch: It is of another one.
        IdentityUnreadable: It says that it does, and has another number of coefficients.
    """
    if identity.basis_id != basis.id:
        raise BasisMismatch(identity.name, basis.id, identity.basis_id, identity.base_model)
    if identity.coefficients.shape != (shape := basis.std.shape):
        raise IdentityUnreadable(
            f"The file of <{identity.name}> is damaged: it has {tuple(identity.coefficients.shape)}"
            f" coefficients, its basis {tuple(shape)}. Train again, or restore a backup."
        )


def interpolate(a: Subject, b: Subject, lam: float, basis: CelebBasis, models: Models) -> Tensor:
    """Return lam * a + (1 - lam) * b of two people's token embeddings (k, d)."""
    return mix((a, b), (lam, 1 - lam), basis, models)


def mix(
    people: Sequence[Subject], weights: Sequence[float], basis: CelebBasis, models: Models
) -> Tensor:
    """Return the weighted sum of people's token embeddings (k, d); the weights should sum to 1."""
    pairs = zip(weights, people, strict=True)
    return torch.stack([w * person_embeddings(one, basis, models) for w, one in pairs]).sum(0)


def principal_components(rows: Tensor, p: int) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a PCA of rows (m, d). They are rounded to float16 first, which any loaded dtype can hold.

    Returns:
        mean (d,), components (r, d) whose largest entries are positive, std (r,); float64. r is
        the rank, p at most.
    """
    rows = rows.half().double()
    mean = rows.mean(0)
    _, singular, components = torch.linalg.svd(rows - mean, full_matrices=False)
    # Rounding to float16 is the noise floor of the rows, so of their rank.
    rank = min(int((singular > singular[0] * 1e-3).sum()), p, len(rows) - 1)
    components = components[:rank]
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return mean, components * largest.sign(), singular[:rank] / (len(rows) - 1) ** 0.5


def _distinct_embeddings(names: Sequence[str], encoder: TextEncoder) -> list[Tensor]:
    """Distinct token embeddings of each position, in order of appearance: k times (m, width)."""
    ids = [encoder.token_ids(name) for name in names]
    columns = [[row[position] for row in ids if len(row) > position] for position in range(K)]
    return [encoder.embed(list(dict.fromkeys(column))) for column in columns]
