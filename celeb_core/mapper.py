"""Face embedding -> coefficients: the only trained module, and its closed-form start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from celeb_core.basis import project, words_of
from celeb_core.errors import FeatureMissing
from celeb_core.types import Calibration, CelebBasis, Norm

if TYPE_CHECKING:
    from celeb_core.models import Models

FACE_WIDTH = 512
LAMBDAS = tuple(10 ** (exponent / 2) for exponent in range(-4, 7))  # 0.01 to 1000


class CoefficientMapper(nn.Module):
    """One linear layer (512 -> k * p) and a norm (METHOD.md §1.5, §4).

    The norm decides where words may lie around the celebrities' mean:
    - "paper": LeakyReLU(0.2), then each word's p numbers to norm 1 on the *unscaled* components;
      weights start as N(0, 1), as in the official code (§2)
    - "radius-learned": each word's whitened coefficients to a radius of its own, trained along
    - "free": whatever the layer says
    The last two start near the mean person, by fan-in scaled weights.
    """

    std: Tensor
    radius: Tensor

    def __init__(self, basis: CelebBasis, norm: Norm = "free", seed: int = 0) -> None:
        super().__init__()
        self.norm, self.k, self.p = norm, basis.k, basis.p
        self.linear = nn.Linear(FACE_WIDTH, basis.k * basis.p)
        spread = 1.0 if norm == "paper" else FACE_WIDTH**-0.5
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.linear.weight.normal_(0.0, spread, generator=generator)
            self.linear.bias.zero_()
        self.register_buffer("std", basis.std.clone(), persistent=False)
        # Celebrities lie at sqrt(rank) in whitened units, but most of that is not about the
        # face; a third of it was the best single radius for a new person (METHOD.md §5).
        start = torch.tensor(basis.ranks).sqrt() / 3
        self.radius = nn.Parameter(start, requires_grad=norm == "radius-learned")

    def forward(self, face_embedding: Tensor) -> Tensor:
        """(b, 512) unit norm -> (b, k, p) in units of the celebrities' spread."""
        raw: Tensor = self.linear(face_embedding).unflatten(-1, (self.k, self.p))
        if self.norm == "paper":
            unit = functional.normalize(functional.leaky_relu(raw, 0.2), dim=-1)
            return torch.where(self.std > 0, unit / self.std.clamp_min(1e-12), 0.0)
        if self.norm == "radius-learned":
            return functional.normalize(raw, dim=-1) * self.radius[:, None]
        return raw


def closed_form(
    mapper: CoefficientMapper, calibration: Calibration, basis: CelebBasis, models: Models
) -> float:
    """Set the mapper by ridge regression from the celebrities' faces to their coefficients.

    Returns lambda, chosen by leave-one-out error in closed form. With the norm
    "radius-learned" the radius becomes the mean radius of the celebrities' predictions.
    Raises FeatureMissing if too few celebrities have a face.
    """
    seen = calibration.face_embeddings.norm(dim=1) > 0.5
    names = [name for name, ok in zip(calibration.names, seen.tolist(), strict=True) if ok]
    if len(names) < 8:
        raise FeatureMissing(
            f"The calibration has faces of {len(names)} celebrities only. "
            "Run “python -m celeb_core calibrate” again."
        )
    faces = calibration.face_embeddings[seen]
    words = torch.stack([words_of(name, basis, models) for name in names])
    targets = project(basis, words).flatten(1)
    weight, bias, lam = ridge(faces, targets)
    with torch.no_grad():
        mapper.linear.weight.copy_(weight)
        mapper.linear.bias.copy_(bias)
        if mapper.norm == "radius-learned":
            predicted = (faces @ weight.T + bias).unflatten(-1, (mapper.k, mapper.p))
            mapper.radius.copy_(predicted.norm(dim=-1).mean(0))
    return lam


def ridge(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, float]:
    """Ridge regression with an unpenalised intercept.

    inputs (n, f), targets (n, t) -> weight (t, f), bias (t,), lambda. The lambda of `LAMBDAS`
    with the least leave-one-out error, (y - ŷ) / (1 - h) per row, is taken: one SVD for all.
    """
    x_mean, y_mean = inputs.mean(0), targets.mean(0)
    u, s, vh = torch.linalg.svd(inputs - x_mean, full_matrices=False)
    centred = targets - y_mean
    along = u.T @ centred
    errors = []
    for lam in LAMBDAS:
        shrink = s**2 / (s**2 + lam)
        leverage = (u**2 * shrink).sum(1) + 1 / len(inputs)
        residual = centred - u @ (shrink[:, None] * along)
        errors.append((residual / (1 - leverage).clamp_min(1e-6)[:, None]).square().mean())
    lam = LAMBDAS[int(torch.stack(errors).argmin())]
    weight = (vh.T @ ((s / (s**2 + lam))[:, None] * along)).T
    return weight, y_mean - weight @ x_mean, lam
