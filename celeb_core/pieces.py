"""The loss of a batch, some pictures at a time: the gradients of all, the memory of few.

The loss of a picture depends on its own text states only, so its gradient can be taken as soon as
the picture has passed the UNet, and what the pass kept is free again for the next one. What is
left for the backward pass is the gradient itself, as small as the text states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from celeb_core.types import PromptEmbeds

LossOf: TypeAlias = Callable[[slice, PromptEmbeds], Tensor]
"""Rows of the batch, what is said of them -> the loss of each (rows,)."""


def losses_in_pieces(loss_of: LossOf, said: PromptEmbeds, size: int, scale: float = 1.0) -> Tensor:
    """The loss of each picture (b,), `size` pictures at a time.

    `scale`: what the losses are multiplied by before their gradients are taken, in which small
    numbers would be lost in float16; they are divided by it again.
    """
    result: Tensor = _Pieces.apply(  # type: ignore[no-untyped-call]
        said.states, said.pooled, loss_of, size, scale
    )
    return result


class _Pieces(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        pooled: Tensor | None,
        loss_of: LossOf,
        size: int,
        scale: float,
    ) -> Tensor:
        needed = ctx.needs_input_grad[:2]
        losses, gradients = [], []
        for start in range(0, len(states), size):
            rows = slice(start, start + size)
            inputs = [
                None if whole is None else whole[rows].detach().requires_grad_(need)
                for whole, need in zip((states, pooled), needed, strict=True)
            ]
            assert inputs[0] is not None
            with torch.set_grad_enabled(any(needed)):
                each = loss_of(rows, PromptEmbeds(inputs[0], inputs[1]))
            losses.append(each.detach())
            if any(needed):
                wanted = [one for one in inputs if one is not None and one.requires_grad]
                gradients.append(torch.autograd.grad(each, wanted, torch.full_like(each, scale)))
        columns = [torch.cat(column) / scale for column in zip(*gradients, strict=True)]
        ctx.save_for_backward(*columns)
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        columns = iter(ctx.saved_tensors)
        found = [
            torch.einsum("b...,b->b...", next(columns), upstream) if need else None
            for need in ctx.needs_input_grad[:2]
        ]
        return (*found, None, None, None)
