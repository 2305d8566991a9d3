"""The autoencoder: images -> latents an eighth of the size, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn

from celeb_core.augmentation import gaussian_bumps
from toonville.dataset import Store, load_store, rare_rows, sample_rows
from toonville.trainer import Budget, train

LATENT_CHANNELS = 8
BATCH = 8
LATENTS_FILE = "latents.npy"  # of an encoded.encode_store
CROP = 64
"""Most steps train on crops: four times as many steps in the same time."""
FACE_WEIGHT = 4.0
KL_WEIGHT = 1e-4
DECODER_BATCH = 6
MAX_NOISE = 0.2  # standard deviation, in units of the latents'
LANDMARK_WEIGHT = 3.0
LANDMARK_SIZE = 5.0  # pixels: standard deviation of the bumps on eyes, nose and mouth
RARE = {"style": ("pixel art",), "expression": ("sad", "angry")}
RARE_SHARE = 0.5
"""Of the decoder's images, oversampled to show one of RARE: what is rare is blurred first."""


def new_vae() -> AutoencoderKL:
    """Return an untrained autoencoder, f = 8."""
    return AutoencoderKL(
        block_out_channels=(16, 16, 48, 96),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=LATENT_CHANNELS,
        layers_per_block=1,
        norm_num_groups=1,  # per-group norms of few channels hide the colours of large areas
        mid_block_add_attention=False,
        sample_size=128,
        scaling_factor=1.0,
    )


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Turn images (N, H, W, 3) into a tensor (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def reconstruction_loss(output: Tensor, target: Tensor, face: Tensor) -> Tensor:
    """L1 + 2 MSE + L1 of pixel differences (edges) and of 8 x 8 means (colours), faces weighted.

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
    return loss + 3 * F.avg_pool2d(weight * error, 8).abs().mean()


def train_vae(data: Path, folder: Path, minutes: float, resume: bool) -> None:
    """Train on images of one person and of two, and write `<folder>/vae`."""
    torch.manual_seed(0)
    vae = new_vae()
    single, pair = load_store(data / "single"), load_store(data / "pair")

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((1, step))
        store = pair if step % 4 == 3 else single
        whole = step % 5 == 4
        images, face = crops(store, 128 if whole else CROP, BATCH // 2 if whole else BATCH, rng)
        posterior = vae.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(step))
        output = vae.decode(posterior.mean + posterior.std * noise).sample
        return {
            "rec": reconstruction_loss(output, images, face),
            "kl": KL_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel(),
        }

    budget = Budget(minutes, learning_rate=1.5e-3, ema=0.998)
    vae = train("vae", vae, losses, budget, folder, resume)
    with torch.no_grad():
        normalise_latents(vae, to_tensor(single.images[:256]))
    vae.save_pretrained(folder / "vae")


def train_decoder(data: Path, folder: Path, minutes: float, resume: bool) -> None:
    """Fine-tune the decoder of `<folder>/vae` on latents with noise, such as a UNet's are.

    The encoder's own noise is only 0.3 % of the latents, so that small errors of the UNet would
    become blotches. The latents stay what they are: the UNet needs no training. Needs the encoded
    stores, see encoded.encode_store.
    """
    torch.manual_seed(1)
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    decoder = nn.ModuleDict({"post_quant_conv": vae.post_quant_conv, "decoder": vae.decoder})
    stores = {kind: load_store(data / kind) for kind in ("single", "pair")}
    latents = {
        kind: np.load(data / f"{kind}_encoded" / LATENTS_FILE, mmap_mode="r") for kind in stores
    }
    rare = {kind: rare_rows(stores[kind].labels[: len(latents[kind])], RARE) for kind in stores}

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((6, step))
        kind = "pair" if step % 4 == 3 else "single"
        index = sample_rows(rare[kind], len(latents[kind]), DECODER_BATCH, rng, RARE_SHARE)
        clean = torch.from_numpy(latents[kind][index]).float()
        spread = torch.from_numpy(rng.uniform(0, MAX_NOISE, (DECODER_BATCH, 1, 1, 1))).float()
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(step))
        output = vae.decode(clean + spread * noise).sample
        target = to_tensor(stores[kind].images[index])
        weights = face_weights(stores[kind].masks[index], stores[kind].landmarks[index])
        return {"rec": reconstruction_loss(output, target, weights)}

    budget = Budget(minutes, learning_rate=5e-4, ema=0.995)
    trained = train("decoder", decoder, losses, budget, folder, resume)
    decoder.load_state_dict(trained.state_dict())
    vae.save_pretrained(folder / "vae")


def face_weights(masks: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> Tensor:
    """Return face masks with Gaussian bumps on eyes, noses and mouths.

    Teeth and brows are a few pixels each: without the bumps, a loss neglects them, and with them
    the expression.

    Args:
        masks: (N, h, w), of the latents' size, 0 to 255.
        landmarks: (N, P, 5, 2), in pixels.

    Returns:
        (N, 1, H, W), 0 far from faces, up to 1 + LANDMARK_WEIGHT on landmarks.
    """
    face = torch.from_numpy(masks[:, None]).float().div_(255)
    face = F.interpolate(face, scale_factor=8)
    points = landmarks.reshape(len(landmarks), -1, 2)
    bumps = gaussian_bumps(points, LANDMARK_SIZE, (face.shape[2], face.shape[3]))
    return face + LANDMARK_WEIGHT * torch.from_numpy(bumps)[:, None]


def crops(store: Store, size: int, n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return n random images, all cropped to the same random square, and their face masks.

    Args:
        store: To sample from.
        size: Of the square in pixels, a multiple of 8.
        n: Number of images.
        rng: Source of randomness.

    Returns:
        Images (n, 3, size, size) in [-1, 1] and masks (n, 1, size, size) in [0, 1].
    """
    index = rng.integers(len(store), size=n)
    height, width = store.images.shape[1:3]
    y, x = (8 * int(rng.integers((side - size) // 8 + 1)) for side in (height, width))
    images = to_tensor(store.images[index, y : y + size, x : x + size])
    y, x, cells = y // 8, x // 8, size // 8
    mask = torch.from_numpy(store.masks[index, None, y : y + cells, x : x + cells])
    return images, F.interpolate(mask.float().div_(255), scale_factor=8)


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, images: Tensor) -> None:
    """Fold the latents' mean and deviation per channel into the 1x1 convolutions on both sides.

    Afterwards every channel of the images' latents has mean 0 and standard deviation 1, and the
    pipeline's single `scaling_factor` is 1.

    Args:
        vae: Changed in place.
        images: (N, 3, H, W) in [-1, 1].
    """
    latents = torch.cat([vae.encode(p).latent_dist.mean for p in images.split(32)])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    quant, post = vae.quant_conv, vae.post_quant_conv
    post.bias += (post.weight[:, :, 0, 0] * mean).sum(1)
    post.weight *= std[None, :, None, None]
    n = len(mean)
    quant.weight[:n] /= std[:, None, None, None]
    quant.bias[:n] = (quant.bias[:n] - mean) / std
    quant.bias[n:] -= 2 * std.log()  # log-variances
