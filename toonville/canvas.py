"""Anti-aliased 2D graphics: Pillow at several times the size, reduced at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SUBPIXELS = 4
"""That an image in progress has per unit; a finished one has 1, 2 or 4 pixels per unit."""

Colour = tuple[int, int, int]
Points = NDArray[np.float64] | Sequence[tuple[float, float]]


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """Return the colour at t between a (t = 0) and b (t = 1)."""
    t = min(max(t, 0.0), 1.0)
    r, g, b_ = (round(x + (y - x) * t) for x, y in zip(a, b, strict=True))
    return r, g, b_


def ramp(stops: Sequence[Colour], t: float) -> Colour:
    """Return the colour at t in [0, 1] on a polyline of colours."""
    x = min(max(t, 0.0), 1.0) * (len(stops) - 1)
    i = min(int(x), len(stops) - 2)
    return mix(stops[i], stops[i + 1], x - i)


def ellipse_points(
    cx: float, cy: float, rx: float, ry: float, angle: float = 0.0, n: int = 28
) -> NDArray[np.float64]:
    """Return n points (n, 2) of an ellipse that is rotated by `angle` in radians."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    x, y = rx * np.cos(t), ry * np.sin(t)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([cx + c * x - s * y, cy + s * x + c * y], 1)


class Frame:
    """Local coordinates (u, v), scaled by `scale` and rotated by `angle` about a pivot.

    Args:
        origin: Of the local coordinates, on the canvas.
        scale: Units of the canvas per local unit.
        angle: In radians.
        pivot: Local point that the rotation leaves where it is.
    """

    def __init__(
        self,
        origin: tuple[float, float],
        scale: float,
        angle: float = 0.0,
        pivot: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.scale = scale
        self._matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        self._origin = np.asarray(origin, dtype=np.float64)
        self._pivot = np.asarray(pivot, dtype=np.float64)

    def __call__(self, points: Points) -> NDArray[np.float64]:
        """Map local points (n, 2) to the canvas (n, 2)."""
        local = np.asarray(points, dtype=np.float64) - self._pivot
        turned: NDArray[np.float64] = local @ self._matrix.T + self._pivot
        return turned * self.scale + self._origin


class Canvas:
    """An image in progress; coordinates are in units, of which every image is 128 high."""

    def __init__(self, width: int, height: int, background: Colour = (255, 255, 255)) -> None:
        self.width, self.height = width, height
        k = SUBPIXELS
        self._image = Image.new("RGB", (width * k, height * k), background)
        self._draw = ImageDraw.Draw(self._image, "RGB")

    def _flat(self, points: Points) -> list[float]:
        flat: list[float] = (np.asarray(points) * SUBPIXELS).ravel().tolist()
        return flat

    def polygon(self, points: Points, fill: Colour) -> None:
        """Fill a polygon with corners (n, 2)."""
        self._draw.polygon(self._flat(points), fill=fill)

    def line(self, points: Points, fill: Colour, width: float) -> None:
        """Draw a polyline through points (n, 2)."""
        self._draw.line(
            self._flat(points), fill=fill, width=max(1, round(width * SUBPIXELS)), joint="curve"
        )

    def disc(self, x: float, y: float, r: float, fill: Colour) -> None:
        """Fill a circle of radius r."""
        k = SUBPIXELS
        self._draw.ellipse(((x - r) * k, (y - r) * k, (x + r) * k, (y + r) * k), fill=fill)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        """Fill a rectangle from (x0, y0) to (x1, y1), the latter exclusive."""
        k = SUBPIXELS
        self._draw.rectangle((x0 * k, y0 * k, x1 * k - 1, y1 * k - 1), fill=fill)

    def gradient(
        self, top: Colour, bottom: Colour, y0: float = 0.0, y1: float | None = None
    ) -> None:
        """Fill the rows y0 to y1 (default: the last) with a vertical gradient."""
        k = SUBPIXELS
        first, last = int(y0 * k), int((self.height if y1 is None else y1) * k)
        for y in range(first, last, 2):
            colour = mix(top, bottom, (y - first) / max(1, last - first - 1))
            self._draw.rectangle((0, y, self._image.width, y + 1), fill=colour)

    def image(self, pixels: int) -> Image.Image:
        """Return the finished RGB image with `pixels` (1, 2 or 4) per unit."""
        return self._image.reduce(SUBPIXELS // pixels)


def polygon_mask(width: int, height: int, outlines: Iterable[Points]) -> NDArray[np.uint8]:
    """Return a mask (height, width), 255 inside any of the outlines."""
    mask = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(mask)
    for outline in outlines:
        draw.polygon(np.asarray(outline).ravel().tolist(), fill=255)
    return np.asarray(mask)
