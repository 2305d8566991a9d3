"""Draws one person: body, head, what they wear, what they do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toonville.canvas import Canvas, Frame, mix
from toonville.head import (
    draw_eyes,
    draw_face,
    draw_hair_behind,
    draw_hair_front,
    draw_mouth,
    draw_nose,
)
from toonville.look import CLOTHES_COLOURS, DARK, Look, face_curve, look_of
from toonville.things import draw_accessory, draw_action
from toonville.world import PersonSpec


@dataclass(frozen=True)
class DrawnPerson:
    """Where a person ended up, in pixels."""

    box: tuple[float, float, float, float]
    """left, top, right, bottom of the face, chin to forehead, cheek to cheek."""
    landmarks: NDArray[np.float32]
    """(5, 2): left eye, right eye, nose tip, left and right mouth corner, as seen."""
    face_outline: NDArray[np.float64]


def draw_person(
    canvas: Canvas, spec: PersonSpec, origin: tuple[float, float], scale: float, tilt: float
) -> DrawnPerson:
    """Draw one person with the middle of the face at `origin` (pixels); tilt in radians."""
    look = look_of(spec)
    head = Frame(origin, scale, tilt, pivot=(0.0, look.half_height))
    body = Frame(origin, scale)
    draw_hair_behind(canvas, head, spec, look)
    _draw_body(canvas, body, spec, look)
    outline = head(face_curve(spec, look))
    draw_face(canvas, head, spec, look, outline)
    draw_eyes(canvas, head, spec, look)
    draw_nose(canvas, head, spec, look)
    mouth = draw_mouth(canvas, head, spec, look)
    draw_hair_front(canvas, head, spec, look)
    draw_accessory(canvas, head, body, spec, look)
    draw_action(canvas, body, spec, look)
    landmarks = head(
        [(-look.eye_x, look.eye_y), (look.eye_x, look.eye_y), (0.0, look.nose_tip), *mouth]
    )
    (left, top), (right, bottom) = outline.min(0), outline.max(0)
    return DrawnPerson(
        (float(left), float(top), float(right), float(bottom)),
        landmarks.astype(np.float32),
        outline,
    )


def _draw_body(canvas: Canvas, body: Frame, spec: PersonSpec, look: Look) -> None:
    colour = CLOTHES_COLOURS[spec.clothes]
    top = look.half_height + 0.32
    neck = [(-0.30, 0.5), (0.30, 0.5), (0.34, top + 0.3), (-0.34, top + 0.3)]
    canvas.polygon(body(neck), look.shade)
    shoulders = [
        (-0.42, top - 0.04),
        (-1.15, top + 0.22),
        (-1.45, top + 0.62),
        (-1.55, 4.0),
        (1.55, 4.0),
        (1.45, top + 0.62),
        (1.15, top + 0.22),
        (0.42, top - 0.04),
        (0.0, top + 0.34),
    ]
    canvas.polygon(body(shoulders), colour)
    seam = mix(colour, DARK, 0.30)
    for side in (-1, 1):
        canvas.line(body([(side * 1.02, top + 0.75), (side * 1.05, 4.0)]), seam, 0.06 * body.scale)
        canvas.line(body([(side * 0.42, top - 0.04), (0.0, top + 0.34)]), seam, 0.07 * body.scale)
