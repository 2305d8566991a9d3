"""Small damage to training pictures: what is judged later comes out of a VAE and a UNet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def damage(pictures: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """Return pictures (N, 3, H, W) in [-1, 1], each a little softer, noisier and off in colour.

    About a third are left as they are, apart from colour. `strength` 0 changes nothing.
    """
    n, _, height, width = pictures.shape

    def amount(scale: float, chance: float = 1.0) -> Tensor:
        """Random numbers of [0, scale], (n, 1, 1, 1), zero for all but a share of the pictures."""
        draw = torch.rand((2, n, 1, 1, 1), generator=generator)
        return scale * strength * draw[0] * (draw[1] < chance)

    small = F.interpolate(pictures, scale_factor=0.5, mode="bilinear", antialias=True)
    soft = F.interpolate(small, (height, width), mode="bilinear")
    x = torch.lerp(pictures, soft, amount(1.0, 0.5))
    tiles = torch.randn((n, 3, -(-height // 8), -(-width // 8)), generator=generator)
    x = x + amount(0.06, 0.4) * F.interpolate(tiles, (height, width), mode="bilinear")
    x = x + amount(0.06, 0.3) * torch.randn(pictures.shape, generator=generator)
    contrast = 1 + amount(0.2) - 0.1 * strength
    tint = 0.03 * strength * torch.randn((n, 3, 1, 1), generator=generator)
    brightness = 0.05 * strength * torch.randn((n, 1, 1, 1), generator=generator)
    return (x * contrast + tint + brightness).clamp_(-1, 1)


def blur_faces(pictures: Tensor, generator: torch.Generator, share: float = 0.2) -> Tensor:
    """Return pictures (N, 3, H, W) of which a share was made small and enlarged again."""
    count = round(share * len(pictures))
    if count == 0:
        return pictures
    side = pictures.shape[-1]
    reduced = int(side * (0.35 + 0.35 * torch.rand((), generator=generator).item()))
    small = F.interpolate(pictures[:count], (reduced, reduced), mode="bilinear", antialias=True)
    large = F.interpolate(small, (side, side), mode="bilinear")
    return torch.cat([large, pictures[count:]])
