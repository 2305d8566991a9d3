"""Faces are cut out by five landmarks: the eyes, the tip of the nose, the corners of the mouth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 112

# Where ArcFace models want the five landmarks in a crop of 112 x 112 (as in insightface).
ARCFACE_TEMPLATE: NDArray[np.float32] = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float32,
)

# The judge sees more around the face: hair and shoulders.
JUDGE_TEMPLATE: NDArray[np.float32] = np.asarray(
    (ARCFACE_TEMPLATE - [56, 72]) * 0.62 + [56, 58], dtype=np.float32
)


def similarity(landmarks: NDArray[Any], template: NDArray[Any]) -> NDArray[np.float64]:
    """Return the turn, scale and shift (2, 3) that bring landmarks (n, 2) closest to a template.

    Least squares over complex numbers, w = a z + b; the same matrix as Umeyama's method gives.
    """
    z = landmarks[:, 0].astype(np.float64) + 1j * landmarks[:, 1]
    w = template[:, 0].astype(np.float64) + 1j * template[:, 1]
    centred = z - z.mean()
    a = (centred.conj() @ (w - w.mean())) / max(float((abs(centred) ** 2).sum()), 1e-9)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(
    image: NDArray[np.uint8],
    landmarks: NDArray[Any],
    template: NDArray[np.float32] = ARCFACE_TEMPLATE,
) -> NDArray[np.uint8]:
    """Return the face as (112, 112, channels); what lies outside of the picture is black."""
    import cv2

    matrix = similarity(landmarks, template)
    return np.asarray(cv2.warpAffine(image, matrix, (SIDE, SIDE), borderValue=0.0), np.uint8)
