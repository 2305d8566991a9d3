"""Images under way, decoded between the denoising steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from PIL import Image
from torch import Tensor

from celeb_core.sampling import decode_preview

PREVIEW_SHARE = 0.1  # of the time at most
PREVIEW_INTERVAL = 0.2  # seconds at least


class Previews:
    """Decodes images under way between the denoising steps, for a bounded share of the time.

    One object serves all calls of `generate_each` of a job: it waits until the cost of its last
    preview is PREVIEW_SHARE of the time.
    """

    def __init__(
        self,
        show: Callable[[list[Image.Image]], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._show, self._clock = show, clock
        self._due = clock() + PREVIEW_INTERVAL

    def __call__(self, pipeline: Any, latents: Tensor) -> None:
        """Show the images (b, c, h, w) under way if it is time to; for `on_latents`."""
        began = self._clock()
        if began < self._due:
            return
        self._show(decode_preview(pipeline, latents))
        ended = self._clock()
        self._due = ended + max(PREVIEW_INTERVAL, (ended - began) / PREVIEW_SHARE)
