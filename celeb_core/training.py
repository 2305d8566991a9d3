"""Fit identities: a generator of TrainStep, one code path for one person and for ten.

One mapper serves all people; `DenoisingLoss` sends gradients to it (Celeb Basis, section 3.3).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save

from celeb_core.files import write_atomically
from celeb_core.models import Models
from celeb_core.training_checkpoint import restore
from celeb_core.training_run import Training
from celeb_core.types import (
    Calibration,
    CelebBasis,
    Checkpoint,
    Identity,
    Person,
    TrainConfig,
    TrainStep,
)


def fit_identities(
    people: Sequence[Person],
    models: Models,
    basis: CelebBasis,
    config: TrainConfig | None = None,
    *,
    calibration: Calibration | None = None,
    recogniser: str = "",
    resume: Path | Checkpoint | None = None,
) -> Iterator[TrainStep]:
    """Train one shared mapper for all people. To stop, ask for no further step.

    Deterministic for a seed on one machine, as long as `max_seconds` does not cut it short. With a
    `calibration` it starts from the closed form. `recogniser` is written into the identities;
    `resume` is what to go on from: a file of `save_checkpoint`, or what `TrainStep.checkpoint`
    returned.

    Yields:
        Step 0, the initialisation, and every step after it; the caller may change threads. While
        a regression over the names is under way, step 0 without people and checkpoint.

    Raises:
        CelebError: SettingsError, BadName, BasisMismatch, ResumeMismatch, TrainingDiverged or
            MemoryShort.
    """
    training = Training(people, models, basis, config, calibration, recogniser)
    if resume is not None:
        restore(training, resume)
    else:
        for _ in training.initialise():
            yield replace(training.report({}), people=(), checkpoint=None)
    yield training.report({})
    while not training.finished():
        losses = training.update()
        yield training.report(losses)


def fit(
    people: Sequence[Person],
    models: Models,
    basis: CelebBasis,
    config: TrainConfig | None = None,
    *,
    calibration: Calibration | None = None,
    recogniser: str = "",
) -> dict[str, Identity]:
    """Run `fit_identities` to its end and return the people by name."""
    *_, last = fit_identities(
        people, models, basis, config, calibration=calibration, recogniser=recogniser
    )
    return last.identities


def save_checkpoint(step: TrainStep, path: Path) -> None:
    """Write what `fit_identities(resume=path)` needs, before the next step is asked for.

    Raises:
        SaveFailed, ValueError: The file cannot be written; the step is of no running training.
    """
    if step.checkpoint is None:
        raise ValueError("this step came from no training")
    tensors, metadata = step.checkpoint()
    write_atomically(path, save(tensors, metadata=metadata))
