"""ZeroGPU of Hugging Face Spaces: the GPU belongs to a forked process, for declared seconds.

In the process of the page, CUDA is only imitated by the package `spaces`: there models can be put
"on" the GPU before the page is launched, and nothing may run on it. What this process computes
itself (faces, scores, closed-form people, what prompts and mixtures are checked with) it does on
the CPU, with text encoders of its own.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
import httpx
import spaces
from gradio.context import LocalContext

from celeb_core import Studio
from celeb_core.cli.doctor import CARDS, LATENTS, SD_SIZE
from celeb_core.studio import without_gpu
from ui import gpu_tasks
from ui.calls import OutOfProcess
from ui.executor import GpuUnavailable
from ui.gpu_costs import GpuCosts
from ui.studio import Shared

DEVICE = "ZeroGPU"  # under which its measured times are kept
FACTOR = 1.5  # that half of an RTX Pro 6000 counts for a second
FASTEST = 0.03  # seconds of a sampling step, however small the model


def use_zero_gpu(shared: Shared) -> None:
    """Let all jobs do their GPU work on ZeroGPU. Call it before the page is built and launched.

    Args:
        shared: With a studio on the device "cuda".
    """
    gpu_tasks.use(shared.core)
    perform = spaces.GPU(duration=gpu_tasks.declared_seconds)(gpu_tasks.perform)
    shared.estimates.assume(DEVICE, assumed_sampling(shared.core))
    shared.use(without_gpu(shared.core))
    shared.executor = OutOfProcess(Call(perform), GpuCosts(shared.estimates, FACTOR))


class Call:
    """`gpu_tasks.perform` on ZeroGPU, with errors that a visitor understands."""

    def __init__(self, perform: Any) -> None:
        self._perform = perform

    def __call__(self, seconds: int, request: bytes) -> bytes:
        """Do a task in the worker process.

        Raises:
            GpuUnavailable: The quota is spent, no GPU is free, or the work was aborted.
        """
        # The visitor is known by the request in this job's context; the event itself is over.
        LocalContext.event_id.set(None)
        try:
            result: bytes = self._perform(seconds, request)
        except (gr.Error, httpx.HTTPError, RuntimeError) as error:
            raise GpuUnavailable(message(error)) from error
        return result


def message(error: Exception) -> str:
    """Say what ZeroGPU refused, and what to do."""
    title = getattr(error, "title", "ZeroGPU does not answer")
    reason = str(getattr(error, "message", error)).strip().rstrip(".")
    return (
        f"{title}: {reason}. What was trained or generated so far is kept, and Resume goes on from "
        "there later. Who is signed in to Hugging Face has more time."
    )


def assumed_sampling(studio: Studio) -> float:
    """Return the seconds of a sampling step until they are known: as on an A100."""
    models = studio.models
    parameters: int = sum(parameter.numel() for parameter in models.unet.parameters())
    factor: int = models.pipeline.vae_scale_factor
    pixels = models.width * models.height / factor**2
    seconds = LATENTS * parameters * pixels / (CARDS["A100"] * SD_SIZE)
    return max(FASTEST, seconds)
