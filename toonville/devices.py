"""Where a training runs: on the CPU in float32, or on a CUDA device with bfloat16 autocast."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from celeb_core.errors import UsageError

DEVICES = ("auto", "cpu", "cuda")

Batch = TypeVar("Batch")


def pick(name: str) -> torch.device:
    """Return the device of a name of DEVICES; "auto" is the CUDA device if there is one.

    Raises:
        UsageError: "cuda", and there is none.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UsageError("There is no CUDA device. Choose --device cpu, or auto.")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return the context of a loss: bfloat16 where that is faster and safe, on CUDA devices."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def clock(device: torch.device) -> Callable[[], float]:
    """Return the clock of a training, in seconds.

    On a CPU it is the CPU time of this thread, so that a training on a busy machine takes longer
    and has one result. This thread's CPU time says nothing of a CUDA device's.
    """
    return time.thread_time if device.type == "cpu" else time.perf_counter


def moved(batch: Batch, device: torch.device) -> Batch:
    """Return a dataclass with its tensors on a device."""
    assert is_dataclass(batch) and not isinstance(batch, type)
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)})
