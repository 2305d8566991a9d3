"""Measurements of the exported detector and recogniser on new renderings, and the judge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from insightface.app import FaceAnalysis
from numpy.typing import NDArray

from celeb_core.scoring import judge_crop
from toonville.canvas import Canvas
from toonville.detector import DETECTOR_SIZE
from toonville.identity import Traits, sample_traits
from toonville.random_specs import random_spec
from toonville.render import Rendering, render
from toonville.scenes import draw_scene
from toonville.world import PIXELS, SCENES, SIZES

Image = NDArray[np.uint8]
FALSE_ACCEPT_RATE = 1e-3
MATCH_OVERLAP = 0.5
BATCH = 64


class Judge:
    """`judge.onnx`: traits and embeddings of faces in many images at once.

    celeb_core's own judge reads one image at a time, by landmarks of a detector.
    """

    def __init__(self, folder: Path) -> None:
        self._session = onnxruntime.InferenceSession(
            folder / "judge.onnx", providers=["CPUExecutionProvider"]
        )

    def __call__(
        self, images: Iterable[Image], landmarks: Iterable[NDArray[np.floating]]
    ) -> tuple[Traits, NDArray[np.float32]]:
        """Read one face in each image.

        Args:
            images: RGB, (H, W, 3) each.
            landmarks: (5, 2) each.

        Returns:
            Traits (N, NUM_TRAITS) and embeddings (N, 128) of unit norm.
        """
        pairs = zip(images, landmarks, strict=True)
        crops = np.stack([judge_crop(image, points) for image, points in pairs])
        outputs = []
        for start in range(0, len(crops), BATCH):
            x = (crops[start : start + BATCH].astype(np.float32) - 127.5) / 127.5
            planes = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
            outputs.append(self._session.run(["traits", "embedding"], {"crop": planes}))
        traits, embeddings = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
        return traits, embeddings

    def read(self, renderings: Sequence[Rendering]) -> tuple[Traits, NDArray[np.float32]]:
        """Read the first person of each rendering, by the true landmarks."""
        images = [np.asarray(rendering.image) for rendering in renderings]
        return self(images, [rendering.people[0].landmarks for rendering in renderings])


def open_faces(folder: Path, recognise: bool = True) -> FaceAnalysis:
    """Load `<folder>/faces` with insightface, with or without the recogniser."""
    tasks = ["detection", "recognition"] if recognise else ["detection"]
    analysis = FaceAnalysis(
        name=str(folder / "faces"), allowed_modules=tasks, providers=["CPUExecutionProvider"]
    )
    analysis.prepare(ctx_id=-1, det_size=DETECTOR_SIZE)
    return analysis


def find(analysis: FaceAnalysis, image: Image) -> list[Any]:
    """Return insightface's faces of an RGB image."""
    faces: list[Any] = analysis.get(np.ascontiguousarray(image[:, :, ::-1]))
    return faces


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the intersection over the union of two boxes (left, top, right, bottom)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def measure_recogniser(folder: Path, seed: int, people: int = 500) -> dict[str, float]:
    """Measure detection, alignment and recognition on two random images of each of new people.

    A face that is not found has similarity 0 to everybody.

    Args:
        folder: Of the models.
        seed: Of people and images.
        people: Number of people.

    Returns:
        The true accept rate at FALSE_ACCEPT_RATE, and the rank-1 accuracy.
    """
    rng = np.random.default_rng((seed, 1))
    analysis = open_faces(folder)
    traits = sample_traits(rng, people)
    sides = []
    for _ in range(2):
        rows = np.zeros((people, 512), np.float32)
        for i in range(people):
            found = find(analysis, np.asarray(render(random_spec(rng, traits[i : i + 1])).image))
            if found:
                rows[i] = max(found, key=lambda face: face.det_score).normed_embedding
        sides.append(rows)
    similarity = sides[0] @ sides[1].T
    same = np.diag(similarity)
    different = similarity[~np.eye(people, dtype=bool)]
    threshold = np.quantile(different, 1 - FALSE_ACCEPT_RATE)
    return {
        "recogniser_tar": float((same > threshold).mean()),
        "recogniser_rank1": float((similarity.argmax(1) == np.arange(people)).mean()),
    }


def measure_detector(folder: Path, seed: int, images: int = 300) -> dict[str, float]:
    """Measure the detector on images of one person, of two and three people, and of empty scenes.

    Args:
        folder: Of the models.
        seed: Of people and images.
        images: Number of images of each kind.

    Returns:
        Recall, false faces per image, and the mean landmark error over the distance of the eyes.
    """
    rng = np.random.default_rng((seed, 2))
    analysis = open_faces(folder, recognise=False)
    people = hits = false = 0
    errors: list[float] = []
    for i in range(images * 3):
        rendering = render(random_spec(rng, sample_traits(rng, 1 + i % 3)))
        found = find(analysis, np.asarray(rendering.image))
        matched = _match(rendering, found)
        people += len(rendering.people)
        hits += len(matched)
        false += len(found) - len(matched)
        errors += matched
    for i in range(images):
        false += len(find(analysis, _empty_scene(rng, i)))
    return {
        "detector_recall": hits / people,
        "detector_false_per_image": false / (images * 4),
        "detector_landmark_error": float(np.mean(errors)) if errors else 1.0,
    }


def _match(rendering: Rendering, found: list[Any]) -> list[float]:
    """Return the landmark error of each person who was found; a face counts for one person."""
    left, errors = list(found), []
    for person in rendering.people:
        overlaps = [overlap(face.bbox, person.box) for face in left]
        if max(overlaps, default=0.0) < MATCH_OVERLAP:
            continue
        best = left.pop(int(np.argmax(overlaps)))
        eyes = np.linalg.norm(person.landmarks[0] - person.landmarks[1])
        gaps = np.linalg.norm(best.kps - person.landmarks, axis=1)
        errors.append(float(gaps.mean() / eyes))
    return errors


def _empty_scene(rng: np.random.Generator, i: int) -> Image:
    width, height = SIZES[1 + i % 3]
    canvas = Canvas(width // PIXELS, height // PIXELS)
    draw_scene(canvas, SCENES[i % len(SCENES)], rng)
    return np.asarray(canvas.image(PIXELS))
