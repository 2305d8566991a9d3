"""Every load: the diffusion model and its optional companions; device, dtype, caches.

A model folder is a diffusers pipeline folder. Files that may lie beside `model_index.json`, each
turning a feature on: `studio.json`, `faces/`, `clip/`, `judge.onnx`, `reader.onnx` + `.json`,
`names.txt`, `calibration.safetensors`, `evaluation/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celeb_core.faces import FaceModel
from celeb_core.types import Calibration, CelebBasis

ASSETS = Path(__file__).resolve().parent.parent / "assets"


@dataclass(frozen=True, eq=False)
class Models:
    """A diffusion model with all weights frozen, and what its folder says about it."""

    id: str  # what identities are labelled with: a hub id or a folder's name
    title: str
    note: str  # why it was chosen, where it runs
    folder: Path | None
    pipeline: Any  # diffusers.StableDiffusionPipeline
    names: tuple[str, ...]  # celebrities known to the model; may be empty


@dataclass(frozen=True, eq=False)
class Studio:
    """Everything loaded that an app or a command needs."""

    models: Models
    faces: FaceModel
    basis: CelebBasis
    calibration: Calibration | None


def load_models(
    model: str | Path = "auto", device: str | None = None, dtype: str | None = None
) -> Models:
    """Load "auto", "toonville", a diffusers folder, or a hub id.

    Raises ModelNotFound, ModelUnsupported.
    """
    raise NotImplementedError


def load_studio(
    model: str | Path = "auto",
    *,
    device: str | None = None,
    dtype: str | None = None,
    face_pack: str | Path | None = None,
    names: Path | None = None,
    cache: Path | None = None,
) -> Studio:
    """Models, face pack, basis (built on first use and kept under `cache`) and calibration."""
    raise NotImplementedError
