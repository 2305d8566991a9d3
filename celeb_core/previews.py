"""How pictures look while they are drawn, for a bounded share of the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from celeb_core.devices import exact_vae

SHARE = 0.1  # of the drawing time at most, once the first look has been paid for
SOONEST = 0.2  # seconds from one look to the next


class Previews:
    """Decodes latents between denoising steps and gives the pictures to `show`.

    One object serves all calls of `generate_each` that belong together: it remembers what a look
    costs and waits until it has been earned. `spent` is the seconds of all looks.
    """

    def __init__(self, show: Callable[[list[Image.Image]], None]) -> None:
        self._show, self.spent = show, 0.0
        self._cost, self._looked = 0.0, time.perf_counter()
        self._vae: Any = None  # kept: it may be a copy

    def look(self, pipeline: Any, latents: Tensor) -> None:
        """Show the pictures (b, c, h, w) under way if it is time to.

        The latents are those after a step of the pipeline's scheduler.
        """
        now = time.perf_counter()
        if now - self._looked < max(SOONEST, self._cost / SHARE):
            return
        vae = self._vae = self._vae or exact_vae(pipeline.vae)
        clean = denoised(pipeline.scheduler, latents).to(vae.dtype)
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        with torch.no_grad():
            pixels = vae.decode(clean / vae.config.scaling_factor + shift, return_dict=False)[0]
        self._show(pipeline.image_processor.postprocess(pixels))
        self._looked = time.perf_counter()
        self._cost = self._looked - now
        self.spent += self._cost


def denoised(scheduler: Any, latents: Tensor) -> Tensor:
    """What the scheduler now takes the finished latents for; the latents themselves, with their
    noise, of a scheduler that does not keep it.
    """
    config = scheduler.config
    keeps = config.get("predict_x0") or "++" in config.get("algorithm_type", "")
    return scheduler.model_outputs[-1] if keeps else latents
