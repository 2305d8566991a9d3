"""Half the memory on a device that does not compute in half precision.

The weights of linear and convolutional layers rest in bfloat16, as they do on a graphics card, and
so does what a forward pass keeps for the backward pass; all arithmetic is in float32. Weights are
widened where they are used, and again in the backward pass, so that never more than one layer's
are there in full. Only for frozen networks: weights get no gradient.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.nn.grad import conv2d_input

RESTING = torch.bfloat16
SMALLEST = 4096  # numbers of a kept tensor from which halving it is worth a copy

_scratch = threading.local()


def _widened(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A weight in full, until the next one of this thread is asked for: fresh memory for each
    would cost the system more than the copy itself."""
    buffer: Tensor | None = getattr(_scratch, "buffer", None)
    place = (dtype, weight.device)
    if buffer is None or buffer.numel() < weight.numel() or (buffer.dtype, buffer.device) != place:
        buffer = _scratch.buffer = weight.new_empty(weight.numel(), dtype=dtype)
    return buffer[: weight.numel()].view(weight.shape).copy_(weight)


class _Linear(torch.autograd.Function):
    """x W^T + b; keeps W as it rests."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return functional.linear(x, _widened(weight, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return gradient @ _widened(weight, gradient.dtype), None, None


class _Conv2d(torch.autograd.Function):
    """A convolution with zeros around the picture; keeps the weight as it rests."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: tuple[Any, ...]
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.size, ctx.geometry = x.shape, geometry
        return functional.conv2d(x, _widened(weight, x.dtype), bias, *geometry)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        wide = _widened(weight, gradient.dtype)
        return conv2d_input(ctx.size, wide, gradient, *ctx.geometry), None, None, None


class RestingLinear(nn.Linear):
    """A frozen `nn.Linear` whose weight rests in half precision."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Linear`, in the input's precision."""
        result: Tensor = _Linear.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return result


class RestingConv2d(nn.Conv2d):
    """A frozen `nn.Conv2d` whose weight rests in half precision."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Conv2d`, in the input's precision."""
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        result: Tensor = _Conv2d.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, geometry
        )
        return result


RESTS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: RestingLinear,
    nn.Conv2d: RestingConv2d,
}


def rest_in_half(network: nn.Module) -> None:
    """Let the weights of a frozen network rest in half precision; all else becomes float32.

    The first layer stays as it is: by it diffusers knows in which precision a network computes.
    """
    layers = [module for module in network.modules() if type(module) in RESTS]
    for module in network.modules():
        resting = module in layers[1:] and getattr(module, "padding_mode", "zeros") == "zeros"
        for name, parameter in module.named_parameters(recurse=False):
            halved = resting and name == "weight"
            parameter.data = parameter.data.to(RESTING if halved else torch.float32)
        if resting:
            module.__class__ = RESTS[type(module)]


def rests_in_half(network: nn.Module) -> bool:
    """Whether `rest_in_half` was there."""
    return any(isinstance(module, tuple(RESTS.values())) for module in network.modules())


def kept_in_half(network: nn.Module) -> AbstractContextManager[Any]:
    """Within the block, what float32 passes keep for backward is kept in half precision, if the
    network's weights rest in it."""
    return saved_tensors_hooks(_narrow, _widen) if rests_in_half(network) else nullcontext()


def _narrow(kept: Tensor) -> Tensor | tuple[Tensor]:
    if kept.dtype != torch.float32 or kept.numel() < SMALLEST:
        return kept
    return (kept.to(RESTING),)


def _widen(kept: Tensor | tuple[Tensor]) -> Tensor:
    return kept if isinstance(kept, Tensor) else kept[0].float()
