"""What regions cost: a UNet's time and memory with them, over those without.

    python -m bench.regional_attention --tiny

Two people side by side, with guidance, on a canvas 1.5 times as wide as the model's. Random weights
at full size, or --tiny: the same layers with fewer channels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch.profiler import ProfilerActivity, profile

from bench.full_size import random_pipeline
from celeb_core.regions import RegionalAttention, RegionalPrompt
from celeb_core.types import PromptEmbeds

TOKENS = 77
COLUMNS = ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0))
SD2 = {"attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True}
TINY_SD2 = SD2 | {"attention_head_dim": (2, 4, 8, 8)}
SIZES = {"sd1": (64, 96), "sd2": (96, 144), "sdxl": (128, 192)}
"""Height and width of the latents."""


def build_unet(family: str, device: str, dtype: torch.dtype, tiny: bool) -> Any:
    """Build a UNet with random weights: that of SD 2.x is one of SD 1.x with other attention."""
    unet = random_pipeline(dtype, device, "sdxl" if family == "sdxl" else "sd1", tiny).unet
    if family == "sd2":
        config = {**unet.config, **(TINY_SD2 if tiny else SD2)}
        config |= {} if tiny else {"cross_attention_dim": 1024}
        unet = UNet2DConditionModel.from_config(config).to(device, dtype).eval()
    return unet


def forward(unet: Any, size: tuple[int, int], texts: int) -> Callable[[], None]:
    """Return a call of the UNet on the latents of one image, with guidance."""
    like = {"device": unet.device, "dtype": unet.dtype}
    states = torch.randn(2, TOKENS * texts, unet.config.cross_attention_dim, **like)
    latents, more = torch.randn(2, unet.config.in_channels, *size, **like), {}
    if unet.config.addition_embed_type == "text_time":
        times = 6 * unet.config.addition_time_embed_dim
        pooled = unet.config.projection_class_embeddings_input_dim - times
        conditions = {
            "text_embeds": torch.randn(2, pooled, **like), "time_ids": torch.ones(2, 6, **like),
        }  # fmt: skip
        more = {"added_cond_kwargs": conditions}

    def run() -> None:
        unet(latents, torch.tensor(500, device=unet.device), states, **more)
        if unet.device.type == "cuda":
            torch.cuda.synchronize()

    return run


@torch.no_grad()
def cost(unet: Any, size: tuple[int, int], bounded: bool | None, repeats: int) -> list[float]:
    """Return seconds and peak MiB, beside the weights, of a UNet call.

    Args:
        unet: On its device.
        size: Of the latents.
        bounded: Whether self-attention is bounded, too; None: no regions.
        repeats: The fastest call counts.
    """
    states = torch.zeros(1, TOKENS * 3, 1)
    prompt = RegionalPrompt(PromptEmbeds(states), COLUMNS, 1.0)
    attention = RegionalAttention([prompt], size, int(bounded or 0))
    run = forward(unet, size, 1 if bounded is None else prompt.texts)
    with nullcontext() if bounded is None else attention.applied(unet):
        memory = peak_bytes(unet.device, run)  # of the first call, which makes the parts
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
    return [min(times), memory / 2**20]


def peak_bytes(device: torch.device, run: Callable[[], None]) -> float:
    """Return the greatest memory that a call holds, beside what was there before it."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    assert record.profiler is not None and record.profiler.kineto_results is not None
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def main(argv: list[str] | None = None) -> None:
    """Print a row for each family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="fewer channels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shrink", type=int, default=1, help="smaller sides of the latents")
    options = parser.parse_args(argv)
    dtype = torch.float16 if options.device.startswith("cuda") else torch.float32
    print("| model | latents | seconds | MiB | cross-attention | and self-attention |")
    print("|---|---|---|---|---|---|")
    for family, (height, width) in SIZES.items():
        size = (height // options.shrink, width // options.shrink)
        unet = build_unet(family, options.device, dtype, options.tiny)
        off, cross, both = (
            cost(unet, size, bounded, options.repeats) for bounded in (None, False, True)
        )
        ratios = " | ".join(
            f"{row[0] / off[0]:.2f} x time, {row[1] / off[1]:.2f} x memory" for row in (cross, both)
        )
        print(f"| {family} | {size[1]} x {size[0]} | {off[0]:.3g} | {off[1]:.0f} | {ratios} |")


if __name__ == "__main__":
    main()
