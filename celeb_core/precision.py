"""bfloat16 weight storage for devices that do not compute in bfloat16; frozen networks only.

Weights of linear and convolutional layers, and what is saved for the backward pass, are stored in
bfloat16; all arithmetic is float32. A weight is converted where it is used, and again in the
backward pass. (diffusers' layer-wise casting keeps the float32 copies for the backward pass.)
"""

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.nn.grad import conv2d_input

STORAGE = torch.bfloat16
MIN_NUMEL = 4096  # of a saved tensor from which converting it is worth a copy

_scratch = threading.local()


def _upcast(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert a weight into this thread's buffer, valid until the next call.

    Fresh memory for each weight would cost the system more than the copy itself.
    """
    buffer: Tensor | None = getattr(_scratch, "buffer", None)
    kind = (dtype, weight.device)
    if buffer is None or buffer.numel() < weight.numel() or (buffer.dtype, buffer.device) != kind:
        buffer = _scratch.buffer = weight.new_empty(weight.numel(), dtype=dtype)
    return buffer[: weight.numel()].view(weight.shape).copy_(weight)


class _LinearFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return functional.linear(x, _upcast(weight, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return gradient @ _upcast(weight, gradient.dtype), None, None


class _Conv2dFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: tuple[Any, ...]
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.size, ctx.geometry = x.shape, geometry
        return functional.conv2d(x, _upcast(weight, x.dtype), bias, *geometry)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        full = _upcast(weight, gradient.dtype)
        return conv2d_input(ctx.size, full, gradient, *ctx.geometry), None, None, None


class BFloat16Linear(nn.Linear):
    """A frozen `nn.Linear` with its weight stored in bfloat16; computes in the input's dtype."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Linear`."""
        return _LinearFunction.apply(input, self.weight, self.bias)  # type: ignore


class BFloat16Conv2d(nn.Conv2d):
    """A frozen `nn.Conv2d` with its weight stored in bfloat16; computes in the input's dtype."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Conv2d`, with zero padding."""
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return _Conv2dFunction.apply(input, self.weight, self.bias, geometry)  # type: ignore


LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: BFloat16Linear,
    nn.Conv2d: BFloat16Conv2d,
}


def store_in_bfloat16(network: nn.Module) -> None:
    """Store the weights of a frozen network in bfloat16; biases and norms become float32.

    The first layer stays float32: diffusers takes a network's dtype from it.
    """
    layers = [module for module in network.modules() if type(module) in LAYERS]
    for module in network.modules():
        stored = module in layers[1:] and getattr(module, "padding_mode", "zeros") == "zeros"
        for name, parameter in module.named_parameters(recurse=False):
            dtype = STORAGE if stored and name == "weight" else torch.float32
            parameter.data = parameter.data.to(dtype)
        if stored:
            module.__class__ = LAYERS[type(module)]


def save_activations_in_bfloat16(network: nn.Module) -> AbstractContextManager[Any]:
    """Within the block, float32 passes save large tensors for backward in bfloat16.

    Does nothing unless the network's weights are stored so (`store_in_bfloat16`).
    """
    stored = any(isinstance(module, tuple(LAYERS.values())) for module in network.modules())
    return saved_tensors_hooks(_pack, _unpack) if stored else nullcontext()


def _pack(saved: Tensor) -> Tensor | tuple[Tensor]:
    if saved.dtype != torch.float32 or saved.numel() < MIN_NUMEL:
        return saved
    return (saved.to(STORAGE),)


def _unpack(saved: Tensor | tuple[Tensor]) -> Tensor:
    return saved if isinstance(saved, Tensor) else saved[0].float()
