"""One person on a canvas: body, head, accessory, action."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toonville.appearance import CLOTHES_COLOURS, DARK, Appearance, appearance_of, face_curve
from toonville.canvas import Canvas, Frame, mix
from toonville.head import (
    draw_eyes,
    draw_face,
    draw_hair_behind,
    draw_hair_front,
    draw_mouth,
    draw_nose,
)
from toonville.props import draw_accessory, draw_action
from toonville.world import PersonSpec


@dataclass(frozen=True)
class RenderedPerson:
    """The ground truth about one person in an image, in units of the canvas or in pixels."""

    box: tuple[float, float, float, float]
    """left, top, right, bottom of the face: cheek to cheek, forehead to chin."""
    landmarks: NDArray[np.float32]
    """(5, 2): left eye, right eye, nose tip, left and right mouth corner, as in the image."""
    face_outline: NDArray[np.float64]
    """(44, 2)."""

    def scaled(self, by: float) -> RenderedPerson:
        """Return the same in an image of `by` pixels per unit."""
        left, top, right, bottom = (by * side for side in self.box)
        box = (left, top, right, bottom)
        return RenderedPerson(box, np.float32(by) * self.landmarks, by * self.face_outline)


def draw_person(
    canvas: Canvas, spec: PersonSpec, origin: tuple[float, float], scale: float, tilt: float
) -> RenderedPerson:
    """Draw one person; the truth is in units of the canvas.

    Args:
        canvas: To draw on.
        spec: Of the person.
        origin: Centre of the face, in units of the canvas.
        scale: Units of the canvas per local unit (half the height of an average face).
        tilt: Rotation of the head in radians.
    """
    appearance = appearance_of(spec)
    head = Frame(origin, scale, tilt, pivot=(0.0, appearance.half_height))
    body = Frame(origin, scale)
    draw_hair_behind(canvas, head, spec, appearance)
    _draw_body(canvas, body, spec, appearance)
    outline = head(face_curve(spec, appearance))
    draw_face(canvas, head, spec, appearance, outline)
    draw_eyes(canvas, head, spec, appearance)
    draw_nose(canvas, head, spec, appearance)
    mouth = draw_mouth(canvas, head, spec, appearance)
    draw_hair_front(canvas, head, spec, appearance)
    draw_accessory(canvas, head, body, spec, appearance)
    draw_action(canvas, body, spec, appearance)
    landmarks = head(
        [
            (-appearance.eye_x, appearance.eye_y),
            (appearance.eye_x, appearance.eye_y),
            (0.0, appearance.nose_tip),
            *mouth,
        ]
    )
    (left, top), (right, bottom) = outline.min(0), outline.max(0)
    return RenderedPerson(
        (float(left), float(top), float(right), float(bottom)),
        landmarks.astype(np.float32),
        outline,
    )


def _draw_body(canvas: Canvas, body: Frame, spec: PersonSpec, appearance: Appearance) -> None:
    colour = CLOTHES_COLOURS[spec.clothes]
    top = appearance.half_height + 0.32
    neck = [(-0.30, 0.5), (0.30, 0.5), (0.34, top + 0.3), (-0.34, top + 0.3)]
    canvas.polygon(body(neck), mix(appearance.shade, DARK, 0.12))
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
