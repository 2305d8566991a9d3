"""Stable Diffusion 1.5 at its full size, with random weights: no download, the same arithmetic."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from celeb_core.loading import ASSETS, BUNDLED, CONFIGS

SD1 = CONFIGS / "sd1"


def random_pipeline(dtype: torch.dtype) -> Any:
    """Build a StableDiffusionPipeline with the bundled model's tokenizer.

    Its smaller vocabulary changes no cost.

    Args:
        dtype: Of the UNet and the VAE; the text encoder is in float32.
    """
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import AutoConfig, CLIPTextModel, CLIPTokenizer

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(SD1 / "unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(SD1 / "vae"))
    text_encoder = CLIPTextModel(AutoConfig.from_pretrained(SD1 / "text_encoder"))
    tokenizer = CLIPTokenizer.from_pretrained(ASSETS / BUNDLED / "tokenizer", model_max_length=77)
    pipeline = StableDiffusionPipeline(
        unet=_filled(unet, dtype),
        vae=_filled(vae, dtype),
        text_encoder=text_encoder.float(),
        tokenizer=tokenizer,
        scheduler=PNDMScheduler.from_config(PNDMScheduler.load_config(SD1 / "scheduler")),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _filled(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Fill with random weights that preserve the scale of activations; no float32 copy is made."""
    network = network.to(dtype).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            spread = (3 / weight[0].numel()) ** 0.5
            weight.data.uniform_(-spread, spread, generator=generator)
        else:
            weight.data.fill_(float("norm" in name and name.endswith("weight")))
    return network.requires_grad_(False).eval()
