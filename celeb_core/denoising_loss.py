"""Latents, noise, timesteps, hidden states -> the denoising loss (Celeb Basis, section 3.3).

Gradients go to token embeddings only: the people's, and those of nuisance tokens.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from celeb_core.augmentation import PAPER_TEMPLATES, SHORT_TEMPLATES
from celeb_core.models import Models
from celeb_core.precision import save_activations_in_bfloat16
from celeb_core.text_encoder import TextEncoder, encode_texts
from celeb_core.types import LossConfig, PromptEmbeds

SNR_PIXELS = 16 * 16  # latents that the log-SNR bounds of LossConfig are meant for


class NuisanceTokens(nn.Module):
    """k token embeddings for each of n people's photos, thrown away after the training.

    In "a photo of <x> <nuisance>" they learn light, layout and clothes of the one photo in place
    of the person. `offsets` are from the vocabulary's mean, in its standard deviations.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, n: int, k: int, encoders: Sequence[TextEncoder]) -> None:
        super().__init__()
        tables = [encoder.table.detach().float() for encoder in encoders]
        self.register_buffer("mean", torch.cat([t.mean(0) for t in tables]), persistent=False)
        std = torch.cat([t.std().expand(t.shape[1]) for t in tables])
        self.register_buffer("std", std, persistent=False)
        self.offsets = nn.Parameter(torch.zeros(n, k, len(self.mean)))

    def forward(self) -> Tensor:
        """Return token embeddings (n, k, d)."""
        return self.mean + self.std * self.offsets


@dataclass(frozen=True, eq=False)
class ChosenPrompts:
    """The prompts of a step: distinct texts, and which of them each noisy latent has."""

    texts: list[str]
    embeddings: list[dict[str, Tensor]]  # of each text: name -> token embeddings (k, d)
    rows: list[int]  # of each noisy latent: the number of its text


@dataclass(frozen=True, eq=False)
class NoisyBatch:
    """What was drawn for a step of n people: n * b noisy latents, each with its prompt."""

    noisy_latents: Tensor  # (n * b, c, h, w)
    timesteps: Tensor  # (n * b,)
    target: Tensor  # (n * b, c, h, w), what the UNet should predict
    weight: Tensor  # (n * b, 1, h, w) of mean 1
    prompts: ChosenPrompts
    n: int


