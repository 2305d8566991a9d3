"""The trainings that are compared. Each is built once; its `step` makes one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from bench.full_size import random_pipeline
from celeb_core.augmentation import SHORT_TEMPLATES
from celeb_core.basis import build_basis
from celeb_core.device import DTYPES, MIXED, best_dtype, dtype_of
from celeb_core.loading import ASSETS, BUNDLED
from celeb_core.models import Models, models_from_pipeline, read_names
from celeb_core.training_run import Training
from celeb_core.types import PRESETS, Face, Person, TrainConfig

NAMES = read_names(ASSETS / BUNDLED / "names.txt")

ONE_VIEW = PRESETS["best"].changed(batch_size=1, views=1)

INGREDIENTS = {
    "weights": "weights get gradients too",
    "exact": "gradients through the whole UNet",
    "vae": "the photo is encoded at every step",
    "float32": "float32 weights and activations; other dtypes likewise",
    "full": "the whole batch at once",
    "checkpointing": "activations recomputed",
    "channels_last": "weights with channels last",
    "compile": "transformer blocks compiled",
}
"""What `ours` can be changed by. Every variant can be `tiny`: shrunk, to see that it runs."""


@dataclass(frozen=True)
class Variant:
    """A training under measurement."""

    about: str
    once: Callable[[], Any]  # what a person costs before the first step
    step: Callable[[], Any]
    pipeline: Any
    once_share: float = 0.0  # of `once` for each image of a step


def build(name: str, device: str, batch: int) -> Variant:
    """Build a variant.

    Args:
        name: ours, ours+INGREDIENT+..., official, or textual-inversion.
        device: As `celeb_core.device.checked_device` returns it.
        batch: Images per step.
    """
    kind, *changes = name.split("+")
    if kind == "ours":
        return ours(device, batch, frozenset(changes))
    other = {"official": official, "textual-inversion": textual_inversion}[kind]
    return other(device, batch, "tiny" in changes)


def ours(device: str, batch: int, changes: frozenset[str] = frozenset()) -> Variant:
    """Our training as it comes by default, or with some of INGREDIENTS."""
    named = (name for name in DTYPES if name in changes)
    precision = next(named, best_dtype(device, 10**9))
    mode = next((mode for mode in ("full", "checkpointing") if mode in changes), None)
    compiled, tiny = "compile" in changes, "tiny" in changes
    models = random_models(device, precision, mode, compiled, tiny=tiny)
    best, encoded = PRESETS["best"], "vae" not in changes
    gradients = "exact" if "exact" in changes else "truncated"  # as a prepared model may have them
    config = best.changed(batch_size=batch, views=batch if encoded else 0, gradients=gradients)
    training = begin_training(models, config)
    if "weights" in changes:
        models.unet.requires_grad_(True)
    if "channels_last" in changes:
        models.unet.to(memory_format=torch.channels_last)
    return Variant(
        about=f"{precision}, memory mode {models.memory.mode}"
        + "".join(f", {change}" for change in sorted(changes - {precision})),
        once=lambda: training.latents.batch(0) if encoded else None,
        step=training.update,
        pipeline=models.pipeline,
        once_share=best.augmentation.views / (best.steps * best.batch_size),
    )


def official(device: str, batch: int, tiny: bool = False) -> Variant:
    """The official code's settings: the preset “paper” in float32 with gradient checkpointing.

    Its attention is PyTorch's, which the official code's was not: to its favour.
    """
    models = random_models(device, "float32", "full", tiny=tiny)
    models.unet.enable_gradient_checkpointing()
    training = begin_training(models, PRESETS["paper"].changed(batch_size=batch))
    return Variant(
        about="float32, gradient checkpointing, moving average",
        once=lambda: None,
        step=training.update,
        pipeline=models.pipeline,
    )


def textual_inversion(device: str, batch: int, tiny: bool = False) -> Variant:
    """The loop of diffusers' Textual Inversion example, as its documentation describes it.

    In float32. One row of the token table is wanted; the table is trained, the rest restored.
    """
    from diffusers import DDPMScheduler

    pipeline = random_pipeline(torch.float32, device, tiny=tiny)
    noising = DDPMScheduler.from_config(pipeline.scheduler.config)
    pipeline.text_encoder.requires_grad_(False).train()
    table = pipeline.text_encoder.get_input_embeddings().weight.requires_grad_(True)
    before, placeholder = table.detach().clone(), len(pipeline.tokenizer)
    optimizer = torch.optim.AdamW([table], lr=5e-4, weight_decay=1e-2)
    others = torch.ones(len(table), dtype=torch.bool, device=device)
    others[placeholder] = False
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    generator = torch.Generator().manual_seed(0)
    photo = (torch.rand(1, 3, side, side, generator=generator) * 2 - 1).to(device)

    def step() -> None:
        pixels = photo.expand(batch, -1, -1, -1)
        with torch.no_grad():
            latents = pipeline.vae.encode(pixels).latent_dist.sample()
        latents = latents * pipeline.vae.config.scaling_factor
        noise = torch.randn_like(latents)
        timesteps = torch.randint(1000, (batch,), device=device)
        noisy_latents = noising.add_noise(latents, noise, timesteps)
        ids = _ids(pipeline.tokenizer, placeholder, batch).to(device)
        hidden_states = pipeline.text_encoder(ids)[0]
        noise_pred = pipeline.unet(noisy_latents, timesteps, hidden_states).sample
        functional.mse_loss(noise_pred.float(), noise.float()).backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            table[others] = before[others]

    return Variant(
        about="float32, the token table trained, the photo encoded at every step",
        once=lambda: None,
        step=step,
        pipeline=pipeline,
    )


def random_models(
    device: str,
    precision: str,
    mode: str | None = None,
    compiled: bool = False,
    family: str = "sd1",
    tiny: bool = False,
) -> Models:
    """Load a `random_pipeline` as `load_models` loads a model; the arguments are those of both."""
    dtype = torch.bfloat16 if precision == MIXED else dtype_of(precision)
    pipeline = random_pipeline(dtype, device, family, tiny)
    name = f"random/{family}"
    return models_from_pipeline(pipeline, name, "bench", device, precision, mode, compiled)


def begin_training(models: Models, config: TrainConfig = ONE_VIEW) -> Training:
    """Begin a training on a photo of noise that is as large as the model's images."""
    width, height = models.width, models.height
    side = float(width)
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    face = Face(
        image=Image.fromarray(noise),
        aligned=np.zeros((112, 112, 3), np.uint8),
        embedding=functional.normalize(torch.randn(512), dim=0),
        box=(side / 4, side / 4, side * 3 / 4, side * 3 / 4),
        crop=(0.0, 0.0, side, side),
        landmarks=np.zeros((5, 2), np.float32),
        score=1.0,
    )
    return Training([Person("ada", (face,))], models, build_basis(NAMES, models), config)


def _ids(tokenizer: Any, placeholder: int, batch: int) -> Tensor:
    """Token ids (batch, 77) of random templates with the placeholder as their first token."""
    picks = torch.randint(len(SHORT_TEMPLATES), (batch,)).tolist()
    texts = [SHORT_TEMPLATES[pick].format("x") for pick in picks]
    encoded = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = encoded.input_ids
    ids[:, 1] = placeholder
    return ids
