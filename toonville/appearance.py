"""Traits -> the sizes and colours that a person is drawn with.

Local units: one is half the height of an average face; (0, 0) is the centre of the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toonville.canvas import Colour, mix, ramp
from toonville.identity import trait
from toonville.world import PersonSpec

CLOTHES_COLOURS: dict[str, Colour] = {
    "red": (205, 45, 50),
    "blue": (45, 85, 200),
    "green": (45, 150, 70),
    "yellow": (240, 205, 50),
    "purple": (130, 60, 165),
    "orange": (240, 130, 35),
    "white": (240, 240, 238),
    "black": (45, 45, 52),
}
DARK: Colour = (40, 30, 34)
EYE_WHITE: Colour = (250, 250, 248)


@dataclass(frozen=True)
class ExpressionShape:
    """How an expression changes brows, eyes and mouth; zeros and ones are the neutral face."""

    smile: float = 0.0  # curve of the mouth; below zero its corners hang
    opening: float = 0.0  # of the mouth
    brow_turn: float = 0.0  # inner ends down
    brow_lift: float = 0.0  # local units
    eye_opening: float = 1.0
    mouth_width: float = 1.0
    teeth: bool = False


EXPRESSION_SHAPES = {
    "neutral": ExpressionShape(),
    "smiling": ExpressionShape(
        smile=1.25, opening=0.55, brow_lift=0.03, mouth_width=1.2, teeth=True
    ),
    "sad": ExpressionShape(smile=-1.35, brow_turn=-0.75, brow_lift=0.05, eye_opening=0.82),
    "angry": ExpressionShape(
        smile=-0.75, opening=0.3, brow_turn=0.95, brow_lift=-0.08, eye_opening=0.72, teeth=True
    ),
    "surprised": ExpressionShape(opening=1.25, brow_lift=0.17, eye_opening=1.3, mouth_width=0.62),
    "winking": ExpressionShape(smile=0.9, brow_lift=0.02),
}


@dataclass(frozen=True)
class Appearance:
    """The sizes (local units) and colours of one person."""

    skin: Colour
    shade: Colour
    hair: Colour
    iris: Colour
    lip: Colour
    half_width: float
    half_height: float
    eye_x: float
    eye_y: float
    mouth_y: float
    nose_tip: float


def appearance_of(spec: PersonSpec) -> Appearance:
    """Return the sizes and colours of a person."""

    def t(name: str) -> float:
        return trait(spec.traits, name)

    skin = ramp(((252, 222, 200), (216, 160, 118), (102, 66, 48)), (t("skin_tone") + 1) / 2)
    hue = t("skin_hue")
    tint = (10.0, -8.0, 2.0) if hue > 0 else (12.0, -8.0, 22.0)  # pink; olive (signs by hue)
    skin = _shift(skin, tint, hue)
    light = 0.10 + 0.80 * (t("hair_light") + 1) / 2
    warm = t("hair_warm")
    base = (1.08, 0.86, 0.66)
    end = (1.30, 0.62, 0.25) if warm > 0 else (0.66, 0.86, 1.16)
    r, g, b = (255 * light * (x + (y - x) * abs(warm)) for x, y in zip(base, end, strict=True))
    hair = _shift((0, 0, 0), (r, g, b), 1.0)
    half_width = 0.80 + 0.15 * t("face_width")
    half_height = 1.0 + 0.15 * t("face_height")
    nose_tip = 0.27 + 0.11 * t("nose_length")
    return Appearance(
        skin=skin,
        shade=mix(skin, (90, 40, 30), 0.32),
        hair=hair,
        iris=ramp(((92, 52, 25), (70, 145, 70), (60, 130, 225)), (t("eye_colour") + 1) / 2),
        lip=mix(skin, (190, 40, 60), 0.60),
        half_width=half_width,
        half_height=half_height,
        eye_x=0.37 * (half_width / 0.8) + 0.075 * t("eye_spacing"),
        eye_y=-0.08,
        mouth_y=0.60 * half_height + 0.04 * t("nose_length"),
        nose_tip=nose_tip,
    )


def _shift(colour: Colour, by: tuple[float, float, float], t: float) -> Colour:
    r, g, b = (int(min(255, max(0, c + d * t))) for c, d in zip(colour, by, strict=True))
    return r, g, b


def face_curve(
    spec: PersonSpec, appearance: Appearance, grow: float = 0.0, n: int = 44
) -> NDArray[np.float64]:
    """Return the outline of a face, a superellipse whose lower half is the jaw.

    Args:
        spec: Of the person.
        appearance: Of the same person.
        grow: Distance that is added on all sides, in local units.
        n: Number of points.

    Returns:
        Points (n, 2) in local units.
    """
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    jaw = trait(spec.traits, "jaw")
    exponent = 2.0 + 0.35 * jaw + 0.9 * jaw if jaw > 0 else 2.0 + 0.42 * jaw
    e = np.where(np.sin(angles) > 0, exponent, 2.2)
    c, s = np.cos(angles), np.sin(angles)
    x = np.sign(c) * np.abs(c) ** (2 / e) * (appearance.half_width + grow)
    y = np.sign(s) * np.abs(s) ** (2 / e) * (appearance.half_height + grow)
    return np.stack([x, y], 1)
