"""Degradation of training images: at test time images come out of a VAE and a UNet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def degrade(images: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """Blur images a little, add noise, and change contrast, tint and brightness.

    Args:
        images: (N, 3, H, W) in [-1, 1].
        generator: Source of randomness.
        strength: 0 changes nothing.

    Returns:
        (N, 3, H, W) in [-1, 1]. About a third of them are changed in colour only.
    """
    n, _, height, width = images.shape

    def amount(scale: float, chance: float = 1.0) -> Tensor:
        """Random numbers of [0, scale], (n, 1, 1, 1), zero for all but a share of the images."""
        random = torch.rand((2, n, 1, 1, 1), generator=generator)
        return scale * strength * random[0] * (random[1] < chance)

    small = F.interpolate(images, scale_factor=0.5, mode="bilinear", antialias=True)
    soft = F.interpolate(small, (height, width), mode="bilinear")
    x = torch.lerp(images, soft, amount(1.0, 0.5))
    tiles = torch.randn((n, 3, -(-height // 8), -(-width // 8)), generator=generator)
    x = x + amount(0.06, 0.4) * F.interpolate(tiles, (height, width), mode="bilinear")
    x = x + amount(0.06, 0.3) * torch.randn(images.shape, generator=generator)
    contrast = 1 + amount(0.2) - 0.1 * strength
    tint = 0.03 * strength * torch.randn((n, 3, 1, 1), generator=generator)
    brightness = 0.05 * strength * torch.randn((n, 1, 1, 1), generator=generator)
    return (x * contrast + tint + brightness).clamp_(-1, 1)


def downscale_some(images: Tensor, generator: torch.Generator, share: float = 0.2) -> Tensor:
    """Return square images (N, 3, S, S), the first `share` of them reduced and enlarged again."""
    count = round(share * len(images))
    if count == 0:
        return images
    side = images.shape[-1]
    reduced = int(side * (0.35 + 0.35 * torch.rand((), generator=generator).item()))
    small = F.interpolate(images[:count], (reduced, reduced), mode="bilinear", antialias=True)
    large = F.interpolate(small, (side, side), mode="bilinear")
    return torch.cat([large, images[count:]])
