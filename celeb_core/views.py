"""Views of a photo: augmented pictures, and where the head and its features are in them.

METHOD.md §1.5: colour jitter, random resize, random shift; §2 for the official black canvas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from celeb_core.types import Face, TrainConfig

HEAD = 1.5  # side of the head (hair, ears) over the side of the face box
FEATURE = 0.11  # standard deviation of the hill on an eye, over the same
OFFICIAL_HUE = 0.01

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Views:
    """n augmented pictures of one person."""

    pixels: Tensor  # (n, 3, h, w) float32 in [-1, 1]
    # (n, 1, h, w) float32: 1 inside the head's box, up to 1 + TrainConfig.features on eyes, nose
    # and mouth, 0 elsewhere
    heads: Tensor


def make_views(
    faces: tuple[Face, ...],
    count: int,
    size: tuple[int, int],
    config: TrainConfig,
    rng: np.random.Generator,
) -> Views:
    """`count` random views of (width, height) `size`, taken from the photos in turn."""
    pictures, heads = [], []
    for index in range(count):
        picture, head = _view(faces[index % len(faces)], size, config, rng)
        pictures.append(torch.from_numpy(picture.astype(np.float32) / 127.5 - 1))
        heads.append(torch.from_numpy(head))
    return Views(torch.stack(pictures).permute(0, 3, 1, 2), torch.stack(heads)[:, None])


def _view(
    face: Face, size: tuple[int, int], config: TrainConfig, rng: np.random.Generator
) -> tuple[Pixels, Mask]:
    """One view: (h, w, 3) uint8 and the head's mask (h, w) of `Views`."""
    width, height = size
    photo = _jitter(face.image.convert("RGB"), config, rng)
    side = round(min(size) * rng.uniform(config.smallest, 1.0))
    left = int(rng.integers(0, width - side + 1))
    top = int(rng.integers(0, height - side + 1))
    small = np.asarray(photo.resize((side, side), Image.Resampling.LANCZOS))
    margins = ((top, height - side - top), (left, width - side - left))
    if config.canvas == "black":
        canvas = np.pad(small, (*margins, (0, 0)))
    else:
        canvas = np.pad(small, (*margins, (0, 0)), mode="edge")
    scale = side / (face.crop[2] - face.crop[0])
    places = (face.landmarks - face.crop[:2]) * scale + (left, top)
    deviation = FEATURE * scale * max(face.box[2] - face.box[0], face.box[3] - face.box[1])
    head = config.features * hills(places, deviation, (height, width))
    x0, y0, x1, y1 = _head_in_crop(face)
    rows = slice(max(0, round(top + y0 * side)), max(0, round(top + y1 * side)))
    columns = slice(max(0, round(left + x0 * side)), max(0, round(left + x1 * side)))
    head[rows, columns] += 1.0
    if config.flip and rng.random() < 0.5:
        canvas, head = canvas[:, ::-1], head[:, ::-1]
    return np.ascontiguousarray(canvas), np.ascontiguousarray(head)


def hills(points: npt.NDArray[np.floating], deviation: float, shape: tuple[int, int]) -> Mask:
    """Bell curves of height 1 and standard `deviation` on points (..., n, 2), x and y in pixels:
    the highest at each place, (..., h, w) of `shape`."""
    height, width = shape
    x, y = np.moveaxis(points.astype(np.float32), -1, 0)
    across, down = (
        np.exp(-(((np.arange(side, dtype=np.float32) + 0.5 - at[..., None]) / deviation) ** 2) / 2)
        for side, at in ((width, x), (height, y))
    )
    highest: Mask = (down[..., None] * across[..., None, :]).max(-3)
    return highest


def _head_in_crop(face: Face) -> tuple[float, float, float, float]:
    """The head's box as shares of the crop's side; the forehead needs most of the extra room."""
    side = face.crop[2] - face.crop[0]
    left, top, right, bottom = face.box
    grow = (HEAD - 1) / 2 * max(right - left, bottom - top)
    return (
        (left - grow - face.crop[0]) / side,
        (top - 1.5 * grow - face.crop[1]) / side,
        (right + grow - face.crop[0]) / side,
        (bottom + 0.5 * grow - face.crop[1]) / side,
    )


def _jitter(photo: Image.Image, config: TrainConfig, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation by 1 ± jitter; a touch of hue in the official setting."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        photo = enhance(photo).enhance(1 + rng.uniform(-config.jitter, config.jitter))
    if config.canvas == "black":
        photo = _turn_hue(photo, rng.uniform(-OFFICIAL_HUE, OFFICIAL_HUE))
    return photo


def _turn_hue(photo: Image.Image, turn: float) -> Image.Image:
    bands = list(photo.convert("HSV").split())
    shift = round(turn * 256)
    bands[0] = bands[0].point(lambda hue: (hue + shift) % 256)
    return Image.merge("HSV", bands).convert("RGB")
