"""The celebrity map: where the celebrities' words lie, and where a person's words are among them.

Coordinates are coefficients times the basis' `std`, both words side by side: the words as they
are, with their true distances. Coefficients alone are measured in the celebrities' own spread, so
that every direction is as wide as any other and there is no principal one.

Near on the map, or in the words, is not alike in looks: names are arbitrary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from scipy.optimize import nnls
from torch import Tensor

from celeb_core.basis import principal_components, project, words_of
from celeb_core.types import CelebBasis

if TYPE_CHECKING:
    from celeb_core.models import Models


@dataclass(frozen=True, eq=False)
class CelebMap:
    """n celebrities, and the q directions in which they differ most; c = k * p."""

    basis: CelebBasis
    centre: Tensor  # (c,) float32, the average celebrity
    points: Tensor  # (n, c) float32, the celebrities of `basis.names` from the centre
    axes: Tensor  # (q, c) float32, orthonormal rows
    std: Tensor  # (q,) float32, the celebrities' spread along each axis
    shares: tuple[float, ...]  # (q,) of the whole squared spread, the largest first

    @property
    def places(self) -> Tensor:
        """(n, q) where the celebrities are, in standard deviations from the centre."""
        return self.points @ self.axes.T / self.std


@dataclass(frozen=True)
class Mixture:
    """A few celebrities who together come near to somebody; the largest weight first."""

    names: tuple[str, ...]
    weights: tuple[float, ...]  # positive; how much of what sets the celebrity apart is taken
    share: float  # 0 to 1, of the squared distance from the centre that the mixture goes


def build_map(basis: CelebBasis, models: Models, q: int = 6) -> CelebMap:
    """PCA of the celebrities' coordinates; q axes, or fewer if the celebrities span fewer."""
    words = torch.stack([words_of(name, basis, models) for name in basis.names])
    coordinates = _coordinates(words, basis)
    mean, axes, std = principal_components(coordinates, q)
    points = coordinates - mean.float()
    total = points.double().square().sum() / (len(points) - 1)
    shares = (std.square() / total).tolist()
    return CelebMap(basis, mean.float(), points, axes.float(), std.float(), tuple(shares))


def locate(words: Tensor, atlas: CelebMap) -> Tensor:
    """Words (k, d) -> their place (q,), in standard deviations from the average celebrity."""
    return atlas.axes @ (_coordinates(words, atlas.basis) - atlas.centre) / atlas.std


def move(words: Tensor, steps: Sequence[float], atlas: CelebMap) -> Tensor:
    """Words (k, d) moved by `steps` standard deviations along the first axes -> words (k, d).

    Zero steps give the same words, whatever of them lies outside the span of the celebrities.
    """
    basis = atlas.basis
    count = len(steps)
    along = (torch.tensor(steps) * atlas.std[:count]) @ atlas.axes[:count]
    return words + torch.einsum("kp,kpd->kd", along.view(basis.k, basis.p), basis.components)


def nearest_mixture(words: Tensor, atlas: CelebMap, count: int = 5, leave_out: str = "") -> Mixture:
    """words (k, d) ≈ average + Σ weight * (celebrity - average), with at most `count` weights > 0.

    Non-negative orthogonal matching pursuit: the celebrity who points most in the direction that
    is still missing is added, then all weights are fitted anew by non-negative least squares.
    Plain distances were less useful: in so many dimensions all are alike, and those with one
    short name are near to everybody. `leave_out` is a name that is not to be used.
    """
    wanted = _coordinates(words, atlas.basis) - atlas.centre
    length = wanted.norm()
    directions = torch.nn.functional.normalize(atlas.points, dim=1)
    free = torch.tensor([name != leave_out for name in atlas.basis.names])
    chosen: list[int] = []
    weights, missing = torch.zeros(0), wanted
    while len(chosen) < count:
        fit = torch.where(free, directions @ missing, 0.0)
        best = int(fit.argmax())
        if fit[best] <= 1e-4 * length:
            break
        free[best] = False
        chosen.append(best)
        weights = torch.from_numpy(
            nnls(atlas.points[chosen].T.double().numpy(), wanted.double().numpy())[0]
        ).float()
        missing = wanted - weights @ atlas.points[chosen]
    used = sorted((-w, i) for w, i in zip(weights.tolist(), chosen, strict=True) if w > 0)
    return Mixture(
        tuple(atlas.basis.names[i] for _, i in used),
        tuple(-w for w, _ in used),
        float(1 - (missing.norm() / length) ** 2) if used else 0.0,
    )


def _coordinates(words: Tensor, basis: CelebBasis) -> Tensor:
    """Words (..., k, d) -> (..., k * p)."""
    return (project(basis, words) * basis.std).flatten(-2)
