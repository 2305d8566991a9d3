"""The denoising loss of a batch: views, noise, timesteps, text states, one pass of the UNet.

Only words carry gradients, the people's and their photos'; latents are encoded once and each
distinct prompt of a step is encoded once, by the text encoder that pictures are drawn with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from celeb_core import templates
from celeb_core.basis import K
from celeb_core.devices import exact_vae
from celeb_core.halves import kept_in_half
from celeb_core.photo_words import PhotoWords
from celeb_core.pieces import losses_in_pieces
from celeb_core.prompt import encode_texts
from celeb_core.types import Person, PromptEmbeds, TrainConfig
from celeb_core.views import make_views
from celeb_core.way_up import gradients_of_the_way_up

if TYPE_CHECKING:
    from celeb_core.models import Models

JOINT_SHARE = 0.5  # of a person's batch and views, when several train together
ENCODED_AT_ONCE = 8 * 128**2  # pixels
GRID = 16 * 16  # latents that log_snr_min and log_snr_max of TrainConfig speak of


class Denoising:
    """What the model's loss says about some people's words.

    All randomness comes from `generator`, and from seeds of their own for the views.
    """

    def __init__(self, people: Sequence[Person], models: Models, config: TrainConfig) -> None:
        share = 1.0 if len(people) == 1 else JOINT_SHARE
        self.people, self.models, self.config = people, models, config
        self.batch = max(1, round(config.batch_size * share))
        self.views = max(1, round(config.views * share)) if config.views else 0
        self.generator = torch.Generator().manual_seed(config.seed)
        self.noising = _noising_scheduler(models)
        self.vae = exact_vae(models.vae)
        exact = config.gradients == "exact"
        self.gradients: Callable[[Any], AbstractContextManager[None]] = (
            nullcontext if exact else gradients_of_the_way_up
        )
        self.photo_words: PhotoWords | None = None
        if config.photo_words:
            words = PhotoWords(len(people), K, models.encoders)
            self.photo_words = words.to(models.device)
        self.pools: list[tuple[Tensor, Tensor]] = []

    def losses(self, words: Tensor, latents: Tensor, heads: Tensor, scale: float = 1.0) -> Tensor:
        """Loss of each person (n,), METHOD.md §1.5.

        words (n, k, d); latents (n, b, c, h, w) and head masks (n, b, 1, h, w) of `batches`.
        `scale` is that of the loss whose gradients will be asked for (`losses_in_pieces`).
        """
        n, b = latents.shape[:2]
        clean = latents.flatten(0, 1)
        noise = torch.randn(clean.shape, generator=self.generator).to(clean)
        bounds = self.bounds(clean.shape[-2] * clean.shape[-1])
        # Spread over each person's batch, or over the people who have one picture each.
        groups = [b] * n if b > 1 else [n]
        timesteps = torch.cat([self.timesteps(each, bounds) for each in groups]).to(clean.device)
        noisy_latents = self.noising.add_noise(clean, noise, timesteps)
        kind = self.noising.config.prediction_type
        if kind == "v_prediction":
            target = self.noising.get_velocity(clean, noise, timesteps)
        else:
            target = clean if kind == "sample" else noise
        weight = heads.flatten(0, 1) * (1 - self.config.background) + self.config.background
        weight = weight / weight.mean((1, 2, 3), keepdim=True)

        def loss_of(rows: slice, said: PromptEmbeds) -> Tensor:
            with kept_in_half(self.models.unet):
                noise_pred: Tensor = self.models.unet(
                    noisy_latents[rows],
                    timesteps[rows],
                    said.states.to(clean),
                    added_cond_kwargs=self._added(said.pooled, clean),
                    return_dict=False,
                )[0]
            error: Tensor = (noise_pred.float() - target[rows].float()).square() * weight[rows]
            return error.mean((1, 2, 3))

        said = self.text_states(words, b)
        size = self.models.memory.piece or n * b
        with self.gradients(self.models.unet):
            losses = losses_in_pieces(loss_of, said, size, scale)
        return losses.reshape(n, b).mean(1)

    def text_states(self, words: Tensor, b: int) -> PromptEmbeds:
        """Those of n * b prompts for words (n, k, d); distinct prompts encoded once."""
        n, k = words.shape[:2]
        texts = templates.PAPER if self.config.templates == "paper" else templates.STUDIO
        count = min(self.config.prompts, b)
        picks = torch.randint(len(texts), (n, count), generator=self.generator).tolist()
        wanted = [[(person, pick) for pick in row] for person, row in enumerate(picks)]
        distinct = list(dict.fromkeys(pair for row in wanted for pair in row))
        prompts = [texts[pick].format("<x>") for _, pick in distinct]
        people = [{"x": words[person]} for person, _ in distinct]
        if self.photo_words is not None:
            photos = self.photo_words()
            prompts = [text + " <photo>" for text in prompts]
            people = [
                said | {"photo": photos[person]}
                for said, (person, _) in zip(people, distinct, strict=True)
            ]
        said = encode_texts(prompts, people, k, self.models.encoders)
        place = {pair: index for index, pair in enumerate(distinct)}
        rows = [place[row[i * count // b]] for row in wanted for i in range(b)]
        return said.take(torch.tensor(rows, device=said.states.device))

    def _added(self, pooled: Tensor | None, like: Tensor) -> dict[str, Tensor] | None:
        """What else SDXL's UNet hears: the text as a whole, and the size of the picture as
        pictures are drawn, which is nothing scaled and nothing cropped."""
        if pooled is None:
            return None
        size = (self.models.height, self.models.width)
        sizes = torch.tensor([*size, 0, 0, *size]).to(like)
        return {"text_embeds": pooled.to(like), "time_ids": sizes.repeat(len(pooled), 1)}

    def bounds(self, pixels: int) -> tuple[int, int]:
        """First timestep and the one after the last that latents of `pixels` are noised to.

        Noise that is averaged over n times as many pixels hides n times less: the limits of the
        ratio are those of GRID latents, lower by log(pixels / GRID) here (Hoogeboom et al. 2023,
        simple diffusion, §3.1).
        """
        ratio = torch.logit(self.noising.alphas_cumprod.double())  # falls
        shift = math.log(pixels / GRID)
        low, high = self.config.log_snr_min - shift, self.config.log_snr_max - shift
        first = min(int((ratio > high).sum()), len(ratio) - 1)
        return first, max(first + 1, int((ratio >= low).sum()))

    def timesteps(self, count: int, bounds: tuple[int, int]) -> Tensor:
        """Timesteps (count,), uniform from bounds[0] to bounds[1] - 1; stratified: one from each
        of `count` equal parts."""
        first, end = bounds
        if not self.config.stratified:
            return torch.randint(first, end, (count,), generator=self.generator)
        parts = torch.randperm(count, generator=self.generator)
        offsets = torch.rand(count, generator=self.generator)
        return (first + (parts + offsets) * (end - first) / count).long().clamp_max(end - 1)

    def batches(self, step: int) -> tuple[Tensor, Tensor]:
        """A batch per person: latents (n, b, c, h, w) and head masks (n, b, 1, h, w)."""
        if not self.views:
            fresh = [self.encode(i, self.batch, step) for i in range(len(self.people))]
            return torch.stack([f[0] for f in fresh]), torch.stack([f[1] for f in fresh])
        if not self.pools:
            self.pools = [self.encode(i, self.views, 0) for i in range(len(self.people))]
        picks = [
            torch.randperm(len(latents), generator=self.generator).repeat(
                -(-self.batch // len(latents))
            )[: self.batch]
            for latents, _ in self.pools
        ]
        pairs = list(zip(self.pools, picks, strict=True))
        return (
            torch.stack([latents[pick] for (latents, _), pick in pairs]),
            torch.stack([heads[pick] for (_, heads), pick in pairs]),
        )

    def encode(self, person: int, count: int, step: int) -> tuple[Tensor, Tensor]:
        """Latents and head masks of `count` new views; their own seed, so that a resumed run
        sees the same ones."""
        rng = np.random.default_rng((self.config.seed, person, step))
        size = (self.models.width, self.models.height)
        views = make_views(self.people[person].faces, count, size, self.config, rng)
        vae = self.vae
        noise = torch.Generator().manual_seed(int(rng.integers(2**31)))
        latents = []
        with torch.no_grad():
            for pixels in views.pixels.split(max(1, ENCODED_AT_ONCE // (size[0] * size[1]))):
                posterior = vae.encode(pixels.to(self.models.device, vae.dtype)).latent_dist
                latents.append(posterior.sample(generator=noise))
        self.models.memory.rest()
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        scaled = (torch.cat(latents) - shift) * vae.config.scaling_factor
        heads = functional.interpolate(views.heads, scaled.shape[-2:], mode="area")
        return scaled.to(self.models.vae.dtype), heads.to(scaled.device)


def _noising_scheduler(models: Models) -> Any:
    """The training's side of the model's scheduler: add_noise and get_velocity."""
    from diffusers import DDPMScheduler

    return DDPMScheduler.from_config(models.scheduler.config)
