"""Where to compute and in which precision."""

from __future__ import annotations

import copy
from typing import Any

import torch

from celeb_core.errors import ModelError

MIXED = "mixed"  # weights rest in bfloat16 and float32 is computed in: see `halves`
DTYPES = ("float32", "bfloat16", "float16", MIXED)
LARGE = 200_000_000  # parameters of a UNet from which half the memory matters


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
    """In which precision a network of a DTYPES name computes. Raises ModelError."""
    if name not in DTYPES:
        raise ModelError(f"“{name}” is no dtype. Choose {', '.join(DTYPES)}.")
    dtype: torch.dtype = torch.float32 if name == MIXED else getattr(torch, name)
    return dtype


def best_dtype(device: str, parameters: int) -> str:
    """A name of DTYPES: for a large UNet half the memory where that costs no time, else float32.

    On CUDA bfloat16, or float16 where that is not native; on a CPU bfloat16 where it is native,
    else MIXED.
    """
    if parameters <= LARGE or device.startswith("mps"):
        return "float32"
    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if native else "float16"
    return "bfloat16" if cpu_has_bfloat16() else MIXED


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies matrices in bfloat16 (AVX512_BF16 or AMX; ARM's BF16)."""
    has = torch.cpu.get_capabilities()
    return any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def loss_scaler(device: torch.device, dtype: torch.dtype) -> torch.amp.GradScaler:
    """Lifts gradients into what float16 can hold; does nothing in other precisions."""
    return torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
