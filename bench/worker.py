"""One variant in a process of its own, for its own peak of memory."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from bench.variants import Variant, build


def measure(name: str, device: str, batch: int, steps: int, image: bool) -> dict[str, Any]:
    """Build a variant and make some steps; return seconds of each part and peak memory in GiB.

    Args:
        name: Of `bench.variants.build`.
        device: See there.
        batch: See there.
        steps: How many.
        image: Generate an image, too.
    """
    torch.manual_seed(0)
    began = time.perf_counter()
    variant = build(name, device, batch)
    built = time.perf_counter() - began
    forget_peak(device)
    loaded = resident(device)
    once = timed(variant.once, device)
    once_peak = peak(device)
    each = [timed(variant.step, device) for _ in range(steps)]
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
    if image:
        forget_peak(device)
        result["image"] = timed(lambda: _generate(variant), device)
        result["image_peak"] = peak(device)
    return result


def profile(name: str, device: str, batch: int) -> str:
    """Return a table of the operations that a step of a variant spends its time in."""
    variant = build(name, device, batch)
    variant.once()
    with torch.profiler.profile() as recorded:
        variant.step()
    by = "self_cuda_time_total" if device.startswith("cuda") else "self_cpu_time_total"
    return str(recorded.key_averages().table(sort_by=by, row_limit=15, max_name_column_width=40))


def peak(device: str) -> float:
    """Return the peak in GiB: allocated on CUDA, else of the whole process, libraries included."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**30
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def resident(device: str) -> float:
    """Return the GiB in use now."""
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated() / 2**30
    return float(psutil.Process().memory_info().rss) / 2**30


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the median over all steps of some results; ours with a share of encoding the views."""
    first = results[0]
    step = statistics.median(s for result in results for s in result["steps"])
    return {
        "variant": first["variant"],
        "about": first["about"],
        "step": step,
        "with_share": step + first.get("once_share", 0.0) * first.get("once", 0.0),
        "peak": max(result["peak"] for result in results),
        "image": first.get("image"),
        "image_peak": first.get("image_peak"),
    }


def forget_peak(device: str) -> None:
    """Begin to measure `peak` anew."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    elif (marks := Path("/proc/self/clear_refs")).exists():
        marks.write_text("5")


def timed(work: Callable[[], Any], device: str) -> float:
    """Return the seconds of some work, with what the device does for it."""
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _generate(variant: Variant) -> None:
    """Generate an image in one step with guidance: two passes of the UNet, the VAE's decoder."""
    pipeline = variant.pipeline
    embeds = pipeline.encode_prompt("a photo", pipeline.device, 1, True)
    positive, negative = (one.to(pipeline.unet.dtype) for one in embeds)
    # A text encoder in float32 would take the latents into float32, too.
    parts = {**pipeline.components, "text_encoder": None, "tokenizer": None}
    bare = type(pipeline)(**parts, requires_safety_checker=False)
    bare.set_progress_bar_config(disable=True)
    bare(
        prompt_embeds=positive,
        negative_prompt_embeds=negative,
        num_inference_steps=1,
        guidance_scale=7.5,
    )
