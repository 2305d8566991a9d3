"""Degradation of training images."""

from __future__ import annotations

import torch

from toonville.degradation import degrade, downscale_some

IMAGES = torch.rand((10, 3, 32, 32), generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8


def test_strength_scales_the_damage() -> None:
    weak, strong = (
        (degrade(IMAGES, torch.Generator().manual_seed(1), strength) - IMAGES).abs().mean()
        for strength in (0.2, 1.0)
    )
    assert 0 < weak < 0.5 * strong
    assert torch.equal(degrade(IMAGES, torch.Generator().manual_seed(1), 0.0), IMAGES)


def test_a_share_loses_detail() -> None:
    blurred = downscale_some(IMAGES, torch.Generator().manual_seed(2), share=0.3)
    assert torch.equal(blurred[3:], IMAGES[3:])
    assert (blurred[:3].std((1, 2, 3)) < 0.8 * IMAGES[:3].std((1, 2, 3))).all()
