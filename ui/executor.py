"""Where the GPU work of jobs runs: in this process, or in another one in short calls."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from PIL import Image
from torch import Tensor

from celeb_core import (
    CelebError,
    Person,
    Studio,
    TrainConfig,
    TrainStep,
    fit_identities,
    generate_each,
)
from celeb_core.safety import checked
from celeb_core.training_checkpoint import load_checkpoint
from celeb_core.types import Checkpoint
from ui.gpu_costs import MOST, OVERHEAD, WORK, GpuCosts, declared
from ui.gpu_tasks import Batch, Generated, GenerateTask, Slice, TrainTask

Perform: TypeAlias = Callable[[int, bytes], bytes]
"""`gpu_tasks.perform` in another process: declared seconds, pickled task -> pickled result."""


class GpuUnavailable(CelebError):
    """The GPU is not to be had now, or was taken away; what was done before is kept."""


@dataclass(frozen=True)
class Watch:
    """What a job wants to know, and to say, while images are generated."""

    on_step: Callable[[int, int], None] | None = None  # denoising steps done of a batch, their sum
    should_stop: Callable[[], bool] = lambda: False
    on_latents: Callable[[Any, Tensor], None] | None = None  # as in `generate_each`


class Executor(Protocol):
    """Trains and generates for jobs."""

    @property
    def costs(self) -> GpuCosts | None:
        """Where GPU seconds are counted: then a job computes nothing that nobody asked for."""

    def one_by_one(self, core: Studio, batch: Batch) -> bool:
        """Return whether images like these had better be generated one after the other."""

    def fitting(self, config: TrainConfig, people: int) -> TrainConfig:
        """Return a new training's config such that each part of it that is not sliced fits."""

    def train(
        self, core: Studio, people: Sequence[Person], config: TrainConfig, resume: Path | None
    ) -> Iterator[TrainStep]:
        """Train as `fit_identities` does; steps without a checkpoint come before one with it."""

    def generate(
        self, core: Studio, batches: Iterable[Batch], watch: Watch = Watch()
    ) -> Iterator[list[Image.Image]]:
        """Generate each batch; after one that is incomplete there are no more.

        Images that the safety checker blocks are placeholders, see `checked`.
        """


class InProcess:
    """Everything happens here, step by step."""

    costs: GpuCosts | None = None

    def one_by_one(self, core: Studio, batch: Batch) -> bool:
        """Return whether the models are on a CPU: a batch would make its first image late."""
        return core.models.device.type == "cpu"

    def fitting(self, config: TrainConfig, people: int) -> TrainConfig:
        """Return the config as it is."""
        return config

    def train(
        self, core: Studio, people: Sequence[Person], config: TrainConfig, resume: Path | None
    ) -> Iterator[TrainStep]:
        """Train; every step has a checkpoint."""
        return fit_identities(
            people,
            core.models,
            core.basis,
            config,
            calibration=core.calibration,
            recogniser=core.faces.id,
            resume=resume,
        )

    def generate(
        self, core: Studio, batches: Iterable[Batch], watch: Watch = Watch()
    ) -> Iterator[list[Image.Image]]:
        """Generate each batch when it is asked for; stops between denoising steps."""
        for prompts, config in batches:
            images = generate_each(
                prompts,
                core.models,
                core.basis,
                config,
                on_step=watch.on_step,
                should_stop=watch.should_stop,
                on_latents=None if core.safety else watch.on_latents,  # those are not checked
            )
            yield checked(images, core.safety)
            if len(images) < len(prompts):
                return


class OutOfProcess:
    """Calls of at most MOST declared seconds; stops, and takes back what was done, between them.

    Args:
        perform: Runs in the other process.
        costs: From which the seconds of a call are computed.
        most_steps: Of a training in one call.
    """

    def __init__(self, perform: Perform, costs: GpuCosts, most_steps: int = 1000) -> None:
        self.costs = costs
        self._perform, self._most_steps = perform, most_steps

    def one_by_one(self, core: Studio, batch: Batch) -> bool:
        """Return whether the batch is too much for one call."""
        return self.costs.images(*batch) > WORK

    def fitting(self, config: TrainConfig, people: int) -> TrainConfig:
        """Shorten a regression over the names that is too long for one call."""
        seconds, count = self.costs.regression(config, people), config.mapper.regression_batch
        if seconds <= WORK:
            return config
        return config.changed(regression_batch=max(1, int(count * WORK / seconds)))

    def train(
        self, core: Studio, people: Sequence[Person], config: TrainConfig, resume: Path | None
    ) -> Iterator[TrainStep]:
        """Train in slices; the last step of each has a checkpoint."""
        checkpoint, finished = load_checkpoint(resume) if resume else None, False
        one = self.costs.step(config, len(people))
        before = 0.0 if checkpoint else self.costs.regression(config, len(people))
        left = config.steps - (int(checkpoint[1].get("step", 0)) if checkpoint else 0)
        while not finished:
            steps = max(1, min(left, self._most_steps))
            task = TrainTask(
                people=tuple(people),
                config=config,
                calibration=core.calibration,
                recogniser=core.faces.id,
                checkpoint=checkpoint,
                steps=steps,
                overhead=OVERHEAD / 2,  # the rest is for estimates that are too low
            )
            # It makes as many as fit, on a faster device more than are estimated.
            part: Slice = self._call(task, before + steps * one if one else MOST)
            checkpoint, finished, before = part.checkpoint, part.finished, 0.0
            left = config.steps - part.steps[-1].step
            yield from (step for step in part.steps[:-1] if step.people)
            yield replace(part.steps[-1], checkpoint=_Stored(checkpoint))

    def generate(
        self, core: Studio, batches: Iterable[Batch], watch: Watch = Watch()
    ) -> Iterator[list[Image.Image]]:
        """Generate as many batches per call as fit it."""
        call, seconds = list[Batch](), 0.0
        for batch in batches:
            more = self.costs.images(*batch)
            if call and seconds + more > WORK:
                yield from self._generate(core, call, seconds, watch)
                call, seconds = [], 0.0
            if watch.should_stop():
                yield []
                return
            call.append(batch)
            seconds += more
        if call:
            yield from self._generate(core, call, seconds, watch)

    def _generate(
        self, core: Studio, call: Sequence[Batch], seconds: float, watch: Watch
    ) -> Iterator[list[Image.Image]]:
        done: Generated = self._call(GenerateTask(tuple(call)), seconds)
        latents = sum(self.costs.latents(*batch) for batch in call)
        self.costs.estimates.learn_sampling(latents, done.seconds)
        for (prompts, config), images in zip(call, done.images, strict=True):
            if watch.on_step:
                steps = core.models.steps if config.steps is None else config.steps
                watch.on_step(steps * len(prompts), steps * len(prompts))
            yield checked(images, core.safety)

    def _call(self, task: GenerateTask | TrainTask, work: float) -> Any:
        """Do a task with this many estimated seconds of work, and raise what it raised."""
        result = pickle.loads(self._perform(declared(work), pickle.dumps(task)))
        if isinstance(result, CelebError):
            raise result
        return result


@dataclass(frozen=True, eq=False)
class _Stored:
    """A checkpoint that is there already, as `TrainStep.checkpoint` gives it."""

    checkpoint: Checkpoint

    def __call__(self) -> Checkpoint:
        return self.checkpoint
