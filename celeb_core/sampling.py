"""Prompt -> pictures, by the model's own diffusers pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from PIL import Image

from celeb_core.types import CelebBasis, Prompt, SampleConfig

if TYPE_CHECKING:
    from celeb_core.models import Models

SCHEDULERS: Mapping[str, str] = {}
"""Name -> diffusers class: "dpm++ 2m karras" (the default), "ddim", "euler", "euler a", "unipc"."""


def generate(
    prompt: Prompt,
    models: Models,
    basis: CelebBasis,
    config: SampleConfig | None = None,
    *,
    on_step: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Image.Image]:
    """Draw `config.num_images` pictures; picture i depends on seed + i only.

    `on_step(done, total)` counts denoising steps over all pictures. When `should_stop()` turns
    true, the pictures finished so far are returned. Raises PromptTooLong, BasisMismatch.
    """
    raise NotImplementedError
