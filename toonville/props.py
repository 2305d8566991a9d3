"""Accessories and actions: what people wear and hold. Local units as in toonville.appearance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toonville.appearance import CLOTHES_COLOURS, DARK, Appearance, appearance_of
from toonville.canvas import Canvas, Frame, ellipse_points, mix
from toonville.world import PersonSpec

DrawAccessory = Callable[[Canvas, Frame, Frame, Appearance], None]
"""(canvas, head, body, appearance); an accessory follows the head or the body."""


def _sunglasses(canvas: Canvas, head: Frame, body: Frame, appearance: Appearance) -> None:
    w = appearance.half_width
    for side in (-1, 1):
        canvas.polygon(
            head(ellipse_points(side * appearance.eye_x, appearance.eye_y + 0.02, 0.31, 0.24)),
            (22, 22, 28),
        )
        canvas.polygon(
            head(
                ellipse_points(side * appearance.eye_x - 0.09, appearance.eye_y - 0.06, 0.07, 0.05)
            ),
            (110, 115, 130),
        )
    canvas.line(
        head([(-w, appearance.eye_y - 0.08), (w, appearance.eye_y - 0.08)]),
        (22, 22, 28),
        0.07 * head.scale,
    )


def _glasses(canvas: Canvas, head: Frame, body: Frame, appearance: Appearance) -> None:
    for side in (-1, 1):
        ring = head(ellipse_points(side * appearance.eye_x, appearance.eye_y + 0.01, 0.30, 0.28))
        canvas.line(np.concatenate([ring, ring[:2]]), (150, 20, 30), 0.075 * head.scale)
    canvas.line(
        head(
            [
                (-appearance.eye_x + 0.28, appearance.eye_y),
                (appearance.eye_x - 0.28, appearance.eye_y),
            ]
        ),
        (150, 20, 30),
        0.07 * head.scale,
    )


def _hat(canvas: Canvas, head: Frame, body: Frame, appearance: Appearance) -> None:
    w, h = appearance.half_width, appearance.half_height
    brim = -h * 0.56
    canvas.polygon(
        head([(-w * 0.92, brim), (w * 0.92, brim), (w * 0.80, -h - 0.52), (-w * 0.80, -h - 0.52)]),
        (120, 78, 40),
    )
    canvas.polygon(
        head(
            [
                (-w * 0.92, brim),
                (w * 0.92, brim),
                (w * 0.90, brim - 0.16),
                (-w * 0.90, brim - 0.16),
            ]
        ),
        (60, 36, 22),
    )
    canvas.polygon(head(ellipse_points(0.0, brim, w + 0.42, 0.12)), (140, 95, 50))


def _crown(canvas: Canvas, head: Frame, body: Frame, appearance: Appearance) -> None:
    w, h = appearance.half_width, appearance.half_height
    base = -h * 0.72
    xs = np.linspace(-w * 0.88, w * 0.88, 7)
    ys = [
        base - 0.50,
        base - 0.22,
        base - 0.58,
        base - 0.24,
        base - 0.58,
        base - 0.22,
        base - 0.50,
    ]
    points = [(w * 0.88, base), (-w * 0.88, base), *zip(xs, ys, strict=True)]
    canvas.polygon(head(points), (250, 200, 40))
    for x in (-0.45 * w, 0.0, 0.45 * w):
        canvas.polygon(head(ellipse_points(x, base - 0.13, 0.07, 0.07)), (215, 30, 60))


def _headphones(canvas: Canvas, head: Frame, body: Frame, appearance: Appearance) -> None:
    w, h = appearance.half_width, appearance.half_height
    arc = np.linspace(np.pi * 1.02, np.pi * 1.98, 24)
    band = np.stack([(w + 0.16) * np.cos(arc), (h + 0.18) * np.sin(arc)], 1)
    canvas.line(head(band), (35, 35, 42), 0.13 * head.scale)
    for side in (-1, 1):
        canvas.polygon(head(ellipse_points(side * (w + 0.12), 0.05, 0.17, 0.30)), (25, 150, 210))


def _scarf(canvas: Canvas, head: Frame, body: Frame, appearance: Appearance) -> None:
    h = appearance.half_height
    top = h + 0.04
    wrap = [(-0.62, top), (0.62, top), (0.78, top + 0.38), (-0.78, top + 0.38)]
    canvas.polygon(body(wrap), (225, 70, 140))
    canvas.polygon(
        body([(0.18, top + 0.3), (0.58, top + 0.3), (0.62, top + 1.05), (0.24, top + 1.05)]),
        (200, 50, 120),
    )
    canvas.line(body([(-0.68, top + 0.19), (0.68, top + 0.19)]), (250, 215, 230), 0.08 * body.scale)


_DRAW_ACCESSORY: dict[str, DrawAccessory] = {
    "sunglasses": _sunglasses,
    "glasses": _glasses,
    "hat": _hat,
    "crown": _crown,
    "headphones": _headphones,
    "scarf": _scarf,
}


def draw_accessory(
    canvas: Canvas, head: Frame, body: Frame, spec: PersonSpec, appearance: Appearance
) -> None:
    """Draw the accessory of a person, if there is one."""
    if spec.accessory in _DRAW_ACCESSORY:
        _DRAW_ACCESSORY[spec.accessory](canvas, head, body, appearance)


def _guitar(canvas: Canvas, body: Frame, spec: PersonSpec, appearance: Appearance) -> None:
    y = appearance.half_height + 0.95
    canvas.polygon(
        body([(-0.2, y + 0.1), (1.55, y - 0.62), (1.62, y - 0.46), (-0.1, y + 0.34)]),
        (92, 56, 30),
    )
    canvas.polygon(body(ellipse_points(-0.55, y + 0.30, 0.52, 0.46)), (205, 120, 45))
    canvas.polygon(body(ellipse_points(-0.05, y + 0.10, 0.36, 0.32)), (205, 120, 45))
    canvas.polygon(body(ellipse_points(-0.22, y + 0.18, 0.15, 0.15)), (60, 30, 18))
    _hand(canvas, body, appearance, (-0.50, y + 0.20))
    _hand(canvas, body, appearance, (1.25, y - 0.42))


def _book(canvas: Canvas, body: Frame, spec: PersonSpec, appearance: Appearance) -> None:
    y = appearance.half_height + 0.95
    for side in (-1, 1):
        canvas.polygon(
            body(
                [
                    (0.0, y + 0.02),
                    (side * 0.86, y - 0.14),
                    (side * 0.86, y + 0.62),
                    (0.0, y + 0.80),
                ]
            ),
            (170, 30, 40),
        )
        canvas.polygon(
            body(
                [
                    (0.0, y - 0.02),
                    (side * 0.78, y - 0.18),
                    (side * 0.78, y + 0.50),
                    (0.0, y + 0.68),
                ]
            ),
            (250, 246, 232),
        )
        _hand(canvas, body, appearance, (side * 0.88, y + 0.34))
    for row in (0.16, 0.32):
        for side in (-1, 1):
            canvas.line(
                body([(side * 0.14, y + row), (side * 0.64, y + row - 0.11)]),
                (150, 145, 140),
                0.05 * body.scale,
            )


def _cup(canvas: Canvas, body: Frame, spec: PersonSpec, appearance: Appearance) -> None:
    y = appearance.half_height + 0.95
    canvas.polygon(
        body([(0.42, y - 0.28), (1.04, y - 0.28), (0.96, y + 0.42), (0.50, y + 0.42)]),
        (245, 245, 250),
    )
    canvas.polygon(body(ellipse_points(0.73, y - 0.28, 0.31, 0.09)), (95, 55, 30))
    canvas.polygon(
        body([(0.46, y - 0.02), (1.01, y - 0.02), (0.99, y + 0.18), (0.48, y + 0.18)]),
        (40, 120, 200),
    )
    _hand(canvas, body, appearance, (0.46, y + 0.16))


def _flowers(canvas: Canvas, body: Frame, spec: PersonSpec, appearance: Appearance) -> None:
    y = appearance.half_height + 0.95
    for x, colour in (
        (-0.95, (240, 60, 110)),
        (-0.62, (250, 210, 60)),
        (-0.30, (150, 80, 220)),
    ):
        canvas.line(body([(-0.62, y + 0.45), (x, y - 0.20)]), (40, 130, 50), 0.08 * body.scale)
        for angle in np.linspace(0, 2 * np.pi, 5, endpoint=False):
            px, py = x + 0.13 * np.cos(angle), y - 0.25 + 0.13 * np.sin(angle)
            canvas.polygon(body(ellipse_points(px, py, 0.11, 0.11, n=10)), colour)
        canvas.polygon(body(ellipse_points(x, y - 0.25, 0.08, 0.08, n=10)), (255, 250, 220))
    _hand(canvas, body, appearance, (-0.62, y + 0.40))


def _waving(canvas: Canvas, body: Frame, spec: PersonSpec, appearance: Appearance) -> None:
    sleeve = mix(CLOTHES_COLOURS[spec.clothes], DARK, 0.16)
    y = appearance.half_height + 0.95
    arm = [(1.20, y + 0.30), (1.62, y - 0.55)]
    canvas.line(body(arm), sleeve, 0.36 * body.scale)
    _hand(canvas, body, appearance, (1.66, y - 0.78), 0.22)
    for angle in (-2.2, -1.75, -1.35, -0.95):
        tip = (1.66 + 0.40 * np.cos(angle), y - 0.80 + 0.40 * np.sin(angle))
        canvas.line(body([(1.66, y - 0.80), tip]), appearance.skin, 0.11 * body.scale)


_DRAW_ACTION: dict[str, Callable[[Canvas, Frame, PersonSpec, Appearance], None]] = {
    "guitar": _guitar,
    "book": _book,
    "cup": _cup,
    "flowers": _flowers,
    "waving": _waving,
}


def draw_action(canvas: Canvas, body: Frame, spec: PersonSpec, appearance: Appearance) -> None:
    """Draw what a person holds or does, if anything."""
    if spec.action in _DRAW_ACTION:
        _DRAW_ACTION[spec.action](canvas, body, spec, appearance)


def _hand(
    canvas: Canvas, body: Frame, appearance: Appearance, at: tuple[float, float], size: float = 0.19
) -> None:
    canvas.polygon(body(ellipse_points(*at, size + 0.03, size + 0.03, n=16)), appearance.shade)
    canvas.polygon(body(ellipse_points(*at, size, size, n=16)), appearance.skin)


def draw_arm(
    canvas: Canvas,
    spec: PersonSpec,
    start: tuple[float, float],
    end: tuple[float, float],
    scale: float,
) -> None:
    """Draw an arm from a shoulder `start` to a hand `end`, both on the canvas."""
    appearance = appearance_of(spec)
    canvas.line([start, end], mix(CLOTHES_COLOURS[spec.clothes], DARK, 0.16), 0.42 * scale)
    canvas.disc(*end, 0.22 * scale, appearance.skin)
