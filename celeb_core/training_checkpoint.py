"""Going on with a training from a checkpoint, which is checked first."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from celeb_core.errors import ResumeMismatch, quote
from celeb_core.files import MAX_TENSORS, read_bytes
from celeb_core.formats.calibration_file import check_calibrated
from celeb_core.formats.saved_config import config_from_dict
from celeb_core.formats.tensor_file import parse_safetensors
from celeb_core.mapper import CalibratedMapper, CoefficientMapper, Mapper, check_state
from celeb_core.training_run import FORMATS, Training, settings_of_run
from celeb_core.types import Checkpoint


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a file of `save_checkpoint`; what it holds is checked by `restore`.

    Raises:
        ResumeMismatch: It cannot be read.
    """
    try:
        return parse_safetensors(read_bytes(path, MAX_TENSORS))
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise _unreadable(str(path), error) from error


def restore(training: Training, source: Path | Checkpoint) -> None:
    """Go on from a checkpoint, those of format 1 too, in a file or in memory.

    Raises:
        ResumeMismatch: It cannot be read, or is of other people, models or settings.
    """
    where = str(source) if isinstance(source, Path) else "The checkpoint in memory"
    stored, metadata = load_checkpoint(source) if isinstance(source, Path) else source
    try:
        # Copies: the optimiser changes its state in place, and the caller may start from it again.
        tensors = {key: tensor.clone() for key, tensor in stored.items()}
        tensors, metadata = _checked(tensors, metadata, where, training)
        _check_numbers(tensors, training)
        _put_back(training, tensors, metadata)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise _unreadable(where, error) from error


def _unreadable(where: str, error: Exception) -> ResumeMismatch:
    reason = quote(" ".join(str(error).split()))  # PyTorch's has several lines
    what = f"{where} is no training checkpoint that can be read ({reason})"
    return ResumeMismatch(f"{what}. Start the training anew.")


def _put_back(training: Training, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    saved = {key[7:]: t for key, t in tensors.items() if key.startswith("mapper.")}
    mapper: Mapper = CoefficientMapper(training.basis, training.config.mapper.norm)
    if "directions" in saved:  # of the calibration that there was, not of today's
        shape = (training.basis.k, training.basis.p)
        check_calibrated(saved, math.prod(shape))
        mapper = CalibratedMapper(shape, saved, training.config.mapper.shrink)
    mapper.load_state_dict(saved)
    training.use(mapper)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    check_state(training.optimiser, state)
    training.optimiser.load_state_dict({**training.optimiser.state_dict(), "state": state})
    training.kept = tensors["kept"].to(training.models.device)
    if (nuisance := training.loss.nuisance_tokens) is not None:
        nuisance.offsets.data.copy_(tensors["nuisance_tokens"])
    training.generator.set_state(tensors["generator"])
    if scaler := json.loads(metadata.get("scaler", "{}")):
        kinds = {key: type(value) for key, value in training.scaler.state_dict().items()}
        known = {key: type(value) for key, value in scaler.items()} == kinds
        if not known or not all(map(math.isfinite, scaler.values())):
            raise ValueError(f"the scale {scaler}")
        training.scaler.load_state_dict(scaler)
    training.step, training.seconds_before = int(metadata["step"]), float(metadata["seconds"])
    if training.step < 0 or not 0 <= training.seconds_before < math.inf:
        raise ValueError(f"step {training.step} after {training.seconds_before} seconds")


def _check_numbers(tensors: Mapping[str, Tensor], training: Training) -> None:
    """Raise ValueError if coefficients or nuisance tokens do not fit, or a number is not finite."""
    expected = {"kept": training.kept}
    if (nuisance := training.loss.nuisance_tokens) is not None:
        expected["nuisance_tokens"] = nuisance.offsets
    wrong = [
        key
        for key, own in expected.items()
        if (tensors[key].shape, tensors[key].dtype) != (own.shape, own.dtype)
    ]
    numbers = {key: tensor for key, tensor in tensors.items() if key != "generator"}
    wrong += [key for key, tensor in numbers.items() if not tensor.is_floating_point()]
    if wrong or not all(bool(tensor.isfinite().all()) for tensor in numbers.values()):
        raise ValueError(f"{', '.join(wrong) or 'its numbers'}: of a wrong shape, or not finite")


def _checked(
    tensors: dict[str, Tensor], metadata: dict[str, str], where: str, training: Training
) -> Checkpoint:
    """Return a checkpoint in today's format; `where` it is from, for messages."""
    *run, stored = json.loads(metadata["run"])
    if metadata["format"] not in FORMATS or not tensors.keys() >= {"kept", "generator"}:
        raise ValueError("not of a known format, or a part of one")
    if metadata["format"] == FORMATS[1]:
        run = run[1:]  # it began with the format
        tensors["nuisance_tokens"] = tensors.pop("photo_words", torch.zeros(0))
        tensors.pop("mapper.radius", None)
    run.append(settings_of_run(training, config_from_dict(dict(stored)))[-1])
    if run != (own := settings_of_run(training, training.config)):
        raise ResumeMismatch(
            f"{where} belongs to another training: {run}; this one is {own}. "
            "Use the same people and settings, or start anew."
        )
    return tensors, metadata
