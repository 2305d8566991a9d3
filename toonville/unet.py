"""The diffusion model: a UNet over the VAE's latents, conditioned on the text's hidden states.

In training a small head predicts from the UNet's features who is where and the attributes of the
caption, as in representation alignment (Yu et al., arXiv 2410.06940), with the ground truth in
place of another network's features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn

from toonville.clip import WIDTH
from toonville.dataset import rare_rows, sample_rows
from toonville.encoded import Encoded, load_encoded
from toonville.identity import NUM_TRAITS
from toonville.layers import channels_last
from toonville.trainer import Budget, train
from toonville.vae import LATENT_CHANNELS, face_weights
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
RARE = {"expression": ("sad", "angry")}  # they change the brows by a few pixels
RARE_SHARE = 0.25  # of a batch, oversampled to show one of RARE
SHARES = (0.10, 0.08, 0.50, 0.18, 0.14)  # of the steps, in the order of BATCH
TRAITS_WEIGHT, ATTRIBUTES_WEIGHT = 0.3, 0.09  # of the head's losses; the diffusion loss has 1
IN_FACES = ("expression", "accessory")  # groups that are predicted where the face is


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
class Batch:
    """The examples of one step."""

    latents: Tensor  # (N, C, h, w)
    faces: Tensor  # (N, h, w), share of face in [0, 1]
    face_weights: Tensor  # (N, h, w), see vae.face_weights
    hidden_states: Tensor  # (N, CONTEXT_LENGTH, WIDTH)
    has_caption: Tensor  # (N,) bool; false: the empty caption
    traits: Tensor  # (N, NUM_TRAITS, h / 2, w / 2), of the person in that half of the image
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
        F.avg_pool2d(face_weights(rows.faces, rows.landmarks), 8)[:, 0],
        states,
        has_caption,
        sides[:, :, None].expand(-1, -1, height, -1),
        labels,
    )


class UNetTrainer(nn.Module):
    """The UNet, and the head on its features after the first attention of the up blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = new_unet()
        layer = self.unet.up_blocks[0].attentions[0]
        outputs = NUM_TRAITS + sum(map(len, GROUPS.values()))
        self.head = nn.Sequential(
            nn.Conv2d(layer.out_channels, 256, 1), nn.SiLU(), nn.Conv2d(256, outputs, 1)
        )

    def predict(
        self, noisy_latents: Tensor, timesteps: Tensor, hidden_states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run the UNet and the head.

        Args:
            noisy_latents: (N, C, h, w).
            timesteps: (N,).
            hidden_states: (N, CONTEXT_LENGTH, WIDTH).

        Returns:
            The velocity (N, C, h, w), and the head's traits and logits (N, outputs, h/2, w/2).
        """
        features: list[Tensor] = []
        hook = (
            self.unet.up_blocks[0]
            .attentions[0]
            .register_forward_hook(lambda _module, _inputs, output: features.append(output[0]))
        )
        try:
            prediction = self.unet(noisy_latents, timesteps, hidden_states).sample
        finally:
            hook.remove()
        return prediction, self.head(features[0])

    def forward(
        self, scheduler: DDIMScheduler, batch: Batch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the losses of one step, at random timesteps and with random noise."""
        timesteps = torch.randint(0, 1000, (len(batch.latents),), generator=generator)
        noise = torch.randn(batch.latents.shape, generator=generator)
        noisy_latents = scheduler.add_noise(batch.latents, noise, timesteps)
        target = scheduler.get_velocity(batch.latents, noise, timesteps)
        prediction, read = self.predict(
            noisy_latents.contiguous(memory_format=torch.channels_last),
            timesteps,
            batch.hidden_states,
        )
        errors = F.mse_loss(prediction, target, reduction="none")
        traits, attributes = alignment_losses(read, batch)
        alphas = scheduler.alphas_cumprod[timesteps]
        return {
            "velocity": diffusion_loss(errors, alphas, batch.face_weights),
            "traits": TRAITS_WEIGHT * traits,
            "attributes": ATTRIBUTES_WEIGHT * attributes,
        }


def diffusion_loss(errors: Tensor, alphas_cumprod: Tensor, face_weights: Tensor) -> Tensor:
    """Weighted mean of squared errors of the velocity.

    A velocity loss weighs errors of the image by SNR + 1; that is capped at MIN_SNR. Hang et al.
    (arXiv 2303.09556) cap SNR itself, which leaves next to nothing for high noise, where the
    caption matters.

    Args:
        errors: (N, C, h, w).
        alphas_cumprod: (N,), of the timesteps.
        face_weights: (N, h, w), see vae.face_weights.
    """
    weight = (MIN_SNR * (1 - alphas_cumprod)).clamp(max=1)  # min(SNR + 1, MIN_SNR) / (SNR + 1)
    spatial = 1 + (FACE_WEIGHT - 1) * face_weights[:, None]
    spatial = spatial / spatial.mean((1, 2, 3), keepdim=True)
    return (weight[:, None, None, None] * spatial * errors).mean()


def alignment_losses(read: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the losses of the head's output (N, outputs, h/2, w/2).

    The squared error of the traits where faces are, and the cross-entropy of the attributes.
    """
    faces = F.avg_pool2d(batch.faces[:, None], 2) * batch.has_caption[:, None, None, None]
    traits, logits = read[:, :NUM_TRAITS], read[:, NUM_TRAITS:]
    errors = (faces * (traits - batch.traits) ** 2).sum() / (NUM_TRAITS * faces.sum() + 1e-6)
    everywhere = logits.mean((2, 3))
    in_faces = (faces * logits).sum((2, 3)) / (faces.sum((2, 3)) + 1e-6)
    losses, first = [], 0
    for i, (group, values) in enumerate(GROUPS.items()):
        answer = (in_faces if group in IN_FACES else everywhere)[:, first : first + len(values)]
        loss = F.cross_entropy(answer, batch.labels[:, i], ignore_index=UNKNOWN, reduction="sum")
        losses.append(loss / len(read))
        first += len(values)
    return errors, torch.stack(losses).mean()


def train_unet(data: Path, folder: Path, minutes: float, resume: bool, fine_tune: bool) -> None:
    """Train on encoded stores of one person and of two, and write `<folder>/unet`.

    Args:
        data: Has the stores of BATCH and their `encode_store`s.
        folder: Of the models.
        minutes: See trainer.Budget.
        resume: See trainer.train.
        fine_tune: Start from `<folder>/unet` (see export.unpack), for where no checkpoint is left.
    """
    torch.manual_seed(0)
    trainer, scheduler = UNetTrainer(), new_scheduler()
    if fine_tune:
        trainer.unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    trainer = channels_last(trainer)
    stores = {kind: load_encoded(data / kind, data / f"{kind}_encoded") for kind in BATCH}
    rare = {kind: rare_rows(stored.labels, RARE) for kind, stored in stores.items()}
    empty = torch.from_numpy(np.load(data / "single_encoded" / "empty.npy")).float()

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((3, step))
        kind = str(rng.choice(list(BATCH), p=SHARES))
        batch = sample_batch(stores[kind], rare[kind], empty, BATCH[kind], rng)
        parts: dict[str, Tensor] = trainer(
            scheduler, batch, torch.Generator().manual_seed(int(rng.integers(2**31)))
        )
        return parts

    rate = 4e-4 if fine_tune else 8e-4
    budget = Budget(minutes, learning_rate=rate, ema=0.999, weight_decay=0.01)
    trained = train("unet", trainer, losses, budget, folder, resume)
    trained.unet.save_pretrained(folder / "unet")
