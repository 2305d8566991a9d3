"""The renderer: a spec -> an image and the ground truth about it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toonville.canvas import Canvas, polygon_mask
from toonville.person import RenderedPerson, draw_person
from toonville.props import draw_arm
from toonville.scenes import draw_scene
from toonville.styles import apply_style
from toonville.world import PIXELS, ImageSpec


@dataclass(frozen=True, eq=False)
class Rendering:
    """An image and the ground truth about it; the people are in the order of the spec."""

    image: Image.Image
    spec: ImageSpec
    people: tuple[RenderedPerson, ...]

    def face_mask(self) -> NDArray[np.uint8]:
        """Return a mask (height, width), 255 on faces."""
        return polygon_mask(*self.image.size, (p.face_outline for p in self.people))


@dataclass(frozen=True)
class Places:
    """Where the faces of an image are, in units."""

    across: tuple[float, ...]  # x of each face
    shift: float  # that x may differ by
    scale: tuple[float, float]  # least and most: half the height of an average face
    down: float = 54.0  # y of all faces


PLACES = {
    1: Places((64.0,), 5.0, (27.0, 31.5), down=56.0),
    2: Places((50.0, 142.0), 4.0, (23.5, 26.5)),
    3: Places((52.0, 144.0, 236.0), 4.0, (23.5, 26.5)),
}
"""By number of people."""


def render(spec: ImageSpec, pixels: int = PIXELS) -> Rendering:
    """Render an image; the same spec gives the same pixels.

    Args:
        spec: Of the image.
        pixels: 1, 2 or 4 per unit: an image is 128 units high.
    """
    rng = np.random.default_rng(spec.seed)
    width, height = spec.size
    canvas = Canvas(width // PIXELS, height // PIXELS)
    draw_scene(canvas, spec.scene, rng)
    places = PLACES[len(spec.people)]
    spots = [
        (
            x + rng.uniform(-places.shift, places.shift),
            places.down + rng.uniform(-3, 4.5),
            rng.uniform(*places.scale),
        )
        for x in places.across
    ]
    people = tuple(
        draw_person(canvas, person, (x, y), scale, rng.uniform(-0.14, 0.14))
        for person, (x, y, scale) in zip(spec.people, spots, strict=True)
    )
    if len(people) > 1:
        _draw_interaction(canvas, spec, spots)
    image = apply_style(canvas.image(pixels), spec.style, pixels)
    return Rendering(image, spec, tuple(person.scaled(pixels) for person in people))


def _draw_interaction(
    canvas: Canvas, spec: ImageSpec, spots: list[tuple[float, float, float]]
) -> None:
    if spec.interaction == "handshake":
        for person, (x, y, scale), side in zip(spec.people, spots, (1, -1), strict=True):
            meet = (96.0 - 3 * side, 112.0)
            draw_arm(canvas, person, (x + side * scale * 1.15, y + 1.9 * scale), meet, scale)
    elif spec.interaction == "dinner":
        canvas.rectangle(0, 110, canvas.width, canvas.height, (150, 60, 50))
        canvas.rectangle(0, 108, canvas.width, 112, (185, 90, 72))
        for x, _, _ in spots:
            canvas.polygon(
                [(x - 19, 118), (x + 19, 118), (x + 13, 125), (x - 13, 125)], (245, 245, 240)
            )
            canvas.disc(x - 5, 116, 5, (230, 170, 60))
            canvas.disc(x + 5, 115, 5, (110, 160, 70))
        for left, right in pairwise(spots):
            x = round((left[0] + right[0]) / 2)
            canvas.rectangle(x - 2, 90, x + 2, 112, (245, 240, 225))
            canvas.polygon([(x, 80), (x + 3, 88), (x, 91), (x - 3, 88)], (255, 190, 60))
