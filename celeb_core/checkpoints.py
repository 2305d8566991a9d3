"""Stop a training and go on later: its state in a safetensors file."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from celeb_core.errors import ResumeMismatch
from celeb_core.files import write_atomically
from celeb_core.types import TrainStep

FORMAT = "celeb-training 1"


def save_checkpoint(step: TrainStep, path: Path) -> None:
    """Write what `fit_identities(resume=path)` needs, atomically. Raises SaveFailed.

    Call it before the next step is asked for.
    """
    if step.checkpoint is None:
        raise ValueError("this step came from no training")
    tensors, metadata = step.checkpoint()
    write_atomically(path, save(tensors, metadata=metadata))


def load_checkpoint(path: Path, run: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a checkpoint; `run` must be what it was written for.

    Raises ResumeMismatch.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ResumeMismatch(
            f"{path} is no training checkpoint that can be read. Start the training anew."
        ) from error
    if metadata.get("run") != run:
        raise ResumeMismatch(
            f"{path} belongs to another training: {metadata.get('run')}; this one is {run}. "
            "Use the same people and settings, or start anew."
        )
    return tensors, metadata
