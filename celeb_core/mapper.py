"""Face embedding -> coefficients: the only trained module that a person is made by."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from celeb_core.types import CelebBasis, Norm

FACE_WIDTH = 512
CALIBRATED = ("down", "up", "bias", "directions", "correction")  # tensors of a Calibration


class CoefficientMapper(nn.Module):
    """One linear layer (512 -> k * p) and a norm (METHOD.md §1.5, §4).

    The norm decides where words may lie around the celebrities' mean:
    - "paper": LeakyReLU(0.2), then each word's p numbers to norm 1 on the *unscaled* components;
      weights start as N(0, 1), as in the official code (§2)
    - "radius-learned": each word's whitened coefficients to a radius of its own, trained along
    - "free": whatever the layer says
    The last two start near the mean person, by fan-in scaled weights. Where a word has
    coefficients for several text encoders, the norm is that of each encoder's.
    """

    std: Tensor
    radius: Tensor

    def __init__(self, basis: CelebBasis, norm: Norm = "free", seed: int = 0) -> None:
        super().__init__()
        self.norm = norm
        encoders = len(basis.widths)
        self.shape = (basis.k, encoders, basis.p // encoders)
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
        raw: Tensor = self.linear(face_embedding).unflatten(-1, self.shape)
        if self.norm == "paper":
            unit = functional.normalize(functional.leaky_relu(raw, 0.2), dim=-1).flatten(-2)
            return torch.where(self.std > 0, unit / self.std.clamp_min(1e-12), 0.0)
        if self.norm == "radius-learned":
            raw = functional.normalize(raw, dim=-1) * self.radius.view(*self.shape[:2], 1)
        return raw.flatten(-2)


def low_rank(faces: Tensor, down: Tensor, up: Tensor, bias: Tensor) -> Tensor:
    """Faces (n, 512) by down (r, 512), up (m, r), bias (m,) -> (n, m)."""
    return faces @ down.T @ up.T + bias


class CalibratedMapper(nn.Module):
    """What the calibration says of a face, and one trained layer (512 -> r) along its directions.

    The directions are those of what a word says of a face (`Calibration.directions`). The many
    others of its coefficients move pictures, too, and a training on one photo would learn by them
    what is the photo's and not the person's. The layer starts at zero.
    """

    down: Tensor
    up: Tensor
    bias: Tensor
    directions: Tensor
    correction: Tensor
    along: Tensor

    def __init__(
        self,
        shape: tuple[int, int],
        down: Tensor,
        up: Tensor,
        bias: Tensor,
        directions: Tensor,
        correction: Tensor,
    ) -> None:
        """Coefficients' shape (k, p), and the tensors of a `Calibration`."""
        super().__init__()
        self.shape = shape
        tensors = (down, up, bias, directions, correction)
        for name, value in zip(CALIBRATED, tensors, strict=True):
            self.register_buffer(name, value.float().clone())
        self.register_buffer("along", torch.linalg.pinv(self.directions), persistent=False)
        self.linear = nn.Linear(down.shape[1], directions.shape[1], bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, face_embedding: Tensor) -> Tensor:
        """(b, 512) unit norm -> (b, k, p) in units of the celebrities' spread."""
        start = low_rank(face_embedding, self.down, self.up, self.bias)
        further = self.linear(face_embedding) @ self.directions.T
        coefficients: Tensor = (start + further).unflatten(-1, self.shape)
        return coefficients

    def corrected(self, coefficients: Tensor, share: float) -> Tensor:
        """What a training found (b, k, p) -> with `share`, 0 to 1, of the correction."""
        found = coefficients.flatten(1) @ self.along.T  # (b, q)
        added = found @ self.correction[:, :-1].T + self.correction[:, -1]
        further: Tensor = (added @ self.directions.T).view_as(coefficients)
        return coefficients + share * further
