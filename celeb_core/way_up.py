"""Gradients through the second half of a UNet only, and past its self-attention.

The words are heard on the way down and on the way up. What they do on the way up can be learned
from without keeping anything of the way down, and the backward pass ends there. Nor does it go
through what positions tell each other: self-attention passes on what words say, but changes next
to nothing of what they should say. On Toonville such gradients point where exact ones do, with a
cosine of .98 (`tests/test_way_up.py`), and people come out as alike (docs/stable_diffusion.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def gradients_of_the_way_up(unet: Any) -> Iterator[None]:
    """Within the block, `unet` (diffusers.UNet2DConditionModel, frozen) lets no gradient through
    its blocks on the way down, nor through its self-attention; what it predicts is the same.

    The backward pass belongs into the block as well: it may compute activations again.
    """
    hooks = [
        module.register_forward_pre_hook(_cut_off, with_kwargs=True)
        for module in (*unet.down_blocks, *_self_attention(unet))
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _cut_off(
    _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(map(_detached, inputs)), {name: _detached(each) for name, each in named.items()}


def _detached(each: Any) -> Any:
    return each.detach() if isinstance(each, Tensor) else each


def _self_attention(unet: Any) -> list[nn.Module]:
    from diffusers.models.attention_processor import Attention

    layers: list[nn.Module] = [m for m in unet.modules() if isinstance(m, Attention)]
    return [layer for layer in layers if not layer.is_cross_attention]
