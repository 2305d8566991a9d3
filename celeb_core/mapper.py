"""Face embedding -> coefficients: the only trained module, and its closed-form start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from celeb_core.types import Calibration, CelebBasis, Norm

if TYPE_CHECKING:
    from celeb_core.models import Models


class CoefficientMapper(nn.Module):
    """One linear layer (512 -> k * p) and a norm (METHOD.md §1.5, §4)."""

    def __init__(self, basis: CelebBasis, norm: Norm = "free", seed: int = 0) -> None:
        super().__init__()
        raise NotImplementedError

    def forward(self, face_embedding: Tensor) -> Tensor:
        """(b, 512) unit norm -> (b, k, p) in units of the celebrities' spread."""
        raise NotImplementedError


def closed_form(
    mapper: CoefficientMapper, calibration: Calibration, basis: CelebBasis, models: Models
) -> float:
    """Set the mapper by ridge regression from the celebrities' faces to their coefficients.

    Returns lambda, chosen by leave-one-out error in closed form.
    """
    raise NotImplementedError
