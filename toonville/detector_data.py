"""Training data of the face detector: rendered images of any size on various backgrounds."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray
from skimage.transform import estimate_transform

from toonville.appearance import appearance_of, face_curve
from toonville.canvas import Canvas
from toonville.dataset import Store, load_store
from toonville.identity import Traits
from toonville.scenes import draw_scene
from toonville.world import SCENES, PersonSpec

Image = NDArray[np.uint8]
Label = NDArray[np.float32]
"""(15,): left, top, right, bottom, x and y of five landmarks, one of WHOLE, PARTIAL, NO_FACE."""

LABEL_WIDTH = 15
WHOLE, PARTIAL, NO_FACE = 1.0, -1.0, 0.0
MAX_FACES = 8
CHUNK = 1000  # canvases per job of a worker
CANVASES_FILE, LABELS_FILE = "canvases.npy", "labels.npy"

# Photographs that come with scikit-image. Its astronaut, cat and coffee are left for tests.
PHOTOGRAPHS = (
    "brick", "camera", "clock", "coins", "grass", "gravel", "hubble_deep_field",
    "immunohistochemistry", "moon", "page", "retina", "rocket", "text", "stereo_motorcycle",
)  # fmt: skip

SIDE = 96  # of a training canvas, in pixels
EMPTY_SHARE = 0.25  # of the canvases: without a face
MOSAIC_SHARE = 0.3  # of the others: four images instead of one
PAIR_SHARE = 0.35  # of the images: of two people
ROTATED_SHARE = 0.3
MAX_ROTATION = 15.0  # degrees


def face_outline(traits: Traits, landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the outline of a rendered face.

    Args:
        traits: (NUM_TRAITS,).
        landmarks: (5, 2) in pixels. Eyes and nose do not move with the expression.

    Returns:
        Points (44, 2) in pixels.
    """
    spec = PersonSpec(traits)
    face = appearance_of(spec)
    local = np.array([(-face.eye_x, face.eye_y), (face.eye_x, face.eye_y), (0.0, face.nose_tip)])
    to_pixels = estimate_transform("similarity", local, landmarks[:3].astype(np.float64))
    outline: NDArray[np.float64] = to_pixels(face_curve(spec, face))
    return outline.astype(np.float32)


def background(rng: np.random.Generator, side: int = 192) -> Image:
    """Return a random image without people, (side, side, 3)."""
    if rng.random() < 0.5:
        return _photograph(rng, side)
    kind = rng.integers(6)
    if kind <= 1:
        canvas = Canvas(side, side)
        draw_scene(canvas, SCENES[rng.integers(len(SCENES))], rng)
        return np.asarray(canvas.image(1))
    if kind == 2:
        return _shapes(rng, side)
    if kind == 3:
        return _text(rng, side)
    return _clouds(rng, side, detail=float(rng.uniform(0.6, 2.2)))


@cache
def _load_photograph(name: str) -> Image:
    data = getattr(skimage.data, name)()
    image = np.asarray(data[0] if isinstance(data, tuple) else data)
    return np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image[..., :3]


def _photograph(rng: np.random.Generator, side: int) -> Image:
    """A square of a photograph of any size, rotated, mirrored and recoloured."""
    image = _load_photograph(PHOTOGRAPHS[rng.integers(len(PHOTOGRAPHS))])
    shorter = min(image.shape[:2])
    size = int(np.exp(rng.uniform(np.log(60), np.log(shorter))))
    x = int(rng.integers(image.shape[1] - size + 1))
    y = int(rng.integers(image.shape[0] - size + 1))
    square = np.rot90(image[y : y + size, x : x + size], int(rng.integers(4)))
    resized = cv2.resize(np.ascontiguousarray(square), (side, side), interpolation=cv2.INTER_AREA)
    part = resized[:, :: rng.choice((1, -1)), rng.permutation(3)].astype(np.float32)
    if rng.random() < 0.2:
        part = 255 - part
    return np.clip(part * rng.uniform(0.6, 1.3, 3) + rng.uniform(-30, 30), 0, 255).astype(np.uint8)


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    r, g, b = rng.integers(0, 256, 3).tolist()
    return r, g, b


