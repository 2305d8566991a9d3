"""Gradients through the second half of a UNet only.

The words are heard on the way down and on the way up. What they do on the way up can be learned
from without keeping anything of the way down, and the backward pass ends there. On Toonville people
came out as alike (docs/stable_diffusion.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def gradients_of_the_way_up(unet: Any) -> Iterator[None]:
    """Within the block, `unet` (diffusers.UNet2DConditionModel) lets no gradient through its
    blocks on the way down; what it predicts is the same."""
    before = torch.is_grad_enabled()

    def stop(*_: Any) -> None:
        torch.set_grad_enabled(False)

    def go_on(*_: Any) -> None:
        torch.set_grad_enabled(before)

    hooks = (
        unet.down_blocks[0].register_forward_pre_hook(stop),
        unet.down_blocks[-1].register_forward_hook(go_on),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        torch.set_grad_enabled(before)
