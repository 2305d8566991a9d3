"""The diffusion model: a UNet over the VAE's latents, told what to draw by the text states."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from toonville.clip import WIDTH
from toonville.dataset import load_store
from toonville.tokenizer import CONTEXT_LENGTH
from toonville.trainer import Budget, train
from toonville.vae import LATENT_CHANNELS, to_tensor

CAPTION_DROPOUT = 0.1
FACE_WEIGHT = 3.0
MIN_SNR = 5.0
BATCH = {"single": 32, "pair": 20}
PAIR_SHARE = 0.4


def new_unet() -> UNet2DConditionModel:
    """Return an untrained UNet: convolutions at 16 x 16, attention at 8 x 8."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(96, 160),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=(3, 5),  # diffusers' name for the number of heads
        cross_attention_dim=WIDTH,
        norm_num_groups=16,
    )


def new_scheduler() -> DDIMScheduler:
    """Return Stable Diffusion's noise schedule, with v-prediction."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


@dataclass(frozen=True, eq=False)
class Encoded:
    """A store as the UNet sees it."""

    latents: np.ndarray  # (N, C, h, w) float16
    faces: np.ndarray  # (N, h, w) uint8, share of face
    text_states: np.ndarray  # (N, CONTEXT_LENGTH, WIDTH) float16


@torch.no_grad()
def encode_texts(data: Path, folder: Path, out: Path, n: int) -> None:
    """Write the text states of the first n captions of a store, and of the empty caption."""
    captions = load_store(data).captions[:n]
    text_encoder = CLIPModel.from_pretrained(folder / "clip").text_model
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")

    def states_of(texts: list[str]) -> np.ndarray:
        ids = tokenizer(texts, padding="max_length", return_tensors="pt").input_ids
        return text_encoder(input_ids=ids).last_hidden_state.half().numpy()

    shape = (n, CONTEXT_LENGTH, WIDTH)
    states = np.lib.format.open_memmap(out / "text_states.npy", "w+", np.float16, shape)
    for start in range(0, n, 64):
        texts = [str(row["text"]) for row in captions[start : start + 64]]
        states[start : start + len(texts)] = states_of(texts)
    np.save(out / "empty.npy", states_of([""])[0])


@torch.no_grad()
def encode_pictures(data: Path, folder: Path, out: Path, n: int) -> None:
    """Write the latents of the first n pictures of a store."""
    pictures = load_store(data).pictures[:n]
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    shape = (n, LATENT_CHANNELS, pictures.shape[1] // 8, pictures.shape[2] // 8)
    latents = np.lib.format.open_memmap(out / "latents.npy", "w+", np.float16, shape)
    for start in range(0, n, 64):
        batch = to_tensor(pictures[start : start + 64])
        latents[start : start + len(batch)] = vae.encode(batch).latent_dist.mean.half().numpy()


def encode_store(data: Path, folder: Path, out: Path, n: int) -> None:
    """Encode the first n pictures and captions of a store, once; done already: left alone."""
    if (out / "done.json").exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    encode_texts(data, folder, out, n)
    encode_pictures(data, folder, out, n)
    (out / "done.json").write_text(json.dumps({"n": n}))


def load_encoded(data: Path, out: Path) -> Encoded:
    """Map an encoded store into memory."""
    latents = np.load(out / "latents.npy", mmap_mode="r")
    faces = load_store(data).masks[: len(latents)]
    return Encoded(latents, faces, np.load(out / "text_states.npy", mmap_mode="r"))


def diffusion_loss(
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler,
    batch: tuple[Tensor, Tensor, Tensor],
    generator: torch.Generator,
) -> Tensor:
    """v-prediction loss, weighted by min-SNR-5 (Hang et al. 2023) and towards faces."""
    latents, faces, states = batch
    timesteps = torch.randint(0, 1000, (len(latents),), generator=generator)
    noise = torch.randn(latents.shape, generator=generator)
    noisy_latents = scheduler.add_noise(latents, noise, timesteps)
    target = scheduler.get_velocity(latents, noise, timesteps)
    pred = unet(noisy_latents, timesteps, states).sample
    signal = scheduler.alphas_cumprod[timesteps]
    snr = signal / (1 - signal)
    weight = snr.clamp(max=MIN_SNR) / (snr + 1)
    spatial = 1 + (FACE_WEIGHT - 1) * faces[:, None]
    spatial = spatial / spatial.mean((1, 2, 3), keepdim=True)
    return (
        weight[:, None, None, None] * spatial * F.mse_loss(pred, target, reduction="none")
    ).mean()


def draw_batch(
    encoded: Encoded, empty: Tensor, size: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return latents, faces (N, h, w) in [0, 1] and text states of a random batch."""
    index = np.sort(rng.choice(len(encoded.latents), size, replace=False))
    states = torch.from_numpy(encoded.text_states[index]).float()
    states[torch.from_numpy(rng.random(size) < CAPTION_DROPOUT)] = empty
    latents = torch.from_numpy(encoded.latents[index]).float()
    return latents, torch.from_numpy(encoded.faces[index]).float() / 255, states


def train_unet(data: Path, folder: Path, minutes: float, resume: bool) -> UNet2DConditionModel:
    """Train on encoded pictures of one person and of two; see encode_store."""
    torch.manual_seed(0)
    unet, scheduler = new_unet(), new_scheduler()
    stores = {kind: load_encoded(data / kind, data / f"{kind}_encoded") for kind in BATCH}
    empty = torch.from_numpy(np.load(data / "single_encoded" / "empty.npy")).float()

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((3, step))
        kind = "pair" if rng.random() < PAIR_SHARE else "single"
        batch = draw_batch(stores[kind], empty, BATCH[kind], rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        return {kind: diffusion_loss(unet, scheduler, batch, generator)}

    budget = Budget(minutes, learning_rate=8e-4, ema=0.999, weight_decay=0.01)
    trained = train("unet", unet, losses, budget, folder, resume)
    trained.save_pretrained(folder / "unet")
    return trained
