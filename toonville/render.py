"""The renderer: a spec -> an image and the ground truth about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toonville.canvas import Canvas, polygon_mask
from toonville.person import RenderedPerson, draw_person
from toonville.props import draw_arm
from toonville.scenes import draw_scene
from toonville.world import ImageSpec


@dataclass(frozen=True, eq=False)
class Rendering:
    """An image and the ground truth about it; the people are in the order of the spec."""

    image: Image.Image
    spec: ImageSpec
    people: tuple[RenderedPerson, ...]

    def face_mask(self) -> NDArray[np.uint8]:
        """Return a mask (height, width), 255 on faces."""
        return polygon_mask(*self.spec.size, (p.face_outline for p in self.people))


def render(spec: ImageSpec) -> Rendering:
    """Render an image; the same spec gives the same pixels."""
    rng = np.random.default_rng(spec.seed)
    width, height = spec.size
    canvas = Canvas(width, height)
    draw_scene(canvas, spec.scene, rng)
    if len(spec.people) == 1:
        spots = [(64 + rng.uniform(-5, 5), 56 + rng.uniform(-3, 4), rng.uniform(27, 31.5))]
    else:
        spots = [
            (x + rng.uniform(-4, 4), 54 + rng.uniform(-3, 5), rng.uniform(23.5, 26.5))
            for x in (50, 142)
        ]
    people = tuple(
        draw_person(canvas, person, (x, y), scale, rng.uniform(-0.14, 0.14))
        for person, (x, y, scale) in zip(spec.people, spots, strict=True)
    )
    if len(people) == 2:
        _draw_interaction(canvas, spec, spots)
    return Rendering(_apply_style(canvas.image(), spec.style), spec, people)


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
        canvas.rectangle(94, 90, 98, 112, (245, 240, 225))
        canvas.polygon([(96, 80), (99, 88), (96, 91), (93, 88)], (255, 190, 60))


PALETTE = [85 * round(value / 85) for value in range(256)] * 3  # four levels of each colour


def _apply_style(image: Image.Image, style: str) -> Image.Image:
    if style == "pixel art":
        small = image.reduce(4).point(PALETTE)
        return small.resize(image.size, Image.Resampling.NEAREST)
    if style == "pencil sketch":
        return _pencil_sketch(image)
    if style == "old photograph":
        grey = np.asarray(image.convert("L"), dtype=np.float32)[..., None]
        sepia = 40 + grey * np.array([0.84, 0.68, 0.46], dtype=np.float32)
        return Image.fromarray(np.clip(sepia, 0, 255).astype(np.uint8))
    return image


def _pencil_sketch(image: Image.Image) -> Image.Image:
    """Grey tones on paper with dark strokes where the image has edges."""
    grey = np.asarray(image.convert("L"), dtype=np.float32)
    padded = np.pad(grey, 1, mode="edge")
    dx = padded[1:-1, 2:] - padded[1:-1, :-2]
    dy = padded[2:, 1:-1] - padded[:-2, 1:-1]
    tone = 150 + 0.40 * grey - 0.8 * np.hypot(dx, dy)
    tone = np.clip(tone, 20, 250).astype(np.uint8)
    return Image.fromarray(np.repeat(tone[..., None], 3, 2))
