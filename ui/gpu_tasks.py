"""Work for the GPU that can be done in another process: tasks, and the one function that does them.

A task and its result hold plain data and tensors on the CPU. Both cross the border as bytes of
`pickle`, which only ever come from this program: torch's own way to send a tensor keeps a file
open for each.
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from PIL import Image

from celeb_core import (
    Calibration,
    CelebError,
    Person,
    Prompt,
    SampleConfig,
    Studio,
    TrainConfig,
    TrainStep,
    fit_identities,
    generate_each,
    load_studio,
)
from celeb_core.types import Checkpoint

Batch: TypeAlias = tuple[tuple[Prompt, ...], SampleConfig]
"""The arguments of one `generate_each`."""

WORTH = 3.0  # times as long as its preparation a slice of a training is, at least,
LONGEST = 20.0  # but then no longer than this, in seconds

_studio: Studio | None = None
"""Whose models tasks run on. It is global because a task cannot carry models: on ZeroGPU the
process that works is a fork of one that has loaded them, elsewhere an initialiser loads them."""


def use(studio: Studio) -> None:
    """Let tasks of this process, and of its forks, run on the models of a studio."""
    global _studio
    _studio = studio


def load(options: Mapping[str, Any]) -> None:
    """Load the studio with these arguments of `load_studio`: the initialiser of a new process."""
    use(load_studio(**options))


def perform(seconds: int, request: bytes) -> bytes:
    """Do a pickled task and return its pickled result, or the CelebError that it raised.

    Args:
        seconds: That the task may take, as declared beforehand.
        request: `GenerateTask` or `TrainTask`.
    """
    if _studio is None:
        raise RuntimeError("no studio was loaded in this process")
    task: GenerateTask | TrainTask = pickle.loads(request)
    try:
        result: Any = task.run(_studio, seconds)
    except CelebError as error:
        result = error
    return pickle.dumps(result)


def declared_seconds(seconds: int, request: bytes) -> int:
    """Return the seconds for which `perform`, called with the same arguments, needs the GPU."""
    return seconds


@dataclass(frozen=True)
class Bug:
    """What a task raised that is no CelebError."""

    text: str


@dataclass(frozen=True, eq=False)
class Generated:
    """The images of each batch, and how long they took in all."""

    images: tuple[list[Image.Image], ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class GenerateTask:
    """Batches of images to generate."""

    batches: tuple[Batch, ...]

    def run(self, studio: Studio, seconds: float) -> Generated:
        """Generate all of them; raises as `generate_each`."""
        began = time.perf_counter()
        images = tuple(
            generate_each(prompts, studio.models, studio.basis, config)
            for prompts, config in self.batches
        )
        return Generated(images, time.perf_counter() - began)


@dataclass(frozen=True, eq=False)
class Slice:
    """A part of a training: its steps, without checkpoints, and the state after the last one."""

    steps: tuple[TrainStep, ...]
    checkpoint: Checkpoint
    finished: bool  # nothing is left to do


@dataclass(frozen=True, eq=False)
class TrainTask:
    """A training to be begun, or to be continued from a checkpoint, for some steps."""

    people: tuple[Person, ...]
    config: TrainConfig
    calibration: Calibration | None
    recogniser: str
    checkpoint: Checkpoint | None
    steps: int  # at most, but at least one
    overhead: float = 0.0  # seconds of those declared that are not for the work itself
    pace: float = math.inf  # seconds of steps after which it ends, if they are worth what is before

    def run(self, studio: Studio, seconds: float) -> Slice:
        """Train until another step would not fit any more; raises as `fit_identities`.

        The augmented views are encoded again in each slice: the same ones, since they have a seed
        of their own. A regression over the names comes before the first step, however long it is.
        """
        began = before = time.perf_counter()
        end = math.inf
        running = fit_identities(
            self.people,
            studio.models,
            studio.basis,
            self.config,
            calibration=self.calibration,
            recogniser=self.recogniser,
            resume=self.checkpoint,
        )
        done, made, finished = list[TrainStep](), 0, True
        for step in running:
            now = time.perf_counter()
            done.append(step)
            if step.losses and not made:  # views were encoded before it
                end = now + max(self.pace, min(LONGEST, WORTH * (now - before)))
            made += bool(step.losses)
            late = now - began + (now - before) > seconds - self.overhead or now >= end
            if made and step.step < step.steps and (late or made >= self.steps):
                finished = False
                break
            before = now
        checkpoint = done[-1].checkpoint
        assert checkpoint is not None  # only steps of the regression have none
        light = tuple(replace(step, checkpoint=None) for step in done)
        return Slice(light, checkpoint(), finished)