def _clouds(rng: np.random.Generator, side: int, detail: float) -> Image:
    """Noise whose amplitude falls with frequency as in photographs, in random colours."""
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) + 1 / side
    waves = rng.normal(size=(3, *f.shape)) + 1j * rng.normal(size=(3, *f.shape))
    layers = np.fft.irfft2(waves / f**detail, (side, side))
    layers /= layers.std((1, 2), keepdims=True)
    mixed = np.einsum("ck,kij->ijc", rng.normal(size=(3, 3)), layers)
    image: Image = np.clip(rng.uniform(60, 200, 3) + 40 * mixed, 0, 255).astype(np.uint8)
    return image


def _shapes(rng: np.random.Generator, side: int) -> Image:
    """Flat discs, bars and polygons in random colours: some resemble eyes or faces."""
    image = np.full((side, side, 3), _colour(rng), np.uint8)
    for _ in range(rng.integers(5, 50)):
        x, y = rng.integers(0, side, 2).tolist()
        size = int(np.exp(rng.uniform(np.log(2), np.log(side / 3))))
        kind = rng.integers(3)
        if kind == 0:
            axes = (size, max(1, int(size * rng.uniform(0.5, 1.6))))
            cv2.ellipse(image, (x, y), axes, 0, 0, 360, _colour(rng), -1, cv2.LINE_AA)
            if rng.random() < 0.5:
                cv2.circle(image, (x, y), max(1, size // 2), _colour(rng), -1, cv2.LINE_AA)
        elif kind == 1:
            corner = (x + size, y + int(rng.integers(1, side)))
            cv2.rectangle(image, (x, y), corner, _colour(rng), -1)
        else:
            points = rng.normal(size=(int(rng.integers(3, 7)), 2)) * size + (x, y)
            cv2.fillPoly(image, [points.astype(np.int32)], _colour(rng), cv2.LINE_AA)
    return image


def _text(rng: np.random.Generator, side: int) -> Image:
    image = np.full((side, side, 3), _colour(rng), np.uint8)
    for y in range(10, side, int(rng.integers(12, 40))):
        letters = "".join(chr(c) for c in rng.integers(33, 126, 30))
        size = float(rng.uniform(0.3, 1.2))
        cv2.putText(image, letters, (2, y), 0, size, _colour(rng), 1, cv2.LINE_AA)
    return image


@dataclass(frozen=True, eq=False)
class Compositor:
    """Makes training canvases: rendered images, resized, rotated and pasted on backgrounds.

    Points are continuous coordinates: pixel i covers [i, i + 1).
    """

    stores: tuple[Store, Store]
    backgrounds: NDArray[np.uint8]  # (B, side, side, 3)

    def compose(self, rng: np.random.Generator) -> tuple[Image, list[Label]]:
        """Return a canvas (SIDE, SIDE, 3) and its faces, of 4 pixels and more."""
        image = self._background(rng)
        if rng.random() < EMPTY_SHARE:
            return image, []
        if rng.random() > MOSAIC_SHARE:
            return self._paste(rng, image, 30, 400)
        labels: list[Label] = []
        half = SIDE // 2
        for x, y in ((0, 0), (half, 0), (0, half), (half, half)):
            part, found = self._paste(rng, image[y : y + half, x : x + half], 22, 100)
            image[y : y + half, x : x + half] = part
            shift = np.array([*[x, y] * 7, 0], np.float32)
            labels += [label + shift for label in found]
        return image, labels

    def _background(self, rng: np.random.Generator) -> Image:
        if rng.random() < 0.3:  # as FaceAnalysis pads an image
            return np.zeros((SIDE, SIDE, 3), np.uint8)
        whole = self.backgrounds[rng.integers(len(self.backgrounds))]
        size = int(rng.integers(SIDE, len(whole) + 1))
        x, y = rng.integers(0, len(whole) - size + 1, 2)
        part = whole[y : y + size, x : x + size]
        return np.asarray(cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)

    def _paste(
        self, rng: np.random.Generator, image: Image, smallest: int, largest: int
    ) -> tuple[Image, list[Label]]:
        """Paste a random image, its height of smallest..largest pixels, over `image`."""
        store = self.stores[int(rng.random() < PAIR_SHARE)]
        index = int(rng.integers(len(store)))
        pasted = np.asarray(store.images[index])
        height, width = pasted.shape[:2]
        scale = float(np.exp(rng.uniform(np.log(smallest), np.log(largest))) / height)
        if scale < 1:
            size = (round(width * scale), round(height * scale))
            method = cv2.INTER_AREA if rng.random() < 0.7 else cv2.INTER_LINEAR
            pasted = np.asarray(cv2.resize(pasted, size, interpolation=method), np.uint8)
        ratio = np.array([pasted.shape[1] / width, pasted.shape[0] / height])
        size = (pasted.shape[1], pasted.shape[0])
        matrix = _random_matrix(rng, size, max(1.0, scale), len(image))
        warped = cv2.warpAffine(pasted, matrix, (image.shape[1], image.shape[0]))
        ones = np.ones(pasted.shape[:2], np.float32)
        cover = cv2.warpAffine(ones, matrix, (image.shape[1], image.shape[0]))
        image = np.round(warped + image * (1 - cover[..., None])).clip(0, 255).astype(np.uint8)
        labels = []
        for traits, landmarks in zip(store.traits[index], store.landmarks[index], strict=True):
            points = np.concatenate([landmarks, face_outline(traits, landmarks)])
            points = (points * ratio - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
            labels.append(_label(points[:5], points[5:], len(image)))
        return image, labels


def _random_matrix(
    rng: np.random.Generator, size: tuple[int, int], zoom: float, side: int
) -> NDArray[np.float64]:
    """Return the matrix (2, 3) that rotates, enlarges and moves an image of (width, height)."""
    angle = rng.uniform(-MAX_ROTATION, MAX_ROTATION) if rng.random() < ROTATED_SHARE else 0.0
    middle = (size[0] / 2, size[1] / 2)
    matrix = np.asarray(cv2.getRotationMatrix2D(middle, angle, zoom), np.float64)
    extent = zoom * np.array(size)
    free = side - extent
    corner = rng.uniform(np.minimum(free, 0) - 0.15 * side, np.maximum(free, 0) + 0.15 * side)
    if rng.random() < 0.25:  # where FaceAnalysis puts an image
        corner = np.zeros(2)
    matrix[:, 2] += corner + extent / 2 - middle
    return matrix


def _label(landmarks: NDArray[np.float64], outline: NDArray[np.float64], side: int) -> Label:
    box = np.concatenate([outline.min(0), outline.max(0)])
    inside = np.clip(box, 0, side)
    visible = np.prod(inside[2:] - inside[:2]) / np.prod(box[2:] - box[:2])
    whole = visible > 0.85 and ((landmarks > 0) & (landmarks < side)).all()
    kind = WHOLE if whole else PARTIAL if visible > 0.25 else NO_FACE
    return np.array([*box, *landmarks.ravel(), kind], dtype=np.float32)


def make_canvases(data: Path, folder: Path, n: int, seed: int, workers: int = 2) -> None:
    """Write n canvases and their labels into a folder, unless it has them already.

    Args:
        data: Has the stores `single` and `pair`.
        folder: Gets CANVASES_FILE (n, SIDE, SIDE, 3) and LABELS_FILE (n, MAX_FACES, LABEL_WIDTH).
        n: Number of canvases.
        seed: Of the canvases.
        workers: Processes.
    """
    if (folder / CANVASES_FILE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(data, (seed, start), min(CHUNK, n - start)) for start in range(0, n, CHUNK)]
    with ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(_make_chunk, jobs))
    np.save(folder / LABELS_FILE, np.concatenate([labels for _, labels in parts]))
    np.save(folder / CANVASES_FILE, np.concatenate([images for images, _ in parts]))


def _make_chunk(job: tuple[Path, tuple[int, int], int]) -> tuple[Image, NDArray[np.float32]]:
    data, seed, n = job
    rng = np.random.default_rng(seed)
    stores = (load_store(data / "single"), load_store(data / "pair"))
    compositor = Compositor(stores, np.stack([background(rng) for _ in range(n // 8)]))
    images = np.zeros((n, SIDE, SIDE, 3), np.uint8)
    labels = np.zeros((n, MAX_FACES, LABEL_WIDTH), np.float32)
    for i in range(n):
        images[i], found = compositor.compose(rng)
        if found:
            labels[i, : len(found)] = found
    return images, labels
