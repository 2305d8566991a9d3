"""Where a model runs: device, dtype, memory modes, and what happens when memory runs out.

Memory modes, from the fastest to the leanest:

    full           a training step's micro-batch is the whole batch
    micro-batches  one image after the other, with the same gradients; the VAE decodes one by one,
                   in tiles where an image is larger than those that it was trained on
    checkpointing  and the UNet's activations are recomputed in the backward pass
    offload        and text encoders stay on the CPU, the VAE is on the device only while it works

A mode changes results by rounding only, and by the seams of tiles in very large images.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psutil
import torch
from accelerate import cpu_offload_with_hook
from accelerate.utils.memory import should_reduce_batch_size

from celeb_core.errors import MemoryShort, ModelError
from celeb_core.text_encoder import text_encoders

MIXED = "mixed"  # bfloat16 storage, float32 arithmetic: see `celeb_core.precision`
DTYPES = ("float32", "bfloat16", "float16", MIXED)
LARGE_UNET = 200_000_000  # parameters from which half the memory matters

MODES = ("full", "micro-batches", "checkpointing", "offload")
TRAIN_BATCH = 8  # images of a training step, as the presets have it
MOST_IMAGES = 512  # of several people, that pass the UNet together: more gain nothing
# Bytes per latent pixel that a step keeps in half precision: SD 1.5's measured, SDXL's computed.
ACTIVATIONS_SD, ACTIVATIONS_SDXL = 0.25e6, 0.47e6
CHECKPOINTED = 0.5  # share of these that is left with gradient checkpointing, at most
RESERVE = 1.2e9  # bytes for sampling, workspaces and the device itself
FULL = ("out of memory", "not enough memory")  # that accelerate overlooks: CUDA's calls, Windows

log = logging.getLogger(__name__)
Result = TypeVar("Result")


def probe(device: str) -> None:
    """Compute something; RuntimeError where a device has failed, or PyTorch is not made for it."""
    torch.ones(1, device=device).sum().item()


def best_device() -> str:
    """Return "cuda" if there is such a device, else "mps", else "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def checked_device(device: str) -> str:
    """Return a device name such as "cpu", "cuda:1" or "mps".

    Raises:
        ModelError: This machine, or this PyTorch, has no such device.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    usable = ["cpu", *["cuda"] * cuda, *["mps"] * mps]
    kind, found = device.split(":")[0], " and ".join(usable)
    if kind in usable:
        return device
    advice = "Install PyTorch with CUDA, or name" if kind == "cuda" else "Name"
    raise ModelError(f"There is no device “{device}” here, only {found}. {advice} one of these.")


def dtype_of(name: str) -> torch.dtype:
    """Return the dtype in which a network of a DTYPES name computes.

    Raises:
        ModelError: The name is not one of DTYPES.
    """
    if name not in DTYPES:
        raise ModelError(f"“{name}” is no dtype. Choose {', '.join(DTYPES)}.")
    dtype: torch.dtype = torch.float32 if name == MIXED else getattr(torch, name)
    return dtype


def best_dtype(device: str, parameters: int) -> str:
    """Return the DTYPES name for a UNet: half precision for a large one where that is no slower."""
    if parameters <= LARGE_UNET or device.startswith("mps"):
        return "float32"
    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if native else "float16"
    has = torch.cpu.get_capabilities()
    native = any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bfloat16" if native else MIXED


@contextmanager
def exact_vae(vae: Any) -> Iterator[Any]:
    """Within the block, a VAE that overflows in float16, as SDXL's does, is in float32.

    It is converted in place, as diffusers' pipelines do it; no weight changes by that.
    """
    overflows = vae.dtype == torch.float16 and vae.config.force_upcast
    try:
        yield vae.float() if overflows else vae
    finally:
        if overflows:
            vae.half()


def loss_scaler(device: torch.device, dtype: torch.dtype) -> torch.amp.GradScaler:
    """Return a gradient scaler that is enabled in float16 only."""
    return torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)


class Memory:
    """The memory mode of one loaded pipeline; `mode` only ever gets leaner."""

    def __init__(self, pipeline: Any, device: torch.device, mode: str) -> None:
        self.pipeline, self.device = pipeline, device
        self.mode = checked_mode(mode)
        self._vae_hook: Any = None
        self._apply()

    @property
    def micro_batch(self) -> int | None:
        """Images that pass the UNet together; None: the whole batch."""
        return None if self.mode == "full" else 1

    def step_down(self) -> bool:
        """Switch to the next leaner mode; return False if there is none."""
        if self.mode == MODES[-1]:
            return False
        self.mode = MODES[MODES.index(self.mode) + 1]
        self._apply()
        return True

    def offload_vae(self) -> None:
        """Take the VAE off the device, if that is the mode; its next call brings it back."""
        if self._vae_hook is not None:
            self._vae_hook.offload()

    def _apply(self) -> None:
        level, pipeline = MODES.index(self.mode), self.pipeline
        if level >= MODES.index("micro-batches"):
            pipeline.vae.enable_slicing()
            pipeline.vae.enable_tiling()
        if level >= MODES.index("checkpointing"):
            pipeline.unet.enable_gradient_checkpointing()
        if level >= MODES.index("offload"):
            for encoder in text_encoders(pipeline):
                encoder.model.to("cpu")
            _, self._vae_hook = cpu_offload_with_hook(pipeline.vae, self.device)


def checked_mode(mode: str) -> str:
    """Return the memory mode.

    Raises:
        ModelError: It is not one of MODES.
    """
    if mode not in MODES:
        raise ModelError(f"“{mode}” is no memory mode. Choose {', '.join(MODES)}.")
    return mode


def best_mode(pipeline: Any, device: torch.device, dtype: torch.dtype) -> str:
    """Estimate the fastest mode in which a training step fits the device's free memory.

    The pipeline is not yet there; its UNet will compute in `dtype`. On the CPU a large model gains
    nothing from larger batches.
    """
    encoders = text_encoders(pipeline)
    parts = [pipeline.unet, pipeline.vae, *(encoder.model for encoder in encoders)]
    sizes = [part.get_memory_footprint(return_buffers=False) for part in parts]
    kept = _kept(pipeline, dtype)
    images = {"full": TRAIN_BATCH, "micro-batches": 1.0, "checkpointing": CHECKPOINTED}
    free = free_memory(device) - RESERVE
    if device.type == "cpu":
        if sum(sizes[:2]) >= RESERVE:
            del images["full"]
    else:
        free -= sum(sizes)
    return next((mode for mode, count in images.items() if count * kept <= free), "offload")


def _kept(pipeline: Any, dtype: torch.dtype) -> float:
    """Return the bytes that a training step keeps of one image, in `dtype`."""
    side = pipeline.unet.config.sample_size
    pixels = side**2 if isinstance(side, int) else side[0] * side[1]
    two = len(text_encoders(pipeline)) > 1
    return float(pixels * (ACTIVATIONS_SDXL if two else ACTIVATIONS_SD) * dtype.itemsize / 2)


def fitting_images(pipeline: Any, device: torch.device, dtype: torch.dtype) -> int:
    """Estimate how many images of the model's size pass the UNet together in a training step.

    The pipeline is on its device. On the CPU it is what a step has anyway: more gain nothing there.
    """
    if device.type == "cpu":
        return TRAIN_BATCH
    free = free_memory(device) - RESERVE
    return max(1, min(MOST_IMAGES, int(free / _kept(pipeline, dtype))))


def free_memory(device: torch.device) -> float:
    """Return the free bytes of a CUDA device, or of the machine."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)


def within_memory(
    memory: Memory, attempt: Callable[[], Result], smaller: Callable[[], bool] = lambda: False
) -> Result:
    """Call `attempt`, again in a leaner mode whenever memory runs out: it must have no effect then.

    `smaller` is asked before that to make the attempt itself smaller, and returns whether it is.

    Raises:
        MemoryShort: The leanest mode is not lean enough.
    """
    while True:
        try:
            return attempt()
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            known = isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)
            if not (known or any(text in str(error) for text in FULL)):
                raise
            reason = str(error).strip().partition("\n")[0]
        # Outside of the handler: the error holds the frames, and they hold the tensors.
        if memory.device.type == "cuda":
            torch.cuda.empty_cache()
        before = memory.mode
        if smaller():
            continue
        if not memory.step_down():
            raise MemoryShort(reason)
        log.warning("Out of memory in mode “%s”; going on in mode “%s”.", before, memory.mode)
