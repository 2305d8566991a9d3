"""The celebrity map: PCA of the celebrities' token embeddings, and where a person lies in it.

Coordinates are coefficients times the basis' `std`, both token embeddings side by side, so that
distances are those of the embeddings. Coefficients alone are in units of the celebrities' standard
deviation: every direction would be as wide as any other.

Near on the map does not mean alike in looks: names are arbitrary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import nnls
from torch import Tensor

from celeb_core.basis import person_embeddings, principal_components, project
from celeb_core.models import Models
from celeb_core.types import CelebBasis


@dataclass(frozen=True, eq=False)
class CelebMap:
    """n celebrities, and the q directions in which they differ most; c = k * p."""

    basis: CelebBasis
    centre: Tensor  # (c,) float32, the average celebrity
    points: Tensor  # (n, c) float32, the celebrities of `basis.names` relative to the centre
    axes: Tensor  # (q, c) float32, orthonormal rows
    std: Tensor  # (q,) float32, standard deviation of the celebrities along each axis
    shares: tuple[float, ...]  # (q,) of the total variance, the largest first

    @property
    def positions(self) -> Tensor:
        """Coordinates of the celebrities (n, q), in standard deviations from the centre."""
        return self.points @ self.axes.T / self.std


@dataclass(frozen=True)
class Mixture:
    """A few celebrities who together approximate a person; the largest weight first."""

    names: tuple[str, ...]
    weights: tuple[float, ...]  # positive, of the difference to the average celebrity
    share: float  # explained share of the squared distance from the centre, 0 to 1


def build_map(basis: CelebBasis, models: Models, q: int = 6) -> CelebMap:
    """PCA of the celebrities' coordinates; q axes, or fewer if the celebrities span fewer."""
    embeddings = torch.stack([person_embeddings(name, basis, models) for name in basis.names])
    coordinates = _coordinates(embeddings, basis)
    mean, axes, std = principal_components(coordinates, q)
    points = coordinates - mean.float()
    total = points.double().square().sum() / (len(points) - 1)
    shares = (std.square() / total).tolist()
    return CelebMap(basis, mean.float(), points, axes.float(), std.float(), tuple(shares))


def locate(embeddings: Tensor, celeb_map: CelebMap) -> Tensor:
    """Return the position (q,) of token embeddings (k, d), in standard deviations."""
    offset = _coordinates(embeddings, celeb_map.basis) - celeb_map.centre
    return celeb_map.axes @ offset / celeb_map.std


def move(embeddings: Tensor, steps: Sequence[float], celeb_map: CelebMap) -> Tensor:
    """Move token embeddings (k, d) along the first axes of the map.

    What lies outside the span of the celebrities stays as it is.

    Args:
        embeddings: (k, d), of a person.
        steps: For each of the first axes, in standard deviations.
        celeb_map: Whose axes are meant.

    Returns:
        Token embeddings (k, d).
    """
    basis, count = celeb_map.basis, len(steps)
    along = (torch.tensor(steps) * celeb_map.std[:count]) @ celeb_map.axes[:count]
    return embeddings + torch.einsum("kp,kpd->kd", along.view(basis.k, basis.p), basis.components)


def nearest_mixture(
    embeddings: Tensor, celeb_map: CelebMap, count: int = 5, leave_out: str = ""
) -> Mixture:
    """Approximate a person: average + Σ weight * (celebrity - average), all weights positive.

    Non-negative orthogonal matching pursuit: the celebrity who points most in the direction of the
    residual is added, then all weights are fitted anew by non-negative least squares. Plain
    distances are of less use: in so many dimensions all are alike, and celebrities with one short
    name are near to everyone.

    Args:
        embeddings: (k, d), of the person.
        celeb_map: The celebrities.
        count: How many of them at most.
        leave_out: A name that is not to be used.
    """
    target = _coordinates(embeddings, celeb_map.basis) - celeb_map.centre
    length = target.norm()
    directions = torch.nn.functional.normalize(celeb_map.points, dim=1)
    free = torch.tensor([name != leave_out for name in celeb_map.basis.names])
    chosen: list[int] = []
    weights, residual = torch.zeros(0), target
    while len(chosen) < count:
        fit = torch.where(free, directions @ residual, 0.0)
        best = int(fit.argmax())
        if fit[best] <= 1e-4 * length:
            break
        free[best] = False
        chosen.append(best)
        weights = torch.from_numpy(
            nnls(celeb_map.points[chosen].T.double().numpy(), target.double().numpy())[0]
        ).float()
        residual = target - weights @ celeb_map.points[chosen]
    used = sorted((-w, i) for w, i in zip(weights.tolist(), chosen, strict=True) if w > 0)
    return Mixture(
        tuple(celeb_map.basis.names[i] for _, i in used),
        tuple(-w for w, _ in used),
        float(1 - (residual.norm() / length) ** 2) if used else 0.0,
    )


def _coordinates(embeddings: Tensor, basis: CelebBasis) -> Tensor:
    """Return the coordinates (..., k * p) of token embeddings (..., k, d)."""
    return (project(basis, embeddings) * basis.std).flatten(-2)
