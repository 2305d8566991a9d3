"""The autoencoder: images -> latents a sixteenth of the size, and back."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from celeb_core.augmentation import gaussian_bumps
from toonville.dataset import Store, load_store
from toonville.layers import channels_last
from toonville.trainer import Budget, train
from toonville.world import CELL

BATCH = 6
CROP = 128
"""Most steps train on crops: four times as many steps in the same time."""
FACE_CROPS = 0.6  # share of the crops that are around a face
FACE_WEIGHT = 4.0
KL_WEIGHT = 1e-4
MAX_NOISE = 0.15
"""Standard deviation, in the latents' units: a UNet's errors must not become a texture."""
OLD_WEIGHT = 2.0  # of the squared distance to the latents that it started with
LANDMARK_WEIGHT = 3.0
LANDMARK_SIZE = 9.0  # pixels: standard deviation of the bumps on eyes, nose and mouth


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Turn images (N, H, W, 3) into a tensor (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def reconstruction_loss(output: Tensor, target: Tensor, face: Tensor) -> Tensor:
    """L1 + 2 MSE + L1 of pixel differences (edges) and of means of cells (colours), faces weighted.

    Without the term for means, hues of large flat areas are learned late: group norms hide them
    from the deeper layers, and they matter little to pixel losses.

    Args:
        output: (N, 3, H, W).
        target: (N, 3, H, W).
        face: (N, 1, H, W), 0 outside of faces.
    """
    weight = (1 + (FACE_WEIGHT - 1) * face) / (1 + (FACE_WEIGHT - 1) * face.mean())
    error = output - target
    loss = (weight * (error.abs() + 2 * error**2)).mean()
    for dim in (-1, -2):
        edges = error.diff(dim=dim).abs()
        loss = loss + 0.5 * (weight.narrow(dim, 1, edges.shape[dim]) * edges).mean()
    return loss + 3 * F.avg_pool2d(weight * error, CELL).abs().mean()


def train_vae(data: Path, folder: Path, minutes: float, resume: bool, device: str = "cpu") -> None:
    """Train on images of one person and of two, and write `<folder>/vae`.

    It starts from `<folder>/start/vae` and keeps its latents, so that the UNet stays valid.
    """
    torch.manual_seed(0)
    place = torch.device(device)
    vae = channels_last(AutoencoderKL.from_pretrained(folder / "start" / "vae"))
    old = copy.deepcopy(vae).requires_grad_(False).to(place)
    single, pair = load_store(data / "vae_single"), load_store(data / "vae_pair")

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((1, step))
        store = pair if step % 4 == 3 else single
        whole = step % 8 == 7
        images, face = crops(store, 256 if whole else CROP, BATCH // 3 if whole else BATCH, rng)
        images = images.to(place).contiguous(memory_format=torch.channels_last)
        posterior = vae.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(step))
        spread = torch.from_numpy(rng.uniform(0, MAX_NOISE, (len(images), 1, 1, 1))).float()
        noisy = posterior.mean + (posterior.std + spread.to(place)) * noise.to(place)
        output = vae.decode(noisy).sample
        with torch.no_grad():
            before = old.encode(images).latent_dist.mean
        return {
            "rec": reconstruction_loss(output, images, face.to(place)),
            "kl": KL_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel(),
            "old": OLD_WEIGHT * F.mse_loss(posterior.mean, before),
        }

    budget = Budget(minutes, learning_rate=4e-4, warmup_steps=30, decay_share=0.6, ema=0.997)
    train("vae", vae, losses, budget, folder, resume, device).save_pretrained(folder / "vae")


def face_weights(
    masks: NDArray[np.uint8], landmarks: NDArray[np.float32], corner: tuple[int, int] = (0, 0)
) -> Tensor:
    """Return face masks with Gaussian bumps on eyes, noses and mouths.

    Teeth and brows are a few pixels each: without the bumps, a loss neglects them, and with them
    the expression.

    Args:
        masks: (N, h, w), of the latents' size, 0 to 255.
        landmarks: (N, P, 5, 2), in pixels.
        corner: x and y in pixels of what the masks cover.

    Returns:
        (N, 1, H, W), 0 far from faces, up to 1 + LANDMARK_WEIGHT on landmarks.
    """
    face = torch.from_numpy(masks[:, None]).float().div_(255)
    face = F.interpolate(face, scale_factor=CELL)
    points = landmarks.reshape(len(landmarks), -1, 2) - np.array(corner, np.float32)
    bumps = gaussian_bumps(points, LANDMARK_SIZE, (face.shape[2], face.shape[3]))
    return face + LANDMARK_WEIGHT * torch.from_numpy(bumps)[:, None]


def crops(store: Store, size: int, n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return n random images, all cropped to the same square, and their face weights.

    Args:
        store: To sample from.
        size: Of the square in pixels, a multiple of CELL.
        n: Number of images.
        rng: Source of randomness; FACE_CROPS of the squares are around a face of the first image.

    Returns:
        Images (n, 3, size, size) in [-1, 1] and weights (n, 1, size, size), see `face_weights`.
    """
    index = rng.integers(len(store), size=n)
    height, width = store.images.shape[1:3]
    landmarks = np.array(store.landmarks[index])
    cells = np.array([(width - size) // CELL, (height - size) // CELL])
    at = rng.integers(cells + 1)
    if rng.random() < FACE_CROPS:
        middle = landmarks[0, rng.integers(landmarks.shape[1])].mean(0)
        near = np.round((middle - size / 2) / CELL).astype(int) + rng.integers(-1, 2, 2)
        at = np.clip(near, 0, cells)
    side = size // CELL
    x, y = (CELL * int(cell) for cell in at)
    images = to_tensor(store.images[index, y : y + size, x : x + size])
    masks = store.masks[index, at[1] : at[1] + side, at[0] : at[0] + side]
    return images, face_weights(np.array(masks), landmarks, (x, y))
