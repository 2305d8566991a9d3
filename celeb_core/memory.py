"""How lean a model runs: modes from the fastest to the leanest, and what happens when it runs out.

    full       a step's pictures pass the UNet together
    pieces     one after the other, with the same gradients; the VAE decodes one by one, in tiles
               where a picture is larger than what it was trained on
    recompute  and the UNet's activations are computed twice instead of kept
    offload    and the text encoders stay on the CPU, the VAE is on the device only while it works

A mode changes no result but for rounding, and the seams of tiles in very large pictures.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import torch

from celeb_core.encoders import text_encoders
from celeb_core.errors import MemoryShort, ModelError

if TYPE_CHECKING:
    from celeb_core.models import Models

MODES = ("full", "pieces", "recompute", "offload")
PICTURES = 8  # of a training step, as the presets have it
KEPT_SD = 0.25e6  # bytes per latent pixel that a step keeps, half precision; measured on a CPU
KEPT_SDXL = 0.47e6  # the same, computed from the shapes
RECOMPUTED = 0.5  # of these is still there at most with recomputed activations
RESERVE = 1.2e9  # bytes for drawing, the libraries' work space and the device's own
EXHAUSTED = ("out of memory", "can't allocate memory", "not enough memory")

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class Memory:
    """The mode of one loaded pipeline; `mode` only ever gets leaner."""

    def __init__(self, pipeline: Any, device: torch.device, mode: str) -> None:
        self.pipeline, self.device = pipeline, device
        self.mode = checked_mode(mode)
        self._vae_hook: Any = None
        self._apply()

    def __str__(self) -> str:
        return self.mode

    @property
    def piece(self) -> int | None:
        """Pictures that pass the UNet together in training; None: all of a step."""
        return None if self.mode == "full" else 1

    def step_down(self) -> bool:
        """Take the next leaner mode -> whether there was one."""
        if self.mode == MODES[-1]:
            return False
        self.mode = MODES[MODES.index(self.mode) + 1]
        self._apply()
        return True

    def rest(self) -> None:
        """Take the VAE off the device, if that is the mode; it comes back when it is called."""
        if self._vae_hook is not None:
            self._vae_hook.offload()

    def _apply(self) -> None:
        level = MODES.index(self.mode)
        pipeline = self.pipeline
        if level >= MODES.index("pieces"):
            pipeline.vae.enable_slicing()
            pipeline.vae.enable_tiling()
        if level >= MODES.index("recompute"):
            pipeline.unet.enable_gradient_checkpointing()
        if level >= MODES.index("offload"):
            from accelerate import cpu_offload_with_hook

            for encoder in text_encoders(pipeline):
                encoder.model.to("cpu")
            _, self._vae_hook = cpu_offload_with_hook(pipeline.vae, self.device)


def checked_mode(mode: str) -> str:
    """The mode, if it is one. Raises ModelError."""
    if mode not in MODES:
        raise ModelError(f"“{mode}” is no memory mode. Choose {', '.join(MODES)}.")
    return mode


def best_mode(pipeline: Any, device: torch.device, dtype: torch.dtype) -> str:
    """The fastest mode in which a training step of PICTURES fits what is free on the device.

    An estimate, before the pipeline is moved there. On the CPU pictures never gain from company.
    """
    encoders = text_encoders(pipeline)
    texts = sum(_size(encoder.model) for encoder in encoders)
    networks = _size(pipeline.unet) + _size(pipeline.vae)
    side = pipeline.unet.config.sample_size
    pixels = side**2 if isinstance(side, int) else side[0] * side[1]
    kept = pixels * (KEPT_SDXL if len(encoders) > 1 else KEPT_SD) * dtype.itemsize / 2
    needs = {
        "full": texts + networks + PICTURES * kept,
        "pieces": texts + networks + kept,
        "recompute": texts + networks + RECOMPUTED * kept,
    }
    free = free_memory(device)
    if device.type == "cpu":
        free, needs = free + texts + networks, needs if networks < RESERVE else _from_pieces(needs)
    return next((mode for mode, need in needs.items() if need + RESERVE <= free), "offload")


def free_memory(device: torch.device) -> float:
    """Bytes: of a CUDA device what is free on it, elsewhere what the machine has left."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)


def within_memory(models: Models, attempt: Callable[[], Result]) -> Result:
    """What `attempt()` gives; when memory runs out it is made anew in leaner and leaner modes.

    It must not change anything before it is through. Raises MemoryShort when the leanest mode is
    not lean enough.
    """
    while True:
        try:
            return attempt()
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_exhaustion(error):
                raise
            reason = str(error).strip().partition("\n")[0]
        # Outside of the handler: the error holds the frames, and they hold the tensors.
        if models.device.type == "cuda":
            torch.cuda.empty_cache()
        before = models.memory.mode
        if not models.memory.step_down():
            raise MemoryShort(reason)
        log.warning(
            "Memory ran out in mode “%s”; going on in mode “%s”, which is slower.",
            before,
            models.memory.mode,
        )


def _from_pieces(needs: dict[str, float]) -> dict[str, float]:
    return {mode: need for mode, need in needs.items() if mode != "full"}


def _size(network: Any) -> int:
    return sum(weight.numel() * weight.element_size() for weight in network.parameters())


def _is_exhaustion(error: RuntimeError) -> bool:
    text = str(error).casefold()
    return isinstance(error, torch.OutOfMemoryError) or any(mark in text for mark in EXHAUSTED)
