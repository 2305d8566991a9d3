"""GPU work in other processes, in short calls: what a job does between them is up to the page."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

from celeb_core import CelebError, Person, Studio, TrainConfig, TrainStep
from celeb_core.safety import checked
from celeb_core.training_checkpoint import load_checkpoint
from celeb_core.types import Checkpoint
from ui.executor import UNWATCHED, Watch
from ui.gpu_costs import MOST, OVERHEAD, WORK, GpuCosts, declared
from ui.gpu_tasks import Batch, Bug, Generated, GenerateTask, Slice, TrainTask

Perform: TypeAlias = Callable[[int, bytes], bytes]
"""`gpu_tasks.perform` in another process: declared seconds, pickled task -> pickled result."""

PACE = 3.0  # seconds of training steps between two signs of life
UNLIMITED = 10**6  # declared seconds where nobody counts them


class Calls:
    """Calls of a function that works elsewhere; a job stops, and keeps what was done, between them.

    How much one of them does, kinds of calls say.

    Args:
        perform: Runs in the other process.
    """

    here = False

    def __init__(self, perform: Perform) -> None:
        self._perform = perform

    def train(
        self, core: Studio, people: Sequence[Person], config: TrainConfig, resume: Path | None
    ) -> Iterator[TrainStep]:
        """Train in slices; the last step of each has a checkpoint."""
        checkpoint, finished = load_checkpoint(resume) if resume else None, False
        left = config.steps - (int(checkpoint[1].get("step", 0)) if checkpoint else 0)
        while not finished:
            task = TrainTask(
                people=tuple(people),
                config=config,
                calibration=core.calibration,
                recogniser=core.faces.id,
                checkpoint=checkpoint,
                steps=max(1, left),
            )
            part = self._slice(task)
            checkpoint, finished = part.checkpoint, part.finished
            left = config.steps - part.steps[-1].step
            yield from (step for step in part.steps[:-1] if step.people)
            yield replace(part.steps[-1], checkpoint=_Stored(checkpoint))

    def close(self) -> None:
        """There is nothing to end."""

    def _slice(self, task: TrainTask) -> Slice:
        """Do a part of a training that, as it is, asks for all that is left of it."""
        raise NotImplementedError

    def _shown(
        self, core: Studio, call: Sequence[Batch], done: Generated, watch: Watch
    ) -> Iterator[list[Image.Image]]:
        """Yield what a call generated, batch by batch."""
        for (prompts, config), images in zip(call, done.images, strict=True):
            if watch.on_step:
                steps = core.models.steps if config.steps is None else config.steps
                watch.on_step(steps * len(prompts), steps * len(prompts))
            yield checked(images, core.safety)

    def _call(self, task: GenerateTask | TrainTask, seconds: int) -> Any:
        """Do a task within so many declared seconds, and raise what it raised."""
        result = pickle.loads(self._perform(seconds, pickle.dumps(task)))
        if isinstance(result, CelebError):
            raise result
        if isinstance(result, Bug):
            raise RuntimeError(f"in the process of a worker: {result.text}")
        return result


class OutOfProcess(Calls):
    """Calls of at most MOST declared seconds, which are counted.

    Args:
        perform: Runs in the other process.
        costs: From which the seconds of a call are computed.
        most_steps: Of a training in one call.
    """

    def __init__(self, perform: Perform, costs: GpuCosts, most_steps: int = 1000) -> None:
        super().__init__(perform)
        self.costs, self._most_steps = costs, most_steps

    def one_by_one(self, core: Studio, batch: Batch) -> bool:
        """Return whether the batch is too much for one call."""
        return self.costs.images(*batch) > WORK

    def fitting(self, config: TrainConfig, people: int) -> TrainConfig:
        """Shorten a regression over the names that is too long for one call."""
        seconds, count = self.costs.regression(config, people), config.mapper.regression_batch
        if seconds <= WORK:
            return config
        return config.changed(regression_batch=max(1, int(count * WORK / seconds)))

    def _slice(self, task: TrainTask) -> Slice:
        """Make as many steps as fit, on a faster device more than are estimated."""
        config, people = task.config, len(task.people)
        one, steps = self.costs.step(config, people), min(task.steps, self._most_steps)
        before = 0.0 if task.checkpoint else self.costs.regression(config, people)
        # Half of the overhead is for estimates that are too low.
        task = replace(task, steps=steps, overhead=OVERHEAD / 2)
        part: Slice = self._call(task, declared(before + steps * one if one else MOST))
        return part

    def generate(
        self, core: Studio, batches: Iterable[Batch], watch: Watch = UNWATCHED
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
        done: Generated = self._call(GenerateTask(tuple(call)), declared(seconds))
        latents = sum(self.costs.latents(*batch) for batch in call)
        self.costs.estimates.learn_sampling(latents, done.seconds)
        yield from self._shown(core, call, done, watch)


class OnWorkers(Calls):
    """Calls of workers of one's own: a batch of images, or some seconds of training.

    Nothing is counted, and nothing is cut to fit: a call is as short as a page wants to know more.

    Args:
        perform: Does a task on a worker that is idle; on another one, should that one die.
        device: Of the workers, as PyTorch names it.
        close: Ends the workers.
    """

    costs: GpuCosts | None = None

    def __init__(self, perform: Perform, device: str, close: Callable[[], None]) -> None:
        super().__init__(perform)
        self._on_cpu, self._close = device == "cpu", close

    def one_by_one(self, core: Studio, batch: Batch) -> bool:
        """Return whether workers are on CPUs: a batch would make its first image late."""
        return self._on_cpu

    def fitting(self, config: TrainConfig, people: int) -> TrainConfig:
        """Return the config as it is."""
        return config

    def generate(
        self, core: Studio, batches: Iterable[Batch], watch: Watch = UNWATCHED
    ) -> Iterator[list[Image.Image]]:
        """Generate each batch when it is asked for; stops between them."""
        for batch in batches:
            if watch.should_stop():
                yield []
                return
            done: Generated = self._call(GenerateTask((batch,)), UNLIMITED)
            yield from self._shown(core, [batch], done, watch)

    def close(self) -> None:
        """End the workers."""
        self._close()

    def _slice(self, task: TrainTask) -> Slice:
        part: Slice = self._call(replace(task, pace=PACE), UNLIMITED)
        return part


@dataclass(frozen=True, eq=False)
class _Stored:
    """A checkpoint that is there already, as `TrainStep.checkpoint` gives it."""

    checkpoint: Checkpoint

    def __call__(self) -> Checkpoint:
        return self.checkpoint
