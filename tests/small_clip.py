"""A small CLIP of random weights, for a vocabulary of any length."""

from __future__ import annotations

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer


def small_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Return a CLIP 32 wide that reads what a tokenizer writes."""
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    config = CLIPConfig(
        text_config={
            **size,
            "num_attention_heads": 2,
            "max_position_embeddings": tokenizer.model_max_length,
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "projection_dim": 16,
        },
        vision_config={**size, "num_attention_heads": 2, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    return CLIPModel(config).eval()
