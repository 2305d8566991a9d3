"""Building blocks of the detector, recogniser, judge and attribute reader."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def channels_last(network: Network) -> Network:
    """Return a network with its weights in channels-last order, which is faster on a CPU."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return a 3 x 3 convolution with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Residual(nn.Module):
    """x + conv(x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        out: Tensor = x + self.conv(x)
        return out


class Bottleneck(nn.Module):
    """x + a 3 x 3 convolution at half the width (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.body = nn.Sequential(
            nn.Conv2d(width, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.LeakyReLU(0.1),
            nn.Conv2d(half, half, 3, 1, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.LeakyReLU(0.1),
            nn.Conv2d(half, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.act = nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        out: Tensor = self.act(x + self.body(x))
        return out


def patches(outputs: int) -> nn.Sequential:
    """Return a first layer: a 7 x 7 convolution of stride 4 on RGB."""
    return nn.Sequential(
        nn.Conv2d(3, outputs, 7, 4, 3, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)
    )


def down(inputs: int, outputs: int) -> nn.Sequential:
    """Return a 3 x 3 convolution of stride 2."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.1),
    )


def summary(inputs: int, channels: int, area: int, outputs: int) -> nn.Sequential:
    """Return layers from a feature map to one vector (N, outputs).

    Not pooled: the vector depends on where things are.

    Args:
        inputs: Channels of the feature map.
        channels: Channels that it is reduced to.
        area: Height times width of the feature map.
        outputs: Width of the vector.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        nn.Linear(channels * area, outputs, bias=False),
        nn.BatchNorm1d(outputs),
        nn.LeakyReLU(0.1),
    )
