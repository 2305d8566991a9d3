"""The examples of a step of the UNet's training, with what its losses need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from celeb_core.augmentation import gaussian_bumps
from toonville.dataset import sample_rows
from toonville.encoded import Encoded
from toonville.vae import LANDMARK_WEIGHT
from toonville.world import CELL, UNKNOWN

CAPTION_DROPOUT = 0.1
RARE_SHARE = 0.25  # of a batch, oversampled to show a rare value
LANDMARK_SIZE = 0.6  # latents: standard deviation of the bumps on eyes, nose and mouth


@dataclass(frozen=True, eq=False)
class Batch:
    """The examples of one step."""

    latents: Tensor  # (N, C, h, w)
    faces: Tensor  # (N, h, w), share of face in [0, 1]
    face_weights: Tensor  # (N, h, w), see latent_face_weights
    hidden_states: Tensor  # (N, CONTEXT_LENGTH, WIDTH)
    has_caption: Tensor  # (N,) bool; false: the empty caption
    traits: Tensor  # (N, NUM_TRAITS, h / 2, w / 2), of the person nearest in x
    labels: Tensor  # (N, len(GROUPS)); UNKNOWN where there is no caption


def sample_batch(
    encoded: Encoded,
    rare: Sequence[NDArray[np.int64]],
    empty: Tensor,
    size: int,
    rng: np.random.Generator,
) -> Batch:
    """Return random examples, CAPTION_DROPOUT of them without their caption.

    Args:
        encoded: To sample from.
        rare: Rows per group, see dataset.rare_rows; RARE_SHARE of the examples are such ones.
        empty: Hidden states (CONTEXT_LENGTH, WIDTH) of the empty caption.
        size: Number of examples.
        rng: Source of randomness.
    """
    rows = encoded[sample_rows(rare, len(encoded), size, rng, RARE_SHARE)]
    has_caption = torch.from_numpy(rng.random(size) >= CAPTION_DROPOUT)
    states = torch.from_numpy(rows.hidden_states).float()
    states[~has_caption] = empty
    labels = torch.from_numpy(rows.labels).long()
    labels[~has_caption] = UNKNOWN
    return Batch(
        torch.from_numpy(rows.latents).float(),
        torch.from_numpy(rows.faces).float() / 255,
        latent_face_weights(rows.faces, rows.landmarks),
        states,
        has_caption,
        traits_at(rows),
        labels,
    )


def traits_at(rows: Encoded) -> Tensor:
    """Return the traits of the person whose face is nearest in x, at half the latents' size.

    Returns:
        (N, NUM_TRAITS, h / 2, w / 2).
    """
    height, width = (side // 2 for side in rows.latents.shape[2:])
    faces = rows.landmarks[..., 0].mean(2) / (2 * CELL)  # (N, P), from left to right
    borders = (faces[:, 1:] + faces[:, :-1]) / 2
    columns = np.arange(width) + 0.5
    nearest = (columns[:, None] > borders[:, None]).sum(2)  # (N, w / 2)
    traits = np.take_along_axis(rows.traits, nearest[..., None], 1)
    by_column = torch.from_numpy(traits).transpose(1, 2)
    return by_column[:, :, None].expand(-1, -1, height, -1)


def latent_face_weights(faces: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> Tensor:
    """Return `vae.face_weights` at the latents' size.

    Args:
        faces: (N, h, w), share of face, 0 to 255.
        landmarks: (N, P, 5, 2), in pixels.

    Returns:
        (N, h, w), 0 far from faces, up to 1 + LANDMARK_WEIGHT on landmarks.
    """
    points = landmarks.reshape(len(landmarks), -1, 2) / CELL
    bumps = gaussian_bumps(points, LANDMARK_SIZE, (faces.shape[1], faces.shape[2]))
    return torch.from_numpy(faces / np.float32(255) + LANDMARK_WEIGHT * bumps)
