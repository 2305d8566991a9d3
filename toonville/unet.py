"""The diffusion model: a UNet over the VAE's latents, told what to draw by the text states.

In training a small head reads from the UNet's features who is where and what the caption says, as
in representation alignment (Yu et al. 2024), with the truth in place of another network's view.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTokenizer

from celeb_core.basis import K
from celeb_core.encoders import TextEncoder
from celeb_core.prompt import encode_texts
from toonville.between import BETWEEN_FILE, load_between, text_encoder, words_in
from toonville.clip import WIDTH, text_tower
from toonville.dataset import draw_rows, load_store, rare_rows
from toonville.identity import NUM_TRAITS
from toonville.tokenizer import CONTEXT_LENGTH
from toonville.trainer import Budget, train
from toonville.vae import LATENT_CHANNELS, features, to_tensor
from toonville.world import GROUPS, UNKNOWN

CAPTION_DROPOUT = 0.1
FACE_WEIGHT = 3.0
MIN_SNR = 5.0
BATCH = {
    "single": 32,
    "pair": 20,
    "between_single": 32,
    "between_pair": 20,
    "unknown_single": 32,
}
RARE = {"expression": ("sad", "angry")}  # brows are turned by a few pixels
RARE_SHARE = 0.25  # of a batch, oversampled to show one of RARE
SHARES = (0.10, 0.08, 0.50, 0.18, 0.14)  # of the steps, in the order of BATCH
TRAITS_WEIGHT, SAID_WEIGHT = 0.3, 0.09  # of what the head is asked, beside the diffusion loss
IN_FACES = ("expression", "accessory")  # groups that are read where the face is


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
    """A store as the UNet sees it, or a batch of it."""

    latents: np.ndarray  # (N, C, h, w) float16
    faces: np.ndarray  # (N, h, w) uint8, share of face
    text_states: np.ndarray  # (N, CONTEXT_LENGTH, WIDTH) float16
    traits: np.ndarray  # (N, P, NUM_TRAITS)
    landmarks: np.ndarray  # (N, P, 5, 2), pixels
    labels: np.ndarray  # (N, len(GROUPS)): see world.labels_of

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, index: np.ndarray) -> Encoded:
        return Encoded(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


@torch.no_grad()
def encode_captions(data: Path, folder: Path, out: Path, n: int) -> None:
    """Write the text states of the first n captions of a store, and of the empty caption."""
    captions = load_store(data).captions[:n]
    encoder = load_text_encoder(folder)
    people = load_between(data.parent / BETWEEN_FILE)

    def states_of(rows: list[dict[str, object]]) -> np.ndarray:
        words = [words_in(row, people) for row in rows]
        said = encode_texts([str(row["text"]) for row in rows], words, K, (encoder,))
        return said.states.half().numpy()

    shape = (n, CONTEXT_LENGTH, WIDTH)
    states = np.lib.format.open_memmap(out / "text_states.npy", "w+", np.float16, shape)
    for start in range(0, n, 64):
        rows = captions[start : start + 64]
        states[start : start + len(rows)] = states_of(rows)
    np.save(out / "empty.npy", states_of([{"text": "", "names": [], "who": []}])[0])


def load_text_encoder(folder: Path) -> TextEncoder:
    """Return the text tower of a training folder."""
    clip = CLIPModel.from_pretrained(folder / "clip")
    return text_encoder(text_tower(clip), CLIPTokenizer.from_pretrained(folder / "tokenizer"))


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
    encode_captions(data, folder, out, n)
    encode_pictures(data, folder, out, n)
    (out / "done.json").write_text(json.dumps({"n": n}))


def load_encoded(data: Path, out: Path) -> Encoded:
    """Map an encoded store into memory."""
    latents = np.load(out / "latents.npy", mmap_mode="r")
    store, n = load_store(data), len(latents)
    return Encoded(
        latents,
        store.masks[:n],
        np.load(out / "text_states.npy", mmap_mode="r"),
        store.traits[:n],
        store.landmarks[:n],
        store.labels[:n],
    )


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step learns from."""

    latents: Tensor  # (N, C, h, w)
    faces: Tensor  # (N, h, w), share of face in [0, 1]
    features: Tensor  # (N, h, w), the same with hills on eyes, noses and mouths; see vae.features
    text_states: Tensor  # (N, CONTEXT_LENGTH, WIDTH)
    has_caption: Tensor  # (N,) bool; false: the empty caption
    traits: Tensor  # (N, NUM_TRAITS, h / 2, w / 2), of the person whose half of the picture it is
    labels: Tensor  # (N, len(GROUPS)); UNKNOWN where there is no caption


def draw_batch(
    encoded: Encoded,
    rare: Sequence[NDArray[np.int64]],
    empty: Tensor,
    size: int,
    rng: np.random.Generator,
) -> Batch:
    """Return random examples, RARE_SHARE of them of the `rare` rows, CAPTION_DROPOUT of them
    without their caption."""
    rows = encoded[draw_rows(rare, len(encoded), size, rng, RARE_SHARE)]
    has_caption = torch.from_numpy(rng.random(size) >= CAPTION_DROPOUT)
    states = torch.from_numpy(rows.text_states).float()
    states[~has_caption] = empty
    labels = torch.from_numpy(rows.labels).long()
    labels[~has_caption] = UNKNOWN
    height, width = rows.latents.shape[2] // 2, rows.latents.shape[3] // 2
    middle = torch.from_numpy(rows.landmarks[..., 0].mean((1, 2)) / 16)
    right = torch.arange(width) + 0.5 > middle[:, None]
    if rows.traits.shape[1] == 1:
        right[:] = False
    traits = torch.from_numpy(rows.traits)
    sides = torch.where(right[:, None], traits[:, -1, :, None], traits[:, 0, :, None])
    return Batch(
        torch.from_numpy(rows.latents).float(),
        torch.from_numpy(rows.faces).float() / 255,
        F.avg_pool2d(features(rows.faces, rows.landmarks), 8)[:, 0],
        states,
        has_caption,
        sides[:, :, None].expand(-1, -1, height, -1),
        labels,
    )


