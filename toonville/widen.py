"""Wider copies of trained layers that compute the same: Net2Net (Chen et al., arXiv 1511.05641).

A wider layer has several copies of each channel. Those who read them share the old weight among
the copies in random parts, so that training can tell the copies apart. Group norms must have one
group: the statistics of copies are those of the originals.
"""

from __future__ import annotations

import torch
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn


@torch.no_grad()
def fill_conv(new: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    """Set a convolution to a wider copy of another's weight and bias.

    Args:
        new: Its numbers of channels are multiples of the other's.
        weight: (outputs, inputs, k, k).
        bias: (outputs,).
    """
    outputs, inputs = new.out_channels // len(weight), new.in_channels // weight.shape[1]
    parts = 1 + 0.2 * torch.randn(new.out_channels, inputs, weight.shape[1], 1, 1)
    parts = (parts / parts.sum(1, keepdim=True)).flatten(1, 2)
    new.weight.copy_(parts * weight.repeat(outputs, inputs, 1, 1))
    assert new.bias is not None
    new.bias.copy_(bias.repeat(outputs))


@torch.no_grad()
def fill_norm(new: nn.GroupNorm, old: nn.GroupNorm) -> None:
    """Set a group norm of one group to a wider copy of another."""
    copies = new.num_channels // old.num_channels
    new.weight.copy_(old.weight.repeat(copies))
    new.bias.copy_(old.bias.repeat(copies))


@torch.no_grad()
def fill_resnet(new: ResnetBlock2D, old: ResnetBlock2D) -> None:
    """Set a residual block without time embedding to a wider copy of another."""
    fill_norm(new.norm1, old.norm1)
    fill_norm(new.norm2, old.norm2)
    fill_conv(new.conv1, old.conv1.weight, old.conv1.bias)
    fill_conv(new.conv2, old.conv2.weight, old.conv2.bias)
    if new.conv_shortcut is None:
        return
    if old.conv_shortcut is not None:
        fill_conv(new.conv_shortcut, old.conv_shortcut.weight, old.conv_shortcut.bias)
    else:
        pass_through(new, old.out_channels, zero_branch=False)


@torch.no_grad()
def pass_through(resnet: ResnetBlock2D, channels: int, zero_branch: bool = True) -> None:
    """Let a residual block's skip connection return copies of its input's `channels` channels.

    Args:
        resnet: Its numbers of channels are multiples of `channels`.
        channels: Different ones in its input.
        zero_branch: Whether the other branch adds nothing at first.
    """
    if resnet.conv_shortcut is not None:
        eye = torch.eye(channels)[..., None, None]
        fill_conv(resnet.conv_shortcut, eye, torch.zeros(channels))
    if zero_branch:
        resnet.conv2.weight.zero_()
        resnet.conv2.bias.zero_()