class DenoisingLoss:
    """The model's loss on images of some people, as a function of their token embeddings."""

    def __init__(
        self,
        models: Models,
        config: LossConfig,
        generator: torch.Generator,
        nuisance_tokens: NuisanceTokens | None = None,
    ) -> None:
        self.models, self.config, self.generator = models, config, generator
        self.nuisance_tokens = nuisance_tokens
        self.scheduler = DDPMScheduler.from_config(models.scheduler.config)

    def backward(
        self,
        embeddings: Tensor,
        latents: Tensor,
        masks: Tensor,
        scale: float = 1.0,
        people: Sequence[int] | None = None,
    ) -> Tensor:
        """Draw noise, timesteps and prompts, and add the gradients of the mean loss times `scale`.

        Micro-batches pass the UNet one after the other. Their gradients are collected at the
        hidden states and go through the text encoder once (gradient caching).

        Args:
            embeddings: (n, k, d) the people's token embeddings.
            latents: (n, b, c, h, w) b images of each.
            masks: (n, b, 1, h, w) where their heads are.
            scale: For float16, in which small gradients would be lost.
            people: Whose nuisance tokens they have; None: number 0 to n - 1.

        Returns:
            (n,) mean loss of each person, without a graph.
        """
        return self.backward_each([self.draw(embeddings, latents, masks, people)], [scale])[0]

    def draw(
        self,
        embeddings: Tensor,
        latents: Tensor,
        masks: Tensor,
        people: Sequence[int] | None = None,
    ) -> NoisyBatch:
        """Draw noise, timesteps and prompts, as `backward` does."""
        noise = self.add_noise(latents, masks)
        prompts = self.choose_prompts(embeddings, latents.shape[1], people)
        return NoisyBatch(*noise, prompts, len(latents))

    def backward_each(
        self, batches: Sequence[NoisyBatch], scales: Sequence[float], at_once: int | None = None
    ) -> list[Tensor]:
        """Add the gradients of several independent batches' mean losses, each times its scale.

        They pass the text encoders together, and the UNet `at_once` latents at a time (None: all
        of them, or what the memory mode says). Their nuisance tokens and mappers may be different
        ones: gradients go to whatever the batches' embeddings were made of.

        Returns:
            Of each batch (n,) mean loss of each person, without a graph.
        """
        noisy_latents = torch.cat([batch.noisy_latents for batch in batches])
        timesteps = torch.cat([batch.timesteps for batch in batches])
        target = torch.cat([batch.target for batch in batches])
        weight = torch.cat([batch.weight for batch in batches])
        counts = [len(batch.timesteps) for batch in batches]
        pairs = zip(scales, counts, strict=True)
        shares = torch.tensor([scale / count for scale, count in pairs for _ in range(count)])
        shares = shares.to(noisy_latents.device)
        prompt_embeds = self.encode_prompts([batch.prompts for batch in batches])
        outputs = [t for t in (prompt_embeds.hidden_states, prompt_embeds.pooled) if t is not None]
        leaves = [output.detach().requires_grad_() for output in outputs]
        losses = []
        truncated = self.config.gradients == "truncated"
        with truncated_backward(self.models.unet) if truncated else nullcontext():
            total = len(noisy_latents)
            size = self.models.memory.micro_batch or at_once or total
            for rows in (slice(start, start + size) for start in range(0, total, size)):
                embeds = PromptEmbeds(*(leaf[rows] for leaf in leaves))
                with save_activations_in_bfloat16(self.models.unet):
                    noise_pred = self.predict(noisy_latents[rows], timesteps[rows], embeds)
                error = (noise_pred.float() - target[rows].float()).square() * weight[rows]
                loss = error.mean((1, 2, 3))
                (loss * shares[rows]).sum().backward()
                losses.append(loss.detach())
        torch.autograd.backward(outputs, [leaf.grad for leaf in leaves])
        found = torch.cat(losses).split(counts)
        return [loss.view(batch.n, -1).mean(1) for loss, batch in zip(found, batches, strict=True)]

    def add_noise(self, latents: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw noise and timesteps for latents (n, b, c, h, w), and weights from their masks.

        Returns:
            noisy latents (n * b, c, h, w), timesteps (n * b,), what the UNet should predict,
            weights (n * b, 1, h, w) of mean 1.
        """
        n, b = latents.shape[:2]
        clean = latents.flatten(0, 1)
        noise = torch.randn(clean.shape, generator=self.generator).to(clean)
        bounds = self.timestep_bounds(clean.shape[-2] * clean.shape[-1])
        # Stratified over each person's batch, or over the people if each has one image.
        groups = [b] * n if b > 1 else [n]
        timesteps = torch.cat([self.sample_timesteps(size, bounds) for size in groups])
        timesteps = timesteps.to(clean.device)
        noisy_latents = self.scheduler.add_noise(clean, noise, timesteps)
        target = clean if self.scheduler.config.prediction_type == "sample" else noise
        if self.scheduler.config.prediction_type == "v_prediction":
            target = self.scheduler.get_velocity(clean, noise, timesteps)
        background = self.config.background_weight
        weight = masks.flatten(0, 1) * (1 - background) + background
        weight = weight / weight.mean((1, 2, 3), keepdim=True)
        return noisy_latents, timesteps, target, weight

    def choose_prompts(
        self, embeddings: Tensor, b: int, numbers: Sequence[int] | None = None
    ) -> ChosenPrompts:
        """Choose b prompts for each of n people (n, k, d), from random templates.

        A person's prompts are of one template, of two with the paper's.
        """
        n = len(embeddings)
        paper = self.config.templates == "paper"
        templates, count = (PAPER_TEMPLATES, min(2, b)) if paper else (SHORT_TEMPLATES, 1)
        picks = torch.randint(len(templates), (n, count), generator=self.generator).tolist()
        wanted = [
            (person, row[i * count // b]) for person, row in enumerate(picks) for i in range(b)
        ]
        distinct = {pair: number for number, pair in enumerate(dict.fromkeys(wanted))}
        texts = [templates[pick].format("<x>") for _, pick in distinct]
        named = [{"x": embeddings[person]} for person, _ in distinct]
        if self.nuisance_tokens is not None:
            nuisance = self.nuisance_tokens()
            nuisance = nuisance if numbers is None else nuisance[list(numbers)]
            texts = [text + " <nuisance>" for text in texts]
            for people, (person, _) in zip(named, distinct, strict=True):
                people["nuisance"] = nuisance[person]
        return ChosenPrompts(texts, named, [distinct[pair] for pair in wanted])

    def encode_prompts(self, chosen: Sequence[ChosenPrompts]) -> PromptEmbeds:
        """Encode the distinct prompts of batches once; the result has a row for each latent."""
        texts = [text for prompts in chosen for text in prompts.texts]
        named = [people for prompts in chosen for people in prompts.embeddings]
        rows, before = list[int](), 0
        for prompts in chosen:
            rows += [before + row for row in prompts.rows]
            before += len(prompts.texts)
        k = len(named[0]["x"])
        encoded = encode_texts(texts, named, k, self.models.encoders)
        index = torch.tensor(rows)
        return encoded.map(lambda tensor: tensor[index.to(tensor.device)])

    def timestep_bounds(self, pixels: int) -> tuple[int, int]:
        """Return the first timestep, and the one after the last, for latents of some size.

        The lower bound on the log-SNR is that of SNR_PIXELS latents, lower by log(pixels /
        SNR_PIXELS) for larger ones: averaged over n times as many pixels, noise hides n times less
        (simple diffusion, arXiv:2301.11093, section 3.1). The upper one is as it is: details are as
        small in large images.
        """
        log_snr = torch.logit(self.scheduler.alphas_cumprod.double())  # falls
        low = self.config.min_log_snr - math.log(pixels / SNR_PIXELS)
        high = self.config.max_log_snr
        first = min(int((log_snr > high).sum()), len(log_snr) - 1)
        return first, max(first + 1, int((log_snr >= low).sum()))

    def sample_timesteps(self, count: int, bounds: tuple[int, int]) -> Tensor:
        """Draw timesteps (count,) from bounds[0] to bounds[1] - 1, uniform and maybe stratified."""
        first, end = bounds
        if not self.config.stratified_timesteps:
            return torch.randint(first, end, (count,), generator=self.generator)
        strata = torch.randperm(count, generator=self.generator)
        offsets = torch.rand(count, generator=self.generator)
        return (first + (strata + offsets) * (end - first) / count).long().clamp_max(end - 1)

    def predict(self, noisy_latents: Tensor, timesteps: Tensor, embeds: PromptEmbeds) -> Tensor:
        """Run the UNet on noisy latents (b, c, h, w), one prompt for each."""
        added = None
        if embeds.pooled is not None:  # SDXL's micro-conditioning: the full size, nothing cropped
            size = (self.models.height, self.models.width)
            sizes = torch.tensor([*size, 0, 0, *size]).to(noisy_latents)
            time_ids = sizes.repeat(len(noisy_latents), 1)
            added = {"text_embeds": embeds.pooled.to(noisy_latents), "time_ids": time_ids}
        noise_pred: Tensor = self.models.unet(
            noisy_latents,
            timesteps,
            embeds.hidden_states.to(noisy_latents),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return noise_pred


@contextmanager
def truncated_backward(unet: Any) -> Iterator[None]:
    """Within the block, no gradient passes the UNet's down blocks or its self-attention.

    The prediction is the same. What is left is the effect of the hidden states through the
    cross-attention of the middle and up blocks, whose gradient needs no activations of the down
    blocks and points where the exact one does (cosine .98 on the bundled model). The backward pass
    belongs into the block, because gradient checkpointing runs the forward pass again.
    """
    cut = [module for module in unet.modules() if hasattr(module, "detached")]
    for module in cut:
        module.detached = True
    try:
        yield
    finally:
        for module in cut:
            module.detached = False
