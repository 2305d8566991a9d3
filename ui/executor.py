"""Where the GPU work of jobs runs: in this process; `calls` has the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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
from ui.gpu_costs import GpuCosts
from ui.gpu_tasks import Batch


class GpuUnavailable(CelebError):
    """The GPU is not to be had now, or was taken away; what was done before is kept."""


@dataclass(frozen=True)
class Watch:
    """What a job wants to know, and to say, while images are generated."""

    on_step: Callable[[int, int], None] | None = None  # denoising steps done of a batch, their sum
    should_stop: Callable[[], bool] = lambda: False
    on_latents: Callable[[Any, Tensor], None] | None = None  # as in `generate_each`


UNWATCHED = Watch()


class Executor(Protocol):
    """Trains and generates for jobs."""

    @property
    def costs(self) -> GpuCosts | None:
        """Where GPU seconds are counted: then a job computes nothing that nobody asked for."""

    @property
    def here(self) -> bool:
        """Whether it uses the device of this process; elsewhere, work can be lost at any time."""

    def one_by_one(self, core: Studio, batch: Batch) -> bool:
        """Return whether images like these had better be generated one after the other."""

    def fitting(self, config: TrainConfig, people: int) -> TrainConfig:
        """Return a new training's config such that each part of it that is not sliced fits."""

    def train(
        self, core: Studio, people: Sequence[Person], config: TrainConfig, resume: Path | None
    ) -> Iterator[TrainStep]:
        """Train as `fit_identities` does; steps without a checkpoint come before one with it."""

    def generate(
        self, core: Studio, batches: Iterable[Batch], watch: Watch = UNWATCHED
    ) -> Iterator[list[Image.Image]]:
        """Generate each batch; after one that is incomplete there are no more.

        Images that the safety checker blocks are placeholders, see `checked`.
        """

    def close(self) -> None:
        """End the processes that work for it, if they are its own."""


class InProcess:
    """Everything happens here, step by step."""

    costs: GpuCosts | None = None
    here = True

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
        self, core: Studio, batches: Iterable[Batch], watch: Watch = UNWATCHED
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

    def close(self) -> None:
        """There is nothing to end."""
