"""Stable Diffusion at its full size, with random weights: no download, the same arithmetic."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from torch import nn
from transformers import AutoConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from celeb_core.loading import ASSETS, BUNDLED, CONFIGS

FAMILIES: dict[str, tuple[str, dict[str, type[nn.Module]], dict[str, Any]]] = {
    "sd1": (
        "StableDiffusionPipeline",
        {"text_encoder": CLIPTextModel},
        {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    ),
    "sdxl": (
        "StableDiffusionXLPipeline",
        {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection},
        {"add_watermarker": False},
    ),
}
"""Folder of `assets/configs` -> pipeline, text encoders, and the pipeline's other arguments."""

_TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "projection_dim": 32,
}  # fmt: skip
_UNET = {"sample_size": 8, "norm_num_groups": 8}
TINY: dict[str, dict[str, dict[str, Any]]] = {
    "sd1": {
        "unet": _UNET | {"block_out_channels": (32, 32, 64, 64), "cross_attention_dim": 32},
        "text_encoder": _TEXT,
    },
    "sdxl": {
        "unet": _UNET
        | {
            "block_out_channels": (32, 32, 64),
            "attention_head_dim": (2, 4, 8),
            "transformer_layers_per_block": (1, 1, 2),
            "cross_attention_dim": 64,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 32 + 6 * 8,
        },
        "text_encoder": _TEXT,
        "text_encoder_2": _TEXT,
    },
}
"""What is smaller in a model that only shows that everything runs."""
TINY_VAE = {"block_out_channels": (8, 8, 16, 16), "norm_num_groups": 8, "sample_size": 64}


def random_pipeline(
    dtype: torch.dtype, device: str = "cpu", family: str = "sd1", tiny: bool = False
) -> Any:
    """Build a pipeline with the bundled model's tokenizer.

    Its smaller vocabulary changes no cost: the token table has its full size.

    Args:
        dtype: Of the UNet and the VAE; text encoders are in float32.
        device: Where the weights are made.
        family: Of FAMILIES.
        tiny: Take the sizes of TINY.
    """
    configs, (kind, encoders, arguments) = CONFIGS / family, FAMILIES[family]
    tokenizer = CLIPTokenizer.from_pretrained(ASSETS / BUNDLED / "tokenizer", model_max_length=77)
    smaller = {**TINY[family], "vae": TINY_VAE} if tiny else {}
    parts: dict[str, Any] = {}
    for name, network in (
        ("unet", diffusers.UNet2DConditionModel),
        ("vae", diffusers.AutoencoderKL),
    ):
        config = network.load_config(configs / name) | smaller.get(name, {})
        with torch.device("meta"):
            empty = network.from_config(config)
        parts[name] = _filled(empty, dtype, device)
    for name, encoder in encoders.items():
        config = AutoConfig.from_pretrained(configs / name, **smaller.get(name, {}))
        config.eos_token_id = tokenizer.eos_token_id
        with torch.device(device):
            parts[name] = encoder(config).float()
        parts[name.replace("text_encoder", "tokenizer")] = tokenizer
    scheduler = diffusers.DDPMScheduler.load_config(configs / "scheduler")
    parts["scheduler"] = getattr(diffusers, scheduler["_class_name"]).from_config(scheduler)
    pipeline = getattr(diffusers, kind)(**parts, **arguments)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _filled(network: nn.Module, dtype: torch.dtype, device: str) -> nn.Module:
    """Fill with random weights that preserve the scale of activations; no float32 copy is made."""
    network = network.to(dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            spread = (3 / weight[0].numel()) ** 0.5
            weight.data.uniform_(-spread, spread, generator=generator)
        else:
            weight.data.fill_(float("norm" in name and name.endswith("weight")))
    return network.requires_grad_(False).eval()
