"""A second opinion on real photographs: dlib's face network, which no training here ever used.

Optional: `pip install -r requirements-judge.txt`. Its descriptors are (128,), trained for
Euclidean distance; here they have unit norm, because their cosine separates people as well.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from celeb_core.types import Box, Face

WEIGHTS = "face_recognition_models"  # the package; importing it fails with today's setuptools
LANDMARKS = "shape_predictor_5_face_landmarks.dat"
NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
OVERLAP = 0.3  # intersection over union above which two boxes are of the same face
SAME = 0.94  # cosine above which two photographs are likely of one person: an L2 of .48


class SecondJudge:
    """Embeds faces of photographs with detector, landmarks and network of its own."""

    def __init__(self, folder: Path) -> None:
        import dlib

        self._rectangle = dlib.rectangle
        self._detect = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(str(folder / LANDMARKS))
        self._network = dlib.face_recognition_model_v1(str(folder / NETWORK))

    def embed(self, picture: Image.Image, faces: Sequence[Face]) -> Tensor:
        """(n, 128) unit norm; faces as found in this very picture.

        Where its own detector saw the same face, that box counts: it knows its framing best.
        """
        if not faces:
            return torch.zeros(0, 128)
        rgb = np.asarray(picture.convert("RGB"))
        seen = [(_sides(found), found) for found in self._detect(rgb, 1)]
        rows = []
        for face in faces:
            near = max(seen, key=lambda one: overlap(one[0], face.box), default=None)
            known = near is not None and overlap(near[0], face.box) > OVERLAP
            place = near[1] if near and known else self._rectangle(*_square(face.box))
            points = self._landmarks(rgb, place)
            rows.append(np.array(self._network.compute_face_descriptor(rgb, points)))
        found = torch.from_numpy(np.stack(rows)).float()
        return torch.nn.functional.normalize(found, dim=1)


def load_second_judge() -> SecondJudge | None:
    """The judge, if dlib and its weights are installed."""
    found = importlib.util.find_spec(WEIGHTS)
    if found is None or found.origin is None or importlib.util.find_spec("dlib") is None:
        return None
    folder = Path(found.origin).parent / "models"
    complete = all((folder / name).is_file() for name in (LANDMARKS, NETWORK))
    return SecondJudge(folder) if complete else None


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (_area(a) + _area(b) - both)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _sides(found: Any) -> Box:
    return (found.left(), found.top(), found.right(), found.bottom())


def _square(box: Box) -> tuple[int, int, int, int]:
    """The lower square of a face box: dlib's detector leaves the forehead out."""
    side = box[2] - box[0]
    return (round(box[0]), round(box[3] - side), round(box[2]), round(box[3]))
