"""The VAE's decoder, fine-tuned on latents such as a UNet's are, to sharp images.

The encoder's own noise is only 0.3 % of the latents, so that small errors of the UNet would become
blotches; and the mean of all images that fit a blurred latent is a blurred image, so that a
discriminator of patches (Isola et al., arXiv 1611.07004) is trained against the decoder. The
latents stay what they are: the UNet needs no training for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.func import functional_call

from toonville.dataset import Captioned, captioned, rare_rows, sample_rows
from toonville.encoded import Encoded, load_encoded
from toonville.layers import channels_last
from toonville.render import render
from toonville.trainer import Budget, train
from toonville.unet import new_scheduler
from toonville.vae import CROP, face_weights, reconstruction_loss, to_tensor
from toonville.world import CELL

BATCH = 6
MAX_NOISE = 0.2  # standard deviation, in units of the latents'
DENOISED_SHARE = 0.6  # of the steps: latents that the UNet predicts from noisy ones
TIMESTEPS = (40, 350)  # of these: from nearly clean to without details
ADVERSARIAL_WEIGHT = 0.1
RARE = {"style": ("pixel art",), "expression": ("sad", "angry")}
RARE_SHARE = 0.4
"""Of the images, oversampled to show one of RARE: what is rare is blurred first."""


class Discriminator(nn.Module):
    """RGB images (N, 3, H, W) -> how real patches of 22 pixels look, (N, 1, H / 4, W / 4)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 3 * width, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(3 * width, 1, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return one logit per patch."""
        logits: Tensor = self.layers(images)
        return logits


def adversarial_losses(
    discriminator: nn.Module, output: Tensor, target: Tensor
) -> dict[str, Tensor]:
    """Return the decoder's loss and the discriminator's (hinge), for one optimiser of both.

    Neither trains the other's weights.

    Args:
        discriminator: Images -> logits.
        output: The decoder's images (N, 3, H, W).
        target: Real ones.
    """
    frozen = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    fooled: Tensor = functional_call(discriminator, frozen, (output,))
    real, fake = discriminator(target), discriminator(output.detach())
    return {
        "adversarial": -ADVERSARIAL_WEIGHT * fooled.mean(),
        "discriminator": F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
    }


@torch.no_grad()
def denoised(
    unet: UNet2DConditionModel, scheduler: DDIMScheduler, rows: Encoded, seed: int
) -> Tensor:
    """Return the latents (N, C, h, w) that the UNet predicts from noisy ones of TIMESTEPS."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.from_numpy(rows.latents).float()
    states = torch.from_numpy(rows.hidden_states).float()
    timesteps = torch.randint(*TIMESTEPS, (len(latents),), generator=generator)
    noise = torch.randn(latents.shape, generator=generator)
    noisy = scheduler.add_noise(latents, noise, timesteps)
    velocity = unet(noisy.contiguous(memory_format=torch.channels_last), timesteps, states).sample
    alpha = scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    predicted: Tensor = alpha.sqrt() * noisy - (1 - alpha).sqrt() * velocity
    return predicted


def crop_corner(rows: Encoded, rng: np.random.Generator) -> tuple[int, int]:
    """Return x and y, in latents, of a square of CROP pixels, mostly around a face."""
    height, width = rows.latents.shape[2:]
    side = CROP // CELL
    most = np.array([width - side, height - side])
    if rng.random() < 0.25:
        x, y = rng.integers(most + 1)
    else:
        middle = rows.landmarks[0, rng.integers(rows.landmarks.shape[1])].mean(0) / CELL
        near = np.round(middle - side / 2).astype(int) + rng.integers(-1, 2, 2)
        x, y = np.clip(near, 0, most)
    return int(x), int(y)


def inner(corner: tuple[int, int], size: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of a crop, in pixels, that are decoded as in the whole image.

    At an edge the decoder sees zeros, which only at an edge of the image are what it will see.

    Args:
        corner: x and y of the crop, in latents.
        size: Height and width of the image, in latents.
    """
    slices = []
    for first, whole in zip(reversed(corner), size, strict=True):
        low = 0 if first == 0 else CELL
        high = CROP if first + CROP // CELL == whole else CROP - CELL
        slices.append(slice(low, high))
    return slices[0], slices[1]


def train_decoder(data: Path, folder: Path, minutes: float, resume: bool) -> None:
    """Fine-tune the decoder of `<folder>/vae` with the UNet of `<folder>/unet`.

    Args:
        data: Has the stores `single_encoded` and `pair_encoded`, see encoded.encode_store.
        folder: Of the models.
        minutes: See trainer.Budget.
        resume: See trainer.train.
    """
    torch.manual_seed(1)
    vae = channels_last(AutoencoderKL.from_pretrained(folder / "vae"))
    unet = channels_last(UNet2DConditionModel.from_pretrained(folder / "unet"))
    scheduler = new_scheduler()
    model = nn.ModuleDict(
        {
            "post_quant_conv": vae.post_quant_conv,
            "decoder": vae.decoder,
            "discriminator": channels_last(Discriminator()),
        }
    )
    stores = {n: load_encoded(data / f"{kind}_encoded") for n, kind in ((1, "single"), (2, "pair"))}
    rare = {n: rare_rows(store.labels, RARE) for n, store in stores.items()}
    side = CROP // CELL

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((6, step))
        n = 2 if step % 4 == 3 else 1
        index = sample_rows(rare[n], len(stores[n]), BATCH, rng, RARE_SHARE)
        rows = stores[n][index]
        if rng.random() < DENOISED_SHARE:
            latents = denoised(unet, scheduler, rows, step)
        else:
            spread = torch.from_numpy(rng.uniform(0, MAX_NOISE, (BATCH, 1, 1, 1))).float()
            clean = torch.from_numpy(rows.latents).float()
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(step))
            latents = clean + spread * noise
        x, y = crop_corner(rows, rng)
        part = latents[:, :, y : y + side, x : x + side]
        output = vae.decode(part.contiguous(memory_format=torch.channels_last)).sample
        target, weights = targets(rows, partial(captioned, n), (x, y))
        rows_of, columns_of = inner((x, y), rows.latents.shape[2:])
        output, target, weights = (
            part[:, :, rows_of, columns_of] for part in (output, target, weights)
        )
        return {
            "rec": reconstruction_loss(output, target, weights),
            **adversarial_losses(model["discriminator"], output, target),
        }

    budget = Budget(minutes, learning_rate=3e-4, ema=0.995)
    trained = train("decoder", model, losses, budget, folder, resume)
    for part in ("post_quant_conv", "decoder"):
        model[part].load_state_dict(trained[part].state_dict())
    vae.save_pretrained(folder / "vae")


def targets(
    rows: Encoded, example: Callable[[int], Captioned], corner: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Render crops of the images of rows again.

    Args:
        rows: N examples.
        example: Seed -> example.
        corner: Of the crop, in latents.

    Returns:
        Images (N, 3, CROP, CROP) in [-1, 1] and face weights (N, 1, CROP, CROP).
    """
    x, y = (CELL * at for at in corner)
    images = [np.asarray(render(example(int(seed)).spec).image) for seed in rows.seeds]
    cropped = np.stack([image[y : y + CROP, x : x + CROP] for image in images])
    cells = slice(corner[1], corner[1] + CROP // CELL), slice(corner[0], corner[0] + CROP // CELL)
    weights = face_weights(np.array(rows.faces[:, *cells]), np.array(rows.landmarks), (x, y))
    return to_tensor(cropped), weights
