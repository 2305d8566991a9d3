"""A judge of faces in photographs: dlib's face network, which no training of ours ever used.

Optional: `pip install -r requirements-judge.txt`. Its embeddings are (128,), trained for Euclidean
distance; here they have unit norm, because their cosine separates people as well.
"""

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
MIN_OVERLAP = 0.3  # intersection over union of two boxes of one face
SAME_PERSON = 0.94  # cosine of two photographs that are likely of one person: an L2 of .48


class DlibJudge:
    """Embeds faces of photographs with a detector, landmarks and a network of its own."""

    def __init__(self, folder: Path) -> None:
        import dlib

        self._rectangle = dlib.rectangle
        self._detect = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(str(folder / LANDMARKS))
        self._network = dlib.face_recognition_model_v1(str(folder / NETWORK))

    def embed(self, image: Image.Image, faces: Sequence[Face]) -> Tensor:
        """Return (n, 128) of unit norm for faces that were found in this image.

        Where dlib's detector finds the same face, its box counts: its landmarks expect it.
        """
        if not faces:
            return torch.zeros(0, 128)
        rgb = np.asarray(image.convert("RGB"))
        detected = [(_sides(rectangle), rectangle) for rectangle in self._detect(rgb, 1)]
        rows = []
        for face in faces:
            near = max(detected, key=lambda one: overlap(one[0], face.box), default=None)
            same = near is not None and overlap(near[0], face.box) > MIN_OVERLAP
            rectangle = near[1] if near and same else self._rectangle(*_square(face.box))
            points = self._landmarks(rgb, rectangle)
            rows.append(np.array(self._network.compute_face_descriptor(rgb, points)))
        embeddings = torch.from_numpy(np.stack(rows)).float()
        return torch.nn.functional.normalize(embeddings, dim=1)


def load_dlib_judge() -> DlibJudge | None:
    """Load the judge; None if dlib or its weights are not installed."""
    spec = importlib.util.find_spec(WEIGHTS)
    if spec is None or spec.origin is None or importlib.util.find_spec("dlib") is None:
        return None
    folder = Path(spec.origin).parent / "models"
    complete = all((folder / name).is_file() for name in (LANDMARKS, NETWORK))
    return DlibJudge(folder) if complete else None


def overlap(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes, 0 to 1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (_area(a) + _area(b) - both)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _sides(rectangle: Any) -> Box:
    return (rectangle.left(), rectangle.top(), rectangle.right(), rectangle.bottom())


def _square(box: Box) -> tuple[int, int, int, int]:
    """The lower square of a face box: dlib's detector leaves the forehead out."""
    side = box[2] - box[0]
    return (round(box[0]), round(box[3] - side), round(box[2]), round(box[3]))
