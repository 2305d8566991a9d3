"""Calibration <-> its file, which may be damaged or of another model."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from celeb_core.errors import BasisMismatch, CalibrationUnusable, quote
from celeb_core.files import read_tensors, write_atomically
from celeb_core.types import (
    Calibration,
    CelebBasis,
    Framing,
    PersonPositions,
    PositionCurve,
    TrainConfig,
)

FACE_WIDTH = 512
LABELS = ("basis_id", "base_model", "recogniser")
CALIBRATED = ("down", "up", "bias", "directions", "correction")  # tensors of a Calibration
FORMAT = "celeb-calibration 3"
POSITIONS = "person_positions"
MAKE_AGAIN = "make it again with “celeb-basis prepare”, or name another one"

log = logging.getLogger(__name__)


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write it atomically: faces in 8 bits (0.5 KB per celebrity), the rest in half precision.

    Raises:
        SaveFailed: The file cannot be written.
    """
    metadata = {name: getattr(calibration, name) for name in LABELS} | {"format": FORMAT}
    metadata["names"] = json.dumps(calibration.names)
    metadata["framing"] = json.dumps(vars(calibration.framing))
    for name in ("settings", "report"):
        metadata[name] = json.dumps(getattr(calibration, name))
    if calibration.person_positions is not None:
        metadata[POSITIONS] = json.dumps(asdict(calibration.person_positions))
    tensors = {name: getattr(calibration, name).half().contiguous() for name in CALIBRATED}
    faces = calibration.face_embeddings
    scale = 127 / faces.abs().amax(1, keepdim=True).clamp_min(1e-6)
    tensors["face_embeddings"] = (faces * scale).round().char()
    write_atomically(path, save(tensors, metadata=metadata))


def load_calibration(paths: Sequence[Path], recogniser: str, basis_id: str) -> Calibration | None:
    """Load the first calibration of this recogniser and basis; skip others with a warning."""
    for path in filter(Path.is_file, paths):
        try:
            return read_calibration(path, recogniser, basis_id)
        except CalibrationUnusable as error:
            log.warning("ignored: %s", error)
    return None


def read_calibration(path: Path, recogniser: str, basis_id: str) -> Calibration:
    """Load a calibration, or raise CalibrationUnusable if it is damaged or does not fit."""
    try:
        if (content := read_tensors(path, FORMAT)) is None:
            raise ValueError("damaged or of another version")
        metadata, tensors = content[1], {name: x.float() for name, x in content[0].items()}
        if (metadata["recogniser"], metadata["basis_id"]) != (recogniser, basis_id):
            what = "recogniser" if metadata["recogniser"] != recogniser else "celeb basis"
            raise ValueError(f"made with another {what} for {metadata['base_model']}")
        if not 0 < tensors["directions"].shape[1] <= FACE_WIDTH:
            raise ValueError("it has no directions, or too many")
        tensors.setdefault("correction", zero_correction(tensors["directions"]))
        names, framing = (json.loads(metadata[name]) for name in ("names", "framing"))
        settings, report = (json.loads(metadata.get(name, "{}")) for name in ("settings", "report"))
        TrainConfig().changed(**settings)  # raises TypeError for what is no setting
        numbers = [report.get("seconds", 0), *report.get("identity_over_by_name", [])]
        if not all(isinstance(number, int | float) for number in [*numbers, *framing.values()]):
            raise ValueError("its report or framing is damaged")
        usual = TrainConfig().flat()
        if not all(_is_like(value, usual[name]) for name, value in settings.items()):
            raise ValueError("its settings are damaged")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("its names are damaged")
        positions = metadata.get(POSITIONS)
        check_calibrated(tensors, len(tensors["bias"]))
        if tensors["face_embeddings"].shape != (len(names), FACE_WIDTH) or len(tensors) != 6:
            raise ValueError("it has other tensors than those of its names")
        tensors["face_embeddings"] = functional.normalize(tensors["face_embeddings"], dim=1)
        values: dict[str, Any] = tensors | {name: metadata[name] for name in LABELS}
        values |= {"settings": settings, "report": report, "source": str(path)}
        values[POSITIONS] = read_positions(json.loads(positions)) if positions else None
        return Calibration(tuple(names), framing=Framing(**framing), **values)
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        what = f"{path} is no calibration to use: {quote(str(error))}; {MAKE_AGAIN}"
        raise CalibrationUnusable(what) from error


def check_calibrated(tensors: Mapping[str, Tensor], count: int) -> None:
    """Raise ValueError if CALIBRATED tensors, of that many coefficients, do not fit together."""
    rank, q = len(tensors["down"]), tensors["directions"].shape[1]
    sizes = (rank, FACE_WIDTH), (count, rank), (count,), (count, q), (q, q + 1)
    wrong = [n for n, size in zip(CALIBRATED, sizes, strict=True) if tensors[n].shape != size]
    wrong += [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if wrong or not 0 < q <= FACE_WIDTH:
        raise ValueError(f"its tensors {wrong} have wrong shapes or are not finite")


def read_positions(found: Mapping[str, Any]) -> PersonPositions:
    """Return the positions that JSON describes; ValueError, KeyError or TypeError if none."""
    curves = {}
    for field in fields(PersonPositions):
        curve = PositionCurve(**found[field.name])
        positions, kept = tuple(curve.positions), tuple(curve.kept)
        whole = [*positions] if curve.limit is None else [*positions, curve.limit]
        if not all(type(each) is int for each in whole):
            raise ValueError("its positions of people are no whole numbers")
        if not all(type(share) in (int, float) and 0 <= share <= 1 for share in kept):
            raise ValueError("its shares of identity scores are not between 0 and 1")
        if len(positions) != len(kept) or list(positions) != sorted(set(positions)):
            raise ValueError("its positions of people do not ascend, or lack shares")
        curves[field.name] = PositionCurve(positions, kept, curve.limit)
    return PersonPositions(**curves)


def check_basis(calibration: Calibration, basis: CelebBasis) -> None:
    """Raise BasisMismatch or CalibrationUnusable if the calibration is not of this basis."""
    if calibration.basis_id != basis.id:
        raise BasisMismatch("calibration", basis.id, calibration.basis_id, calibration.base_model)
    if (count := len(calibration.bias)) != basis.std.numel():
        what = f"it has {count} coefficients, its basis {basis.std.numel()}"
        raise CalibrationUnusable(f"{calibration.source} is damaged: {what}; {MAKE_AGAIN}")


def zero_correction(directions: Tensor) -> Tensor:
    """Return the `Calibration.correction` that adds nothing along directions (k * p, q)."""
    return torch.zeros(directions.shape[1], directions.shape[1] + 1)


def _is_like(value: Any, usual: Any) -> bool:
    """Return whether a setting has the type of its usual value; None is that of a number."""
    kinds = type(usual) if isinstance(usual, int | str) else (int, float)
    return isinstance(value, kinds)
