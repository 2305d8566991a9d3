"""The diffusion model: a UNet over the VAE's latents, conditioned on the text's hidden states.

In training a small head predicts from the UNet's features who is where and the attributes of the
caption, as in representation alignment (Yu et al., arXiv 2410.06940), with the ground truth in
place of another network's features.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from toonville.clip import WIDTH
from toonville.dataset import rare_rows
from toonville.devices import moved
from toonville.encoded import EMPTY_FILE, load_encoded
from toonville.identity import NUM_TRAITS
from toonville.layers import channels_last
from toonville.trainer import Budget, train
from toonville.unet_batches import Batch, sample_batch
from toonville.world import GROUPS, UNKNOWN

FACE_WEIGHT = 3.0
MIN_SNR = 5.0
SHARES = {
    "single": 0.12,
    "pair": 0.10,
    "triple": 0.06,
    "between_single": 0.42,
    "between_pair": 0.14,
    "between_triple": 0.06,
    "unknown_single": 0.10,
}
"""Kind of store -> share of the steps."""
BATCH = {1: 32, 2: 20, 3: 12}
"""Number of people -> examples of a step; one takes about as long as another."""
RARE = {"expression": ("sad", "angry")}  # oversampled: they change the brows by a few pixels
TRAITS_WEIGHT, ATTRIBUTES_WEIGHT = 0.3, 0.09  # of the head's losses; the diffusion loss has 1
LEARNING_RATE, FINE_TUNING_RATE = 8e-4, 4e-4
IN_FACES = ("expression", "accessory")  # groups that are predicted where the face is


def new_unet(channels: int) -> UNet2DConditionModel:
    """Return an untrained UNet: convolutions at 16 x 16, attention at 8 x 8.

    Args:
        channels: Of the latents.
    """
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(96, 160),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=(3, 5),  # diffusers' name for the number of heads
        cross_attention_dim=WIDTH,
        norm_num_groups=16,
    )


@torch.no_grad()
def grow_unet(unet: UNet2DConditionModel, channels: int) -> UNet2DConditionModel:
    """Return a copy of a UNet with more latent channels, behind the old ones.

    The old channels of its output are those of `unet`, and do not depend on the new ones of its
    input; the new channels of its output are 0.

    Args:
        unet: Stays as it is.
        channels: Of the copy, at least as many as `unet` has.
    """
    more = channels - unet.config.in_channels
    weights = unet.state_dict()
    inputs, outputs, bias = (
        weights[name] for name in ("conv_in.weight", "conv_out.weight", "conv_out.bias")
    )
    weights["conv_in.weight"] = F.pad(inputs, (0, 0, 0, 0, 0, more))
    weights["conv_out.weight"] = F.pad(outputs, (0, 0, 0, 0, 0, 0, 0, more))
    weights["conv_out.bias"] = F.pad(bias, (0, more))
    grown = UNet2DConditionModel.from_config(
        {**unet.config, "in_channels": channels, "out_channels": channels}
    )
    grown.load_state_dict(weights)
    return grown


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


class UNetTrainer(nn.Module):
    """The UNet, and the head on its features after the first attention of the up blocks."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet
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
        device = batch.latents.device
        timesteps = torch.randint(0, 1000, (len(batch.latents),), generator=generator).to(device)
        noise = torch.randn(batch.latents.shape, generator=generator).to(device)
        noisy_latents = scheduler.add_noise(batch.latents, noise, timesteps)
        target = scheduler.get_velocity(batch.latents, noise, timesteps)
        prediction, read = self.predict(
            noisy_latents.contiguous(memory_format=torch.channels_last),
            timesteps,
            batch.hidden_states,
        )
        errors = F.mse_loss(prediction, target, reduction="none")
        traits, attributes = alignment_losses(read, batch)
        alphas = scheduler.alphas_cumprod.to(device)[timesteps]
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
        face_weights: (N, h, w), see latent_face_weights.
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


def train_unet(data: Path, folder: Path, minutes: float, resume: bool, device: str = "cpu") -> None:
    """Train on encoded stores and write `<folder>/unet`.

    Starts from the UNet of `<folder>/start/unet` with the latents' number of channels; from
    nothing if there is none.

    Args:
        data: Has an encoded store `<kind>_encoded` for each kind of SHARES.
        folder: Of the models.
        minutes: See trainer.Budget.
        resume: See trainer.train.
        device: See trainer.train.
    """
    torch.manual_seed(0)
    stores = {kind: load_encoded(data / f"{kind}_encoded") for kind in SHARES}
    rare = {kind: rare_rows(stored.labels, RARE) for kind, stored in stores.items()}
    empty = torch.from_numpy(np.load(data / "single_encoded" / EMPTY_FILE)).float()
    channels = stores["single"].latents.shape[1]
    start = folder / "start" / "unet"
    if start.exists():
        unet = grow_unet(
            UNet2DConditionModel.from_pretrained(start, torch_dtype=torch.float32), channels
        )
        learning_rate = FINE_TUNING_RATE
    else:
        unet, learning_rate = new_unet(channels), LEARNING_RATE
    trainer, scheduler = channels_last(UNetTrainer(unet)), new_scheduler()
    place = torch.device(device)

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((3, step))
        kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        size = BATCH[stores[kind].traits.shape[1]]
        batch = sample_batch(stores[kind], rare[kind], empty, size, rng)
        parts: dict[str, Tensor] = trainer(
            scheduler, moved(batch, place), torch.Generator().manual_seed(int(rng.integers(2**31)))
        )
        return parts

    budget = Budget(minutes, learning_rate, ema=0.999, weight_decay=0.01)
    trained = train("unet", trainer, losses, budget, folder, resume, device)
    trained.unet.save_pretrained(folder / "unet")
