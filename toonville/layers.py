"""Building blocks of the networks that look at faces and pictures."""

from __future__ import annotations

from torch import Tensor, nn


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
        return x + self.conv(x)


class Bottleneck(nn.Module):
    """x + a 3 x 3 convolution at half the width (He et al. 2016)."""

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
        out: Tensor = self.act(x + self.body(x))
        return out


def patches(outputs: int) -> nn.Sequential:
    """Return a first layer: 7 x 7 pixels, every 4, to `outputs` channels."""
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
    """Return layers from a map of `area` positions to one vector that still knows where."""
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        nn.Linear(channels * area, outputs, bias=False),
        nn.BatchNorm1d(outputs),
        nn.LeakyReLU(0.1),
    )
