"""Orientation of a photo, by its faces: one that is upside down is turned before it is used."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from celeb_core.types import Box

FoundBox: TypeAlias = tuple[float, Box, int]
"""A detector's confidence, 0 to 1, a box, and the quarters that its landmarks have to be turned."""

Detect: TypeAlias = Callable[[Image.Image], list[FoundBox]]

CROPS = (1.4, 2.0, 2.8, 4.0)  # around a face whose orientation is asked for, in sides of its box
# Of the evidence for an orientation, a sum of log odds. Many a detector is nearly as confident of
# faces that are upside down, or more; over four crops the right orientation won by 2.4 or more.
SURE = 3.0  # more than all others, of the photo itself: no crops are needed
TURN = 1.0  # more than for the photo as it is, of the crops: it is turned if that is CLEAR, too
CLEAR = 16.0  # 25 and more of faces that the detector was made for
FOUND = 8.0  # or this and three times that of the photo as it is
UNFOUND = 0.25  # the score where a detector finds no face
CROP = 320  # pixels


def quarter_turns(photo: Image.Image, detect: Detect) -> int:
    """Return by how many quarters, counter-clockwise, a photo is turned for its faces' sake."""
    evidence, views = np.zeros(4), [photo.rotate(90 * turns, expand=True) for turns in range(4)]
    found = [(*face, turns) for turns, view in enumerate(views) for face in detect(view)]
    if not found:
        return 0
    for score, _, turns_left, turns in found:
        evidence[(turns + turns_left) % 4] += _log_odds(score)
    if evidence[0] - evidence[1:].max() > SURE:
        return 0
    _, box, _, turns = max(found, key=lambda face: face[0])
    evidence = _crop_evidence(views[turns], box, turns, detect)
    best = int(evidence.argmax())
    clear = evidence[best] > max(CLEAR, evidence[0] + TURN)
    return best if clear or evidence[best] > max(FOUND, 3 * evidence[0]) else 0


def _crop_evidence(view: Image.Image, box: Box, turns: int, detect: Detect) -> npt.NDArray[Any]:
    """Find a face in crops of a turned photo; return the evidence for each orientation, (4,)."""
    evidence, (left, top, right, bottom) = np.zeros(4), box
    x, y, longer = (left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top)
    for half in (scale * longer / 2 for scale in CROPS):
        extent = (x - half, y - half, x + half, y + half)
        crop = view.transform((CROP, CROP), Image.Transform.EXTENT, extent, fillcolor="grey")
        for more in range(4):
            if faces := detect(crop.rotate(90 * more)):
                score, _, turns_left = max(faces, key=lambda face: face[0])
                weight = _log_odds(score) - _log_odds(UNFOUND)
                evidence[(turns + more + turns_left) % 4] += weight
    return evidence


def _log_odds(score: float) -> float:
    return math.log(max(score, 1e-3) / (1.0005 - score))
