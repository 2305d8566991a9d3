"""What the face models can do: fresh drawn pictures, and the files as the app loads them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from celeb_core.alignment import JUDGE_TEMPLATE, align
from toonville.canvas import Canvas
from toonville.dataset import random_spec
from toonville.detector import DETECTOR_SIZE
from toonville.identity import Traits, sample_traits
from toonville.places import PAINTERS
from toonville.render import Picture, render
from toonville.world import GROUPS, PAIR_SIZE, SINGLE_SIZE, labels_of

Image = NDArray[np.uint8]
FAR = 1e-3
MATCH_OVERLAP = 0.5
BATCH = 64


class Judge:
    """`judge.onnx`: traits and identity of aligned faces."""

    def __init__(self, folder: Path) -> None:
        self._session = _session(folder / "judge.onnx")

    def __call__(
        self, images: Iterable[Image], landmarks: Iterable[NDArray[np.floating]]
    ) -> tuple[Traits, NDArray[np.float32]]:
        """Judge one face in each RGB image (H, W, 3), given its five landmarks (5, 2).

        Returns traits (N, NUM_TRAITS) and embeddings (N, 128) of norm 1.
        """
        traits, embeddings = _run(self._session, judge_crops(images, landmarks))
        return traits, embeddings


class Reader:
    """`reader.onnx`: what is said in a prompt, read from pictures."""

    def __init__(self, folder: Path) -> None:
        self._session = _session(folder / "reader.onnx")
        self._labels: dict[str, list[str]] = json.loads((folder / "reader.json").read_text())

    def __call__(self, images: Sequence[Image]) -> dict[str, list[str]]:
        """Read RGB images of 128 x 128; returns the most likely label of each, by group."""
        logits = _run(self._session, np.stack(list(images)))
        pairs = zip(self._labels.items(), logits, strict=True)
        return {group: [labels[i] for i in x.argmax(1)] for (group, labels), x in pairs}


def judge_crops(images: Iterable[Image], landmarks: Iterable[NDArray[np.floating]]) -> Image:
    """Return what the judge looks at, (N, 112, 112, 3)."""
    pairs = zip(images, landmarks, strict=True)
    return np.stack([align(image, points, JUDGE_TEMPLATE) for image, points in pairs])


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, images: Image) -> list[NDArray[np.float32]]:
    """Run images (N, H, W, 3) through a model of (x - 127.5) / 127.5; outputs over all N."""
    name = session.get_inputs()[0].name
    outputs = []
    for start in range(0, len(images), BATCH):
        x = (images[start : start + BATCH].astype(np.float32) - 127.5) / 127.5
        outputs.append(session.run(None, {name: np.ascontiguousarray(x.transpose(0, 3, 1, 2))}))
    return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


def open_faces(folder: Path, recognise: bool = True) -> Any:
    """Return insightface's FaceAnalysis of `<folder>/faces`, as the app uses it."""
    from insightface.app import FaceAnalysis

    # norm_crop still calls a skimage method that goes away in 2.2
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"insightface\.")
    tasks = ["detection", "recognition"] if recognise else ["detection"]
    analysis = FaceAnalysis(
        name=str(folder / "faces"), allowed_modules=tasks, providers=["CPUExecutionProvider"]
    )
    analysis.prepare(ctx_id=-1, det_size=DETECTOR_SIZE)
    return analysis


def find(analysis: Any, image: Image) -> list[Any]:
    """Return insightface's faces of an RGB image."""
    faces: list[Any] = analysis.get(np.ascontiguousarray(image[:, :, ::-1]))
    return faces


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the intersection over the union of two boxes, left, top, right, bottom."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def measure_recogniser(folder: Path, seed: int, people: int = 500) -> dict[str, float]:
    """Two random pictures each of people whom no model knows, detected, aligned and embedded.

    A face that is not found has similarity 0 to everybody.
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
    threshold = np.quantile(different, 1 - FAR)
    return {
        "recogniser_tar": float((same > threshold).mean()),
        "recogniser_rank1": float((similarity.argmax(1) == np.arange(people)).mean()),
    }


def measure_detector(folder: Path, seed: int, pictures: int = 300) -> dict[str, float]:
    """As many pictures of one person, of two, and of nobody; landmark error over eye distance."""
    rng = np.random.default_rng((seed, 2))
    analysis = open_faces(folder, recognise=False)
    people = hits = wrong = 0
    errors: list[float] = []
    for i in range(pictures * 2):
        picture = render(random_spec(rng, sample_traits(rng, 1 + i % 2)))
        found = find(analysis, np.asarray(picture.image))
        matched = _match(picture, found)
        people += len(picture.people)
        hits += len(matched)
        wrong += len(found) - len(matched)
        errors += matched
    for i in range(pictures):
        wrong += len(find(analysis, _empty_scene(rng, i)))
    return {
        "detector_recall": hits / people,
        "detector_false_per_picture": wrong / (pictures * 3),
        "detector_landmark_error": float(np.mean(errors)) if errors else 1.0,
    }


def _match(picture: Picture, found: list[Any]) -> list[float]:
    """Return the landmark error of each person who was found; a face counts for one person."""
    left, errors = list(found), []
    for person in picture.people:
        overlaps = [overlap(face.bbox, person.box) for face in left]
        if max(overlaps, default=0.0) < MATCH_OVERLAP:
            continue
        best = left.pop(int(np.argmax(overlaps)))
        eyes = np.linalg.norm(person.landmarks[0] - person.landmarks[1])
        gaps = np.linalg.norm(best.kps - person.landmarks, axis=1)
        errors.append(float(gaps.mean() / eyes))
    return errors


def _empty_scene(rng: np.random.Generator, i: int) -> Image:
    canvas = Canvas(*(SINGLE_SIZE, PAIR_SIZE)[i % 2])
    PAINTERS[list(PAINTERS)[i % len(PAINTERS)]](canvas, rng)
    return np.asarray(canvas.picture())


def measure_judge(folder: Path, seed: int, people: int = 500) -> dict[str, float]:
    """Two random pictures each of people whom the judge does not know, by true landmarks."""
    rng = np.random.default_rng((seed, 3))
    judge = Judge(folder)
    traits = sample_traits(rng, people)
    read = []
    for _ in range(2):
        drawn = [render(random_spec(rng, person[None])) for person in traits]
        points = [picture.people[0].landmarks for picture in drawn]
        read.append(judge([np.asarray(picture.image) for picture in drawn], points))
    by_traits = ((read[0][0][:, None] - traits[None]) ** 2).sum(-1).argmin(1)
    by_embedding = (read[0][1] @ read[1][1].T).argmax(1)
    return {
        "judge_traits_mse": float(((read[0][0] - traits) ** 2).mean()),
        "judge_traits_rank1": float((by_traits == np.arange(people)).mean()),
        "judge_rank1": float((by_embedding == np.arange(people)).mean()),
    }


def measure_reader(folder: Path, seed: int, pictures: int = 600) -> dict[str, float]:
    """The share of right answers of each group, on pictures of one person."""
    rng = np.random.default_rng((seed, 4))
    drawn = [render(random_spec(rng, sample_traits(rng, 1))) for _ in range(pictures)]
    answers = Reader(folder)([np.asarray(picture.image) for picture in drawn])
    right = np.array([labels_of(picture.spec) for picture in drawn])
    return {
        f"reader_{group}": float(
            np.mean(
                [values.index(a) == r for a, r in zip(answers[group], right[:, i], strict=True)]
            )
        )
        for i, (group, values) in enumerate(GROUPS.items())
    }
