"""Backgrounds. A scene is always the same but for small random shifts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toonville.canvas import Canvas, Colour, ellipse_points

PLAIN_COLOURS: tuple[Colour, ...] = (
    (214, 222, 230),
    (230, 222, 208),
    (206, 226, 214),
    (228, 212, 222),
    (196, 204, 214),
)


def _plain(canvas: Canvas, rng: np.random.Generator) -> None:
    colour = PLAIN_COLOURS[rng.integers(len(PLAIN_COLOURS))]
    canvas.rectangle(0, 0, canvas.width, canvas.height, colour)


def _beach(canvas: Canvas, rng: np.random.Generator) -> None:
    w, h = canvas.width, canvas.height
    canvas.gradient((120, 200, 250), (200, 235, 255), 0, 62)
    sun = rng.uniform(0.82, 0.92) * w
    canvas.disc(sun, 20, 11, (255, 235, 120))
    canvas.rectangle(0, 60, w, 88, (30, 130, 190))
    canvas.rectangle(0, 68, w, 71, (90, 180, 220))
    canvas.rectangle(0, 86, w, h, (238, 214, 150))
    trunk = rng.uniform(0.08, 0.14) * w
    canvas.line([(trunk, 100), (trunk + 4, 60), (trunk + 2, 34)], (130, 90, 50), 5)
    for angle in (-2.9, -2.2, -0.9, -0.2, 0.5, 2.6):
        tip = (trunk + 2 + 22 * np.cos(angle), 36 + 15 * np.sin(angle))
        canvas.line([(trunk + 2, 34), tip], (40, 140, 60), 5)


def _city(canvas: Canvas, rng: np.random.Generator) -> None:
    w, h = canvas.width, canvas.height
    canvas.gradient((250, 190, 140), (255, 225, 190), 0, h)
    x, i = -rng.uniform(0, 10), 0
    while x < w:
        wide = 22
        top = (34, 12, 46, 22, 58)[i % 5] + rng.uniform(-4, 4)
        shade = ((92, 100, 130), (118, 124, 150), (76, 84, 112))[i % 3]
        canvas.rectangle(x, top, x + wide, h, shade)
        for wy in np.arange(top + 6, h, 12):
            for wx in (x + 4, x + 13):
                canvas.rectangle(wx, wy, wx + 5, wy + 6, (250, 225, 130))
        x, i = x + wide, i + 1


def _forest(canvas: Canvas, rng: np.random.Generator) -> None:
    w, h = canvas.width, canvas.height
    canvas.gradient((190, 225, 190), (120, 175, 110), 0, h)
    canvas.rectangle(0, 92, w, h, (70, 120, 55))
    for i, left in enumerate(range(6, w + 20, 30)):
        x = left + rng.uniform(-4, 4)
        base = 96 + 4 * (i % 2)
        canvas.rectangle(x - 3, base - 14, x + 3, base, (100, 65, 40))
        green = ((30, 100, 50), (45, 120, 60))[i % 2]
        for level in range(3):
            top = base - 80 + 22 * level
            half = 10 + 4 * level
            canvas.polygon([(x, top), (x + half, top + 30), (x - half, top + 30)], green)


def _space(canvas: Canvas, rng: np.random.Generator) -> None:
    w, h = canvas.width, canvas.height
    canvas.gradient((12, 10, 40), (40, 24, 78), 0, h)
    for _ in range(w // 4):
        canvas.disc(rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.6, 1.3), (245, 245, 255))
    px, py = rng.uniform(0.84, 0.92) * w, rng.uniform(20, 26)
    canvas.disc(px, py, 13, (225, 140, 90))
    canvas.polygon(ellipse_points(px, py, 20, 4, -0.4), (245, 215, 160))
    canvas.disc(rng.uniform(0.05, 0.14) * w, rng.uniform(30, 44), 7, (120, 190, 220))


def _mountains(canvas: Canvas, rng: np.random.Generator) -> None:
    w, h = canvas.width, canvas.height
    canvas.gradient((135, 185, 235), (220, 238, 250), 0, h)
    for i, left in enumerate(range(10, w + 40, 44)):
        x = left + rng.uniform(-5, 5)
        top = (26, 12)[i % 2] + rng.uniform(-3, 3)
        canvas.polygon(
            [(x - 44, 100), (x, top), (x + 44, 100)], ((110, 120, 145), (90, 100, 128))[i % 2]
        )
        canvas.polygon(
            [
                (x - 13, top + 26),
                (x, top),
                (x + 13, top + 26),
                (x + 4, top + 20),
                (x - 4, top + 26),
            ],
            (250, 252, 255),
        )
    canvas.rectangle(0, 98, w, h, (240, 246, 252))


def _desert(canvas: Canvas, rng: np.random.Generator) -> None:
    w, h = canvas.width, canvas.height
    canvas.gradient((255, 170, 90), (255, 225, 160), 0, 80)
    canvas.disc(rng.uniform(0.10, 0.16) * w, 22, 12, (255, 245, 190))
    canvas.rectangle(0, 74, w, h, (225, 165, 85))
    for i, x in enumerate(range(0, w + 40, 60)):
        canvas.polygon(
            ellipse_points(x + rng.uniform(-6, 6), 80 + 6 * (i % 2), 42, 14),
            ((235, 180, 100), (212, 150, 75))[i % 2],
        )
    cx = rng.uniform(0.86, 0.92) * w
    canvas.line([(cx, 100), (cx, 42)], (50, 125, 60), 8)
    canvas.line([(cx - 10, 56), (cx - 10, 68), (cx, 70)], (50, 125, 60), 5)
    canvas.line([(cx + 9, 50), (cx + 9, 62), (cx, 64)], (50, 125, 60), 5)


def _library(canvas: Canvas, rng: np.random.Generator) -> None:
    w, h = canvas.width, canvas.height
    canvas.rectangle(0, 0, w, h, (88, 54, 32))
    colours: tuple[Colour, ...] = (
        (180, 50, 50),
        (50, 100, 150),
        (215, 175, 80),
        (60, 125, 80),
        (130, 75, 140),
    )
    shift = int(rng.integers(len(colours)))
    for row, y in enumerate((4, 36, 68, 100)):
        for i, x in enumerate(range(3, w - 4, 8)):
            tall = (24, 20, 26)[(i + row) % 3]
            canvas.rectangle(x, y + 27 - tall, x + 7, y + 27, colours[(i + 2 * row + shift) % 5])
        canvas.rectangle(0, y + 27, w, y + 31, (135, 90, 55))


def _stage(canvas: Canvas, rng: np.random.Generator) -> None:
    w, h = canvas.width, canvas.height
    canvas.rectangle(0, 0, w, h, (62, 12, 24))
    for x in range(0, w, 16):
        canvas.rectangle(x, 0, x + 8, h, (140, 22, 42))
    lean = rng.uniform(-6, 6)
    canvas.polygon(
        [(w / 2 + lean - 10, 0), (w / 2 + lean + 10, 0), (w / 2 + 62, h), (w / 2 - 62, h)],
        (235, 200, 130),
    )
    canvas.rectangle(0, 0, w, 9, (215, 165, 60))


_DRAW_SCENE: dict[str, Callable[[Canvas, np.random.Generator], None]] = {
    "plain": _plain,
    "beach": _beach,
    "city": _city,
    "forest": _forest,
    "space": _space,
    "mountains": _mountains,
    "desert": _desert,
    "library": _library,
    "stage": _stage,
}


def draw_scene(canvas: Canvas, scene: str, rng: np.random.Generator) -> None:
    """Fill a canvas with one of world.SCENES; `rng` gives the shifts."""
    _DRAW_SCENE[scene](canvas, rng)
