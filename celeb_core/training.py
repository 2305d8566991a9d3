"""Fit identities: a generator of TrainStep, one path for one person and for ten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from celeb_core.types import Calibration, CelebBasis, Person, TrainConfig, TrainStep

if TYPE_CHECKING:
    from celeb_core.models import Models

PRESETS: dict[str, TrainConfig] = {}
"""instant (no training), fast, best, paper (the official recipe, METHOD.md §2)."""


def fit_identities(
    people: Sequence[Person],
    models: Models,
    basis: CelebBasis,
    config: TrainConfig | None = None,
    *,
    calibration: Calibration | None = None,
    recogniser: str = "",
    resume: Path | None = None,
) -> Iterator[TrainStep]:
    """Train one shared mapper for all people; yields step 0 (the start) and every step after.

    Stop by no longer asking. Raises TrainingDiverged, ResumeMismatch, BadName.
    """
    raise NotImplementedError


def fit(
    people: Sequence[Person],
    models: Models,
    basis: CelebBasis,
    config: TrainConfig | None = None,
    *,
    calibration: Calibration | None = None,
    recogniser: str = "",
) -> dict[str, "Identity"]:  # noqa: F821, UP037
    """Run `fit_identities` to its end -> the people by name."""
    raise NotImplementedError


def save_checkpoint(step: TrainStep, path: Path) -> None:
    """Write what `fit_identities(resume=path)` needs, atomically."""
    raise NotImplementedError
