"""The trainings that are compared. Each is built once; calling it makes one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from bench.full_size import random_pipeline
from celeb_core.basis import build_basis
from celeb_core.devices import MIXED, best_dtype, dtype_of
from celeb_core.models import Models, models_of
from celeb_core.places import ASSETS, BUNDLED
from celeb_core.presets import PRESETS
from celeb_core.templates import STUDIO
from celeb_core.training import _Training
from celeb_core.types import Face, Person, TrainConfig

SIDE = 512
NAMES = (ASSETS / BUNDLED / "names.txt").read_text(encoding="utf-8").split("\n")[:700]


@dataclass(frozen=True)
class Variant:
    """`once` is what a person costs before the first step, shared by all steps; `step` is one."""

    about: str
    once: Callable[[], None]
    step: Callable[[], None]
    pipeline: Any
    once_share: float = 0.0  # of `once` per picture that is trained on


def ours(device: str, batch: int, changes: frozenset[str] = frozenset()) -> Variant:
    """Our training as it comes by default, or with some of CHANGES."""
    precision = best_dtype(device, 10**9)
    precision = "float32" if "float32" in changes else precision
    precision = "mixed" if "mixed" in changes else precision
    mode = "full" if "full" in changes else "recompute" if "recompute" in changes else None
    models = _models(device, precision, mode, "compile" in changes)
    best = PRESETS["best"]
    config = replace(best, batch_size=batch, views=0 if "vae" in changes else batch)
    if "exact" in changes:
        config = replace(config, gradients="exact")
    training = _training(models, config)
    if "weights" in changes:
        models.unet.requires_grad_(True)
    if "channels_last" in changes:
        models.unet.to(memory_format=torch.channels_last)
    return Variant(
        about=f"{precision}, memory mode {models.memory}" + "".join(f", {c}" for c in changes),
        once=lambda: None if "vae" in changes else training.denoising.batches(0) and None,
        step=lambda: training.update() and None,
        pipeline=models.pipeline,
        once_share=best.views / (best.steps * best.batch_size),
    )


CHANGES = {
    "weights": "weights get gradients too",
    "exact": "gradients through the whole UNet",
    "vae": "the photo is encoded at every step",
    "float32": "float32 weights and activations",
    "full": "the whole batch at once",
    "recompute": "activations recomputed",
    "channels_last": "weights with channels last",
    "compile": "transformer blocks compiled",
}
"""Ingredients that `ours` can be without, or have more."""


def official(device: str, batch: int) -> Variant:
    """The official settings (METHOD.md §2): the preset “paper” in float32 with recomputed
    activations. Its attention is PyTorch's, which the official code's was not: to its favour."""
    models = _models(device, "float32", "full")
    models.unet.enable_gradient_checkpointing()
    training = _training(models, replace(PRESETS["paper"], batch_size=batch))
    return Variant(
        about="float32, gradient checkpointing, moving average",
        once=lambda: None,
        step=lambda: training.update() and None,
        pipeline=models.pipeline,
    )


def textual_inversion(device: str, batch: int) -> Variant:
    """The loop of diffusers' Textual Inversion example as its documentation describes it, in
    float32: one row of the token table is wanted, the table is trained, the rest put back."""
    from diffusers import DDPMScheduler

    pipeline = random_pipeline(torch.float32).to(device)
    noising = DDPMScheduler.from_config(pipeline.scheduler.config)
    pipeline.text_encoder.requires_grad_(False).train()
    table = pipeline.text_encoder.get_input_embeddings().weight.requires_grad_(True)
    before, placeholder = table.detach().clone(), len(pipeline.tokenizer)
    optimizer = torch.optim.AdamW([table], lr=5e-4, weight_decay=1e-2)
    others = torch.ones(len(table), dtype=torch.bool, device=device)
    others[placeholder] = False
    photo = _pixels().to(device)

    def step() -> None:
        pixels = photo.expand(batch, -1, -1, -1)
        with torch.no_grad():
            latents = pipeline.vae.encode(pixels).latent_dist.sample()
        latents = latents * pipeline.vae.config.scaling_factor
        noise = torch.randn_like(latents)
        timesteps = torch.randint(1000, (batch,), device=device)
        noisy_latents = noising.add_noise(latents, noise, timesteps)
        ids = _ids(pipeline.tokenizer, placeholder, batch).to(device)
        states = pipeline.text_encoder(ids)[0]
        noise_pred = pipeline.unet(noisy_latents, timesteps, states).sample
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


def build(name: str, device: str, batch: int) -> Variant:
    """A variant by name: ours, ours+CHANGE, official, textual-inversion."""
    kind, *changes = name.split("+")
    if kind == "ours":
        return ours(device, batch, frozenset(changes))
    return {"official": official, "textual-inversion": textual_inversion}[kind](device, batch)


def _models(device: str, precision: str, mode: str | None = None, compiled: bool = False) -> Models:
    loaded = torch.bfloat16 if precision == MIXED else dtype_of(precision)
    pipeline = random_pipeline(loaded)
    return models_of(pipeline, "random/sd15", "bench", device, precision, mode, compiled)


def _training(models: Models, config: TrainConfig) -> _Training:
    basis = build_basis(NAMES, models)
    embedding = functional.normalize(torch.randn(512), dim=0)
    side = float(SIDE)
    face = Face(
        image=Image.fromarray(np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)),
        aligned=np.zeros((112, 112, 3), np.uint8),
        embedding=embedding,
        box=(side / 4, side / 4, side * 3 / 4, side * 3 / 4),
        crop=(0.0, 0.0, side, side),
        landmarks=np.zeros((5, 2), np.float32),
        score=1.0,
    )
    return _Training([Person("ada", (face,))], models, basis, config, None, "")


def _pixels() -> Tensor:
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _ids(tokenizer: Any, placeholder: int, batch: int) -> Tensor:
    """Token ids (batch, 77) of a random template with the placeholder in it."""
    texts = [STUDIO[int(torch.randint(len(STUDIO), ()))].format("x") for _ in range(batch)]
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    ids[:, 1] = placeholder
    return ids