class UNetTrainer(nn.Module):
    """The UNet, and the head that reads its features after the first attention on the way up."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = new_unet()
        layer = self.unet.up_blocks[0].attentions[0]
        outputs = NUM_TRAITS + sum(map(len, GROUPS.values()))
        self.head = nn.Sequential(
            nn.Conv2d(layer.out_channels, 256, 1), nn.SiLU(), nn.Conv2d(256, outputs, 1)
        )

    def predict(
        self, noisy_latents: Tensor, timesteps: Tensor, states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the prediction (N, C, h, w) and what the head reads (N, outputs, h/2, w/2)."""
        features: list[Tensor] = []
        hook = (
            self.unet.up_blocks[0]
            .attentions[0]
            .register_forward_hook(lambda _module, _inputs, output: features.append(output[0]))
        )
        try:
            prediction = self.unet(noisy_latents, timesteps, states).sample
        finally:
            hook.remove()
        return prediction, self.head(features[0])

    def forward(
        self, scheduler: DDIMScheduler, batch: Batch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the losses of one step, at random times and with random noise."""
        timesteps = torch.randint(0, 1000, (len(batch.latents),), generator=generator)
        noise = torch.randn(batch.latents.shape, generator=generator)
        noisy_latents = scheduler.add_noise(batch.latents, noise, timesteps)
        target = scheduler.get_velocity(batch.latents, noise, timesteps)
        prediction, read = self.predict(
            noisy_latents.contiguous(memory_format=torch.channels_last),
            timesteps,
            batch.text_states,
        )
        errors = F.mse_loss(prediction, target, reduction="none")
        traits, said = alignment_losses(read, batch)
        return {
            "velocity": diffusion_loss(errors, scheduler.alphas_cumprod[timesteps], batch.features),
            "traits": TRAITS_WEIGHT * traits,
            "said": SAID_WEIGHT * said,
        }


def diffusion_loss(errors: Tensor, signal: Tensor, faces: Tensor) -> Tensor:
    """Mean of squared v-errors (N, C, h, w), weighted towards faces (N, h, w), at least 0.

    `faces` may pass 1 where a face's features are (`Batch.features`).
    `signal` (N,) is the share of signal, alpha bar. A v-loss weighs errors of the picture with
    SNR + 1; that is capped at MIN_SNR. Hang et al. (2023) cap SNR itself, which leaves next to
    nothing for high noise, where the caption decides.
    """
    weight = (MIN_SNR * (1 - signal)).clamp(max=1)  # min(SNR + 1, MIN_SNR) / (SNR + 1)
    spatial = 1 + (FACE_WEIGHT - 1) * faces[:, None]
    spatial = spatial / spatial.mean((1, 2, 3), keepdim=True)
    return (weight[:, None, None, None] * spatial * errors).mean()


def alignment_losses(read: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Squared error of the traits where faces are; cross-entropy of what captions say."""
    faces = F.avg_pool2d(batch.faces[:, None], 2) * batch.has_caption[:, None, None, None]
    traits, logits = read[:, :NUM_TRAITS], read[:, NUM_TRAITS:]
    errors = (faces * (traits - batch.traits) ** 2).sum() / (NUM_TRAITS * faces.sum() + 1e-6)
    everywhere = logits.mean((2, 3))
    in_faces = (faces * logits).sum((2, 3)) / (faces.sum((2, 3)) + 1e-6)
    said, first = [], 0
    for i, (group, values) in enumerate(GROUPS.items()):
        answer = (in_faces if group in IN_FACES else everywhere)[:, first : first + len(values)]
        wrong = F.cross_entropy(answer, batch.labels[:, i], ignore_index=UNKNOWN, reduction="sum")
        said.append(wrong / len(read))
        first += len(values)
    return errors, torch.stack(said).mean()


def train_unet(
    data: Path, folder: Path, minutes: float, resume: bool, go_on: bool
) -> UNet2DConditionModel:
    """Train on encoded pictures of one person and of two; see encode_store.

    `go_on` starts from the UNet of `folder` (see export.unpack), where no checkpoint is left.
    """
    torch.manual_seed(0)
    trainer, scheduler = UNetTrainer(), new_scheduler()
    if go_on:
        trainer.unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    trainer.to(memory_format=torch.channels_last)
    stores = {kind: load_encoded(data / kind, data / f"{kind}_encoded") for kind in BATCH}
    rare = {kind: rare_rows(stored.labels, RARE) for kind, stored in stores.items()}
    empty = torch.from_numpy(np.load(data / "single_encoded" / "empty.npy")).float()

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((3, step))
        kind = str(rng.choice(list(BATCH), p=SHARES))
        batch = draw_batch(stores[kind], rare[kind], empty, BATCH[kind], rng)
        parts: dict[str, Tensor] = trainer(
            scheduler, batch, torch.Generator().manual_seed(int(rng.integers(2**31)))
        )
        return parts

    rate = 4e-4 if go_on else 8e-4  # a trained UNet is not to be shaken too much
    budget = Budget(minutes, learning_rate=rate, ema=0.999, weight_decay=0.01)
    trained: UNet2DConditionModel = train("unet", trainer, losses, budget, folder, resume).unet  # type: ignore[assignment]
    trained.save_pretrained(folder / "unet")
    return trained
