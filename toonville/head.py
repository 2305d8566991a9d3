"""The parts of a head: hair, face, eyes, nose, mouth. Local units as in toonville.appearance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toonville.appearance import DARK, EXPRESSION_SHAPES, EYE_WHITE, Appearance, face_curve
from toonville.canvas import Canvas, Frame, ellipse_points, mix
from toonville.identity import trait
from toonville.world import PersonSpec

MOUTH = (90, 20, 30)


def draw_hair_behind(canvas: Canvas, head: Frame, spec: PersonSpec, appearance: Appearance) -> None:
    """Draw the hair that the face and the body cover."""
    length = trait(spec.traits, "hair_length")
    curl = (trait(spec.traits, "hair_curl") + 1) / 2
    grow = 0.10 + 0.20 * curl
    angles = np.linspace(np.pi, 2 * np.pi, 40)
    scallop = 1 + 0.075 * curl * np.abs(np.sin(angles * 6))
    x = (appearance.half_width + grow) * np.cos(angles) * scallop
    y = (appearance.half_height + grow) * np.sin(angles) * scallop
    bottom = -0.15 + 0.95 * (length + 1)
    side = (appearance.half_width + grow * 0.8) * (0.92 if length < -0.4 else 1.0)
    tail = [
        (side, bottom * 0.5),
        (side * 0.98, bottom),
        (-side * 0.98, bottom),
        (-side, bottom * 0.5),
    ]
    canvas.polygon(
        head(np.concatenate([np.stack([x, y], 1), tail])), mix(appearance.hair, DARK, 0.18)
    )


def draw_face(
    canvas: Canvas,
    head: Frame,
    spec: PersonSpec,
    appearance: Appearance,
    outline: NDArray[np.float64],
) -> None:
    """Draw ears, skin, beard, freckles, age lines; `outline` (n, 2) is the face on the canvas."""
    ear = 0.15 + 0.10 * trait(spec.traits, "ears")
    for side in (-1, 1):
        x = side * (appearance.half_width + 0.25 * ear)
        canvas.polygon(head(ellipse_points(x, 0.05, 0.75 * ear, 1.15 * ear)), appearance.skin)
        canvas.polygon(head(ellipse_points(x, 0.05, 0.38 * ear, 0.65 * ear)), appearance.shade)
    canvas.polygon(outline, appearance.skin)
    _draw_beard(canvas, head, spec, appearance)
    _draw_freckles(canvas, head, spec, appearance)
    _draw_age_lines(canvas, head, spec, appearance)


def _draw_beard(canvas: Canvas, head: Frame, spec: PersonSpec, appearance: Appearance) -> None:
    amount = trait(spec.traits, "facial_hair")
    if amount <= 0:
        return
    colour = mix(
        appearance.skin, mix(appearance.hair, DARK, 0.15), 0.45 + 0.55 * min(1.0, amount * 2)
    )
    outer = face_curve(spec, appearance, 0.02 + 0.06 * amount, n=60)
    lower = outer[outer[:, 1] > 0.45 - 0.35 * amount]
    lower = lower[np.argsort(-lower[:, 0])]
    inner_top = appearance.mouth_y - 0.13 - 0.12 * amount
    edge = appearance.half_width * (0.80 - 0.30 * amount)
    rim = [
        (-edge, appearance.mouth_y - 0.02),
        (-0.25, inner_top),
        (0.25, inner_top),
        (edge, appearance.mouth_y - 0.02),
    ]
    canvas.polygon(head(np.concatenate([lower, rim])), colour)


def _draw_freckles(canvas: Canvas, head: Frame, spec: PersonSpec, appearance: Appearance) -> None:
    amount = trait(spec.traits, "freckles")
    if amount <= 0:
        return
    colour = mix(appearance.skin, (140, 60, 30), 0.30 + 0.40 * amount)
    spots = ((0.30, 0.22), (0.44, 0.28), (0.37, 0.36), (0.54, 0.20), (0.52, 0.36), (0.24, 0.31))
    for x, y in spots[: 2 + round(4 * amount)]:
        for side in (-1, 1):
            px, py = head([(side * x * appearance.half_width / 0.8, y)])[0]
            canvas.disc(px, py, (0.035 + 0.02 * amount) * head.scale, colour)


def _draw_age_lines(canvas: Canvas, head: Frame, spec: PersonSpec, appearance: Appearance) -> None:
    amount = trait(spec.traits, "age_lines")
    if amount <= 0:
        return
    colour = mix(appearance.skin, appearance.shade, 0.35 + 0.65 * amount)
    width = (0.035 + 0.03 * amount) * head.scale
    for side in (-1, 1):
        fold = [
            (side * 0.24, appearance.nose_tip),
            (side * 0.38, appearance.nose_tip + 0.16),
            (side * 0.42, appearance.mouth_y),
        ]
        canvas.line(head(fold), colour, width)
        bag = [
            (side * (appearance.eye_x - 0.15), 0.15),
            (side * appearance.eye_x, 0.20),
            (side * (appearance.eye_x + 0.15), 0.15),
        ]
        canvas.line(head(bag), colour, width)
    for y in (-0.55, -0.66)[: 1 + (amount > 0.5)]:
        canvas.line(head([(-0.34, y), (0.0, y - 0.03), (0.34, y)]), colour, width)


def draw_eyes(canvas: Canvas, head: Frame, spec: PersonSpec, appearance: Appearance) -> None:
    """Draw eyes and brows."""
    size = 0.19 + 0.055 * trait(spec.traits, "eye_size")
    slant = -0.30 * trait(spec.traits, "eye_slant")
    shape = EXPRESSION_SHAPES[spec.expression]
    for side in (-1, 1):
        x, y = side * appearance.eye_x, appearance.eye_y
        if spec.expression == "winking" and side == 1:
            lid = [(x - size * 1.1, y), (x - size * 0.5, y + 0.07), (x, y + 0.09)]
            lid += [(x + size * 0.5, y + 0.07), (x + size * 1.1, y)]
            canvas.line(head(lid), DARK, 0.085 * head.scale)
        else:
            height = size * 0.74 * shape.eye_opening
            canvas.polygon(
                head(ellipse_points(x, y, size * 1.10, height + 0.035, side * slant)), DARK
            )
            canvas.polygon(
                head(ellipse_points(x, y + 0.012, size, height, side * slant)), EYE_WHITE
            )
            iris = min(0.66 * size, height)
            canvas.polygon(head(ellipse_points(x, y, iris, iris)), appearance.iris)
            canvas.polygon(head(ellipse_points(x, y, 0.5 * iris, 0.5 * iris)), (15, 12, 14))
            glint = ellipse_points(x + 0.3 * iris, y - 0.35 * iris, 0.2 * iris, 0.2 * iris, n=12)
            canvas.polygon(head(glint), EYE_WHITE)
        _draw_brow(canvas, head, spec, appearance, side, size)


def _draw_brow(
    canvas: Canvas,
    head: Frame,
    spec: PersonSpec,
    appearance: Appearance,
    side: int,
    eye_size: float,
) -> None:
    shape = EXPRESSION_SHAPES[spec.expression]
    thickness = 0.08 + 0.045 * trait(spec.traits, "brow_thickness")
    rise = 0.11 * trait(spec.traits, "brow_angle") + 0.28 * shape.brow_turn
    y = appearance.eye_y - eye_size * 0.74 - 0.15 - shape.brow_lift
    inner, outer = side * (appearance.eye_x - 0.21), side * (appearance.eye_x + 0.23)
    middle = side * (appearance.eye_x + 0.03)
    curve = [(inner, y + rise * 0.6 + 0.02), (middle, y - 0.05), (outer, y - rise * 0.6 + 0.03)]
    colour = mix(appearance.hair, DARK, 0.45)
    canvas.line(head(curve), colour, thickness * head.scale)


def draw_nose(canvas: Canvas, head: Frame, spec: PersonSpec, appearance: Appearance) -> None:
    """Draw the nose."""
    width = 0.135 + 0.06 * trait(spec.traits, "nose_width")
    tip = appearance.nose_tip
    bridge = [(-0.035, 0.0), (0.035, 0.0), (width * 0.75, tip - 0.04), (-width * 0.75, tip - 0.04)]
    canvas.polygon(head(bridge), mix(appearance.skin, appearance.shade, 0.45))
    canvas.polygon(head(ellipse_points(0.0, tip, width, 0.085)), appearance.shade)
    canvas.polygon(
        head(ellipse_points(0.0, tip - 0.035, width * 0.9, 0.06)),
        mix(appearance.skin, appearance.shade, 0.45),
    )


def draw_mouth(
    canvas: Canvas, head: Frame, spec: PersonSpec, appearance: Appearance
) -> list[tuple[float, float]]:
    """Draw the mouth and return its left and right corner in local units."""
    shape = EXPRESSION_SHAPES[spec.expression]
    half = (0.27 + 0.09 * trait(spec.traits, "mouth_width")) * shape.mouth_width
    full = 0.055 + 0.040 * trait(spec.traits, "lips")
    t = np.linspace(-1, 1, 21)
    x, belly = half * t, np.sqrt(np.clip(1 - t**2, 0, 1))
    middle = appearance.mouth_y + shape.smile * (0.13 * (1 - t**2) - 0.065)
    gap = shape.opening
    upper = np.stack([x, middle - (full + 0.05 * gap) * belly], 1)
    lower = np.stack([x, middle + (1.35 * full + 0.24 * gap) * belly], 1)
    canvas.polygon(head(np.concatenate([upper, lower[::-1]])), appearance.lip)
    if gap > 0:
        top = np.stack([x * 0.88, middle - 0.05 * gap * belly], 1)
        bottom = np.stack([x * 0.88, middle + 0.22 * gap * belly], 1)
        canvas.polygon(head(np.concatenate([top, bottom[::-1]])), MOUTH)
        if shape.teeth:
            edge = top + 0.62 * (bottom - top)
            canvas.polygon(head(np.concatenate([top, edge[::-1]])), EYE_WHITE)
    else:
        line = np.stack([x, middle], 1)
        canvas.line(head(line), mix(appearance.lip, DARK, 0.55), 0.05 * head.scale)
    return [(-half, float(middle[0])), (half, float(middle[-1]))]


def draw_hair_front(canvas: Canvas, head: Frame, spec: PersonSpec, appearance: Appearance) -> None:
    """Draw the hair in front of the face."""
    low = (trait(spec.traits, "hair_line") + 1) / 2
    curl = (trait(spec.traits, "hair_curl") + 1) / 2
    grow = 0.05 + 0.13 * curl
    angles = np.linspace(np.pi, 2 * np.pi, 34)
    scallop = 1 + 0.07 * curl * np.abs(np.sin(angles * 6))
    x = (appearance.half_width + grow) * np.cos(angles) * scallop
    y = (appearance.half_height + grow) * np.sin(angles) * scallop
    top = np.stack([x, y - 0.05], 1)
    line = -appearance.half_height * (0.84 - 0.44 * low)
    w = appearance.half_width
    fringe = [
        (w * 0.97, -0.12),
        (w * 0.86, line + 0.16),
        (w * 0.35, line),
        (-w * 0.30, line - 0.06),
        (-w * 0.86, line + 0.20),
        (-w * 0.97, -0.12),
    ]
    canvas.polygon(head(np.concatenate([top, fringe])), appearance.hair)
    if trait(spec.traits, "hair_length") > -0.2:
        drop = 0.35 + 0.75 * (trait(spec.traits, "hair_length") + 0.2)
        for side in (-1, 1):
            lock = [
                (side * (w + grow), -0.2),
                (side * w * 0.90, -0.25),
                (side * w * 0.97, drop),
                (side * (w + grow + 0.02), drop - 0.05),
            ]
            canvas.polygon(head(lock), appearance.hair)
