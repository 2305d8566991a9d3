"""What speaks against a photo of a face, in plain words: small, blurred, dark, turned, covered."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from celeb_core.types import Face

SMALL = 0.25  # longer side of the face, as a share of the model's picture
BLURRED = 25.0  # variance of the Laplacian of the aligned face, grey values 0 to 255
DARK = 70.0  # grey value that nine tenths of the aligned face stay below
TURNED = 0.25  # the nose off the middle of the eyes, in distances between the eyes
UNSURE = 0.65  # the detector's confidence


def quality_notes(face: Face, side: int) -> list[str]:
    """What is wrong with a face as a training photo and what to do; empty if nothing is.

    `side` is the width in pixels of the pictures that the model draws.
    """
    left, top, right, bottom = face.box
    grey = face.aligned.astype(np.float32).mean(axis=2)
    pixels = round(max(right - left, bottom - top))
    notes = []
    if pixels < SMALL * side:
        need = round(SMALL * side)
        notes.append(f"Small: the face is {pixels} pixels high. Use a photo with {need} or more.")
    if _sharpness(grey) < BLURRED:
        notes.append("Blurred: fine traits will be missed. Use a sharper photo.")
    if float(np.percentile(grey, 90)) < DARK:
        notes.append("Dark: colours will be off. Use a photo with light on the face.")
    if abs(_turn(face.landmarks)) > TURNED:
        notes.append("Turned away: half of the face is hidden. Use one that looks at the camera.")
    if face.score < UNSURE:
        notes.append("Hard to make out: maybe something covers it. Use one with the face free.")
    return notes


def _sharpness(grey: npt.NDArray[np.float32]) -> float:
    """Variance of the Laplacian."""
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((4 * middle - around).var())


def _turn(landmarks: npt.NDArray[np.float32]) -> float:
    """Where the nose is along the line of the eyes, from their middle; 0 is straight on."""
    left, right, nose = landmarks[:3]
    eyes = right - left
    return float((nose - (left + right) / 2) @ eyes / max(float(eyes @ eyes), 1e-6))
