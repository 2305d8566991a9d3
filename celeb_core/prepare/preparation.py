"""Prepare a model, once: its celebrities' portraits, the closed-form initialisation, self-check."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from celeb_core.many.workers import Makers
from celeb_core.name_regression import NAMES
from celeb_core.prepare.calibration import (
    IMAGE_BATCH,
    MIN_FACES,
    PortraitPlan,
    fit_calibration,
    generate_people,
    load_people,
    stretched,
)
from celeb_core.prepare.positions import (
    cost,
    measure_positions,
    person_positions,
    place_people,
)
from celeb_core.prepare.self_check import TRAINED, Trial, axes, self_check
from celeb_core.prepare.stand_ins import TEMPLATES, StandIn, build_stand_ins
from celeb_core.studio import Studio
from celeb_core.types import REGRESSION_BATCH, Calibration, TrainConfig, recipe

GUIDED = 2  # UNet latents of an image and step of sampling
TRAINED_LATENT = 3  # what a training's latent costs, in latents of sampling
CANDIDATES = 3  # per stand-in; those with the most constant faces are taken


@dataclass(frozen=True)
class Level:
    """How thoroughly a model is prepared."""

    names: int  # whose portraits are generated, at most; evenly spaced in the list
    sampling_steps: int
    stand_ins: int  # celebrities who are held out, and play unknown people
    per_position: int  # images of each position in a prompt where people may be known, or not
    search: bool  # of the settings; without it, those of a model that is not prepared are measured


LEVELS = {
    # So few portraits do for instant and fast, but best starts better from the regression.
    "quick": Level(names=300, sampling_steps=8, stand_ins=1, per_position=2, search=False),
    "full": Level(names=1500, sampling_steps=10, stand_ins=6, per_position=12, search=True),
}


@dataclass(frozen=True, eq=False)
class PrepareStep:
    """Progress of a preparation, in UNet latents of sampling; the last one has the result."""

    done: int
    total: int  # an estimate: the self-check ends when nothing changes
    note: str  # what was done
    seconds_left: float | None  # None while there is nothing to estimate from
    result: Calibration | None = None


def prepare_model(
    studio: Studio,
    folder: Path,
    level: str = "quick",
    *,
    seed: int = 0,
    made_by: str = "",
    makers: Makers | None = None,
) -> Iterator[PrepareStep]:
    """Make the calibration of a model, with the training settings that its self-check chose.

    Args:
        studio: Of the model; its own calibration is not used.
        folder: Keeps what is done: a run that was stopped goes on there.
        level: A key of LEVELS.
        seed: Of all images.
        made_by: Who; it is written into the report.
        makers: Whoever generates and trains; None: this process. What is left, like the fit of the
            initialisation, is computed here.

    Raises:
        FeatureMissing: Too few portraits show a face.
    """
    plan, settings = LEVELS[level], dict[str, Any]()
    names = spread(studio.basis.names, plan.names)
    portraits = PortraitPlan(names, plan.sampling_steps, seed)
    image, clock = plan.sampling_steps * GUIDED, _Clock(planned_cost(plan, studio))

    for batches in generate_people(portraits, studio, folder, makers):
        stored = min(batches * IMAGE_BATCH, len(names))
        yield clock.step(stored * image, f"portrait {stored} of {len(names)}")
    faces, done = load_people(portraits, studio, folder), len(names) * image
    yield clock.step(done, "choosing celebrities who play unknown people")
    found = [name for name, seen in zip(names, faces.found.tolist(), strict=True) if seen]
    candidates = spread(found, CANDIDATES * plan.stand_ins)
    stand_ins: list[StandIn] = []
    if len(found) >= MIN_FACES:  # else the fit says what is wrong
        stand_ins = build_stand_ins(candidates, plan.stand_ins, studio, plan.sampling_steps)
    held_out = [stand_in.name for stand_in in stand_ins]
    yield clock.step(done, "fitting the closed-form initialisation")
    calibration = fit_calibration(faces, studio, held_out)

    steps = plan.sampling_steps
    placed = place_people(found, plan.per_position, studio.models.encoders[0])
    for texts in placed:
        for _ in measure_positions(texts, steps, calibration, studio, folder, makers):
            yield clock.step(done, "up to which token people are known")
    positions = person_positions(*placed, steps, calibration, folder)
    done += round(cost(plan.per_position) * image)
    limit = positions.first.limit
    yield clock.step(done, f"people are known {f'up to token {limit}' if limit else 'everywhere'}")

    trials, before, note = list[Trial](), _trained(folder), "self-check"
    initial = None if plan.search else recipe("best", None).changed(calibrated=False)
    checked = self_check(
        stand_ins, calibration, studio, folder, plan.sampling_steps, makers,
        search=plan.search, initial=initial,
    )  # fmt: skip
    for trial in checked:
        if trial is not None:
            trials.append(trial)
            settings |= trial.settings if trial.chosen else {}
            note = f"self-check: {trial}"
        trained = done + _training_cost(plan) * (_trained(folder) - before)
        yield clock.step(trained, note, more=_training_cost(plan) if plan.search else 0)
    report = {
        "level": level,
        "made_by": made_by,
        "date": date.today().isoformat(),
        "device": f"{studio.models.device}, {studio.models.unet.dtype}",
        "seconds": round(clock.seconds()),
        "portraits": f"{int(faces.found.sum())} of {len(names)} with a face",
        "sampling_steps": plan.sampling_steps,
        "held_out": held_out,
        "identity_over_by_name": [round(ratio, 3) for ratio in trials[-1].ratios],
        "self_check": [str(trial) for trial in trials],
    }
    calibration = stretched(calibration, settings.pop("stretch", 1.0))
    result = replace(calibration, settings=settings, report=report, person_positions=positions)
    yield replace(clock.step(clock.total, "done"), result=result)


def spread(items: Sequence[str], count: int) -> tuple[str, ...]:
    """Return `count` of the items, evenly spaced, or all if there are no more."""
    if len(items) <= count:
        return tuple(items)
    return tuple(items[i * len(items) // count] for i in range(count))


def planned_cost(plan: Level, studio: Studio) -> int:
    """Return the work in UNet latents of sampling; of a search, that of its first sweep."""
    people = min(plan.names, len(studio.basis.names))
    # The current value of each axis is known already, and shrinking needs no training.
    options: dict[str, Sequence[Any]] = {**axes(studio.models), "shrink": [{}]}
    trials = 1 + sum(len(values) - 1 for values in options.values()) if plan.search else 1
    trainings = trials * plan.stand_ins * _training_cost(plan)
    images = people + round(cost(plan.per_position))
    return images * plan.sampling_steps * GUIDED + trainings


def _training_cost(plan: Level) -> int:
    """Latents of one training of the self-check and its images."""
    config, images = TrainConfig(), len(TEMPLATES) * plan.sampling_steps * GUIDED
    compared = 0 if plan.search else REGRESSION_BATCH * NAMES
    return config.steps * config.batch_size * TRAINED_LATENT + images + compared


def _trained(folder: Path) -> int:
    """Count the trainings of the self-check whose files are there, of all processes."""
    return sum(1 for _ in folder.glob(f"{TRAINED}-*"))


class _Clock:
    """Estimates the time that is left by the work that was done since the first step."""

    def __init__(self, total: int) -> None:
        self.total, self._began = total, time.monotonic()
        self._first: int | None = None

    def seconds(self) -> float:
        """Return how long it has run."""
        return time.monotonic() - self._began

    def step(self, done: int, note: str, more: int = 0) -> PrepareStep:
        """Describe the state after `done` latents, to which `more` are added for certain."""
        self.total = max(self.total, done + more)
        if self._first is None:
            self._first = done
        pace = self.seconds() / (done - self._first) if done > self._first else None
        left = None if pace is None else pace * (self.total - done)
        return PrepareStep(done, self.total, note, left)
