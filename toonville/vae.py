"""The autoencoder: pictures to latents an eighth of the size, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn

from celeb_core.views import hills
from toonville.dataset import Store, draw_rows, load_store, rare_rows
from toonville.trainer import Budget, train

LATENT_CHANNELS = 8
BATCH = 8
CROP = 64
"""Most steps see cut-outs: four times as many steps in the same time (docs/toonville.md)."""
FACE_WEIGHT = 4.0
KL_WEIGHT = 1e-4
DECODER_BATCH = 6
MAX_NOISE = 0.2  # standard deviation, in units of the latents'
FEATURE_WEIGHT = 3.0
FEATURE_SIZE = 5.0  # pixels: eyes, nose and mouth, around their landmarks
RARE = {"style": ("pixel art",), "expression": ("sad", "angry")}
RARE_SHARE = 0.5
"""Of the decoder's pictures, oversampled to show one of RARE: what is seldom is blurred first."""


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


def to_tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) bytes to (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def reconstruction_loss(output: Tensor, target: Tensor, face: Tensor) -> Tensor:
    """L1 + 2 MSE + L1 of pixel differences (edges) and of 8 x 8 means (colours), faces weighted.

    Without the term for means, hues of large flat areas come late: group norms hide them from the
    deeper layers, and pixel losses see little of them. `face` is (N, 1, H, W), at least 0.
    """
    weight = (1 + (FACE_WEIGHT - 1) * face) / (1 + (FACE_WEIGHT - 1) * face.mean())
    error = output - target
    loss = (weight * (error.abs() + 2 * error**2)).mean()
    for dim in (-1, -2):
        edges = error.diff(dim=dim).abs()
        loss = loss + 0.5 * (weight.narrow(dim, 1, edges.shape[dim]) * edges).mean()
    return loss + 3 * F.avg_pool2d(weight * error, 8).abs().mean()


def train_vae(data: Path, folder: Path, minutes: float, resume: bool) -> AutoencoderKL:
    """Train on pictures of one person and of two."""
    torch.manual_seed(0)
    vae = new_vae()
    single, pair = load_store(data / "single"), load_store(data / "pair")

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((1, step))
        store = pair if step % 4 == 3 else single
        whole = step % 5 == 4
        pictures, face = crops(store, 128 if whole else CROP, BATCH // 2 if whole else BATCH, rng)
        posterior = vae.encode(pictures).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(step))
        output = vae.decode(posterior.mean + posterior.std * noise).sample
        return {
            "rec": reconstruction_loss(output, pictures, face),
            "kl": KL_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel(),
        }

    budget = Budget(minutes, learning_rate=1.5e-3, ema=0.998)
    vae = train("vae", vae, losses, budget, folder, resume)
    with torch.no_grad():
        normalise_latents(vae, to_tensor(single.pictures[:256]))
    vae.save_pretrained(folder / "vae")
    return vae


def train_decoder(data: Path, folder: Path, minutes: float, resume: bool) -> AutoencoderKL:
    """Fine-tune the decoder on latents with noise, as a UNet's are; see unet.encode_store.

    The encoder packs pictures tightly (its own noise is 0.3 % of the latents), so that small
    errors of the UNet would become blotches. The latents stay what they are: no new UNet.
    """
    torch.manual_seed(1)
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    decoder = nn.ModuleDict({"post_quant_conv": vae.post_quant_conv, "decoder": vae.decoder})
    stores = {kind: load_store(data / kind) for kind in ("single", "pair")}
    latents = {
        kind: np.load(data / f"{kind}_encoded" / "latents.npy", mmap_mode="r") for kind in stores
    }
    rare = {kind: rare_rows(stores[kind].labels[: len(latents[kind])], RARE) for kind in stores}

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((6, step))
        kind = "pair" if step % 4 == 3 else "single"
        index = draw_rows(rare[kind], len(latents[kind]), DECODER_BATCH, rng, RARE_SHARE)
        clean = torch.from_numpy(latents[kind][index]).float()
        spread = torch.from_numpy(rng.uniform(0, MAX_NOISE, (DECODER_BATCH, 1, 1, 1))).float()
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(step))
        output = vae.decode(clean + spread * noise).sample
        target = to_tensor(stores[kind].pictures[index])
        weights = features(stores[kind].masks[index], stores[kind].landmarks[index])
        return {"rec": reconstruction_loss(output, target, weights)}

    budget = Budget(minutes, learning_rate=5e-4, ema=0.995)
    trained = train("decoder", decoder, losses, budget, folder, resume)
    decoder.load_state_dict(trained.state_dict())
    vae.save_pretrained(folder / "vae")
    return vae


def features(masks: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> Tensor:
    """Return face masks with hills on eyes, noses and mouths, (N, 1, H, W).

    masks (N, h, w) are of latents' size, landmarks (N, P, 5, 2) in pixels. Teeth and brows are a
    few pixels each: without the hills, a loss lets them go, and with them the expression.
    """
    face = torch.from_numpy(masks[:, None]).float().div_(255)
    face = F.interpolate(face, scale_factor=8)
    points = landmarks.reshape(len(landmarks), -1, 2)
    weights = hills(points, FEATURE_SIZE, (face.shape[2], face.shape[3]))
    return face + FEATURE_WEIGHT * torch.from_numpy(weights)[:, None]


def crops(store: Store, size: int, n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return n pictures cut to size x size at one random place, and their face masks."""
    index = rng.integers(len(store), size=n)
    height, width = store.pictures.shape[1:3]
    y, x = (8 * int(rng.integers((side - size) // 8 + 1)) for side in (height, width))
    pictures = to_tensor(store.pictures[index, y : y + size, x : x + size])
    y, x, cells = y // 8, x // 8, size // 8
    mask = torch.from_numpy(store.masks[index, None, y : y + cells, x : x + cells])
    return pictures, F.interpolate(mask.float().div_(255), scale_factor=8)


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Fold the latents' mean and spread per channel into the 1x1 convolutions on both sides.

    Afterwards every channel of the latents has mean 0 and standard deviation 1, and the pipeline's
    single `scaling_factor` is 1.
    """
    latents = torch.cat([vae.encode(p).latent_dist.mean for p in pictures.split(32)])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    quant, post = vae.quant_conv, vae.post_quant_conv
    post.bias += (post.weight[:, :, 0, 0] * mean).sum(1)
    post.weight *= std[None, :, None, None]
    n = len(mean)
    quant.weight[:n] /= std[:, None, None, None]
    quant.bias[:n] = (quant.bias[:n] - mean) / std
    quant.bias[n:] -= 2 * std.log()  # log-variances
