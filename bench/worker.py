"""One variant in a process of its own, so that its peak of memory is its own."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

from bench.variants import Variant, build


def measure(name: str, device: str, batch: int, steps: int, picture: bool) -> dict[str, Any]:
    """Build a variant and make `steps` steps -> seconds of each part, peak memory in GiB."""
    torch.manual_seed(0)
    began = time.perf_counter()
    variant = build(name, device, batch)
    built = time.perf_counter() - began
    _forget_peak(device)
    loaded = resident(device)
    once = _timed(variant.once, device)
    once_peak = peak(device)
    each = [_timed(variant.step, device) for _ in range(steps)]
    result = {
        "variant": name,
        "about": variant.about,
        "build": built,
        "loaded": loaded,
        "once": once,
        "once_peak": once_peak,
        "once_share": variant.once_share,
        "steps": each,
        "peak": peak(device),
    }
    if picture:
        _forget_peak(device)
        result["picture"] = _timed(lambda: _draw(variant), device)
        result["picture_peak"] = peak(device)
    return result


def profile(name: str, device: str, batch: int) -> str:
    """The operations that a step of a variant spends its time in, as a table."""
    variant = build(name, device, batch)
    variant.once()
    with torch.profiler.profile() as seen:
        variant.step()
    by = "self_cuda_time_total" if device.startswith("cuda") else "self_cpu_time_total"
    return str(seen.key_averages().table(sort_by=by, row_limit=15, max_name_column_width=40))


def peak(device: str) -> float:
    """GiB: of CUDA what was allocated; else of the whole process, libraries included."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**30
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def resident(device: str) -> float:
    """GiB in use now."""
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated() / 2**30
    return float(psutil.Process().memory_info().rss) / 2**30


def _forget_peak(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    elif (marks := Path("/proc/self/clear_refs")).exists():
        marks.write_text("5")


def _timed(work: Callable[[], Any], device: str) -> float:
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _draw(variant: Variant) -> None:
    """A picture of one step with guidance: two passes of the UNet and the VAE's decoder."""
    variant.pipeline("a photo", num_inference_steps=1, guidance_scale=7.5)
