"""Where to compute and in which precision."""

from __future__ import annotations

import copy
from typing import Any

import torch

from celeb_core.errors import ModelError

DTYPES = ("float32", "bfloat16", "float16")
LARGE = 200_000_000  # parameters of a UNet from which half the memory matters
LOW_MEMORY = 12e9  # bytes of a CUDA device below which activations are recomputed


def best_device() -> str:
    """CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def exact_vae(vae: Any) -> Any:
    """The VAE; in float32 a copy of one in float16 that overflows there, as SDXL's does."""
    overflows = vae.dtype == torch.float16 and vae.config.force_upcast
    return copy.deepcopy(vae).float() if overflows else vae


def checked_device(device: str) -> str:
    """The device ("cpu", "cuda", "cuda:1", "mps"), if it is there. Raises ModelError."""
    usable = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    kind = device.split(":")[0]
    if usable.get(kind):
        return device
    there = " and ".join(name for name, ok in usable.items() if ok)
    advice = "Install PyTorch with CUDA, or name" if kind == "cuda" else "Name"
    raise ModelError(f"There is no device “{device}” here, only {there}. {advice} one of these.")


def dtype_of(name: str) -> torch.dtype:
    """The dtype of a name of DTYPES. Raises ModelError."""
    if name not in DTYPES:
        raise ModelError(f"“{name}” is no dtype. Choose {', '.join(DTYPES)}.")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def best_dtype(device: str, parameters: int) -> torch.dtype:
    """For a large UNet on CUDA bfloat16, or float16 where that is not native; else float32."""
    if not device.startswith("cuda") or parameters <= LARGE:
        return torch.float32
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16


def loss_scaler(device: torch.device, dtype: torch.dtype) -> torch.amp.GradScaler:
    """Lifts gradients into what float16 can hold; does nothing in other precisions."""
    return torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)


def is_small(device: str) -> bool:
    """Whether a CUDA device has too little memory for training with all activations kept."""
    if not device.startswith("cuda"):
        return False
    return bool(torch.cuda.get_device_properties(device).total_memory < LOW_MEMORY)
