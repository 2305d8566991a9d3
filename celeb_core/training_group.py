"""Several independent trainings at once: one pass of the UNet for all, a mapper of each one's own.

Nothing that is learned is shared: each training has its seed, optimiser and noise, and finds what
it would find alone, but for the rounding of a larger batch. A group of one is `fit` to the bit.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from celeb_core.device import fitting_images, within_memory
from celeb_core.errors import TrainingDiverged
from celeb_core.mapper import apply_gradients
from celeb_core.models import Models
from celeb_core.training_run import Training
from celeb_core.types import Calibration, CelebBasis, Identity, Person, TrainConfig


@dataclass(eq=False)
class TrainingGroup:
    """Trainings of the same models and number of steps, step by step together."""

    trainings: Sequence[Training]
    at_once: int  # noisy latents that pass the UNet together; halved when memory runs out
    failed: dict[int, TrainingDiverged] = field(default_factory=dict)  # by number

    def update(self) -> None:
        """Make one step of each optimiser; a training that diverges leaves the group."""
        active = [i for i in range(len(self.trainings)) if i not in self.failed]
        batches = {i: self.trainings[i].next_batch() for i in active}
        began, pending = time.perf_counter(), active
        while pending:
            overflowed = []
            for i, losses in zip(pending, self._losses(pending, batches), strict=True):
                one = self.trainings[i]
                try:
                    if not apply_gradients(losses, one.optimiser, one.scaler, one.step + 1):
                        overflowed.append(i)
                except TrainingDiverged as error:
                    self.failed[i] = error
            pending = overflowed
        took = time.perf_counter() - began
        for i in active:
            if i not in self.failed:
                self.trainings[i].finish_step(took)

    def _losses(
        self, numbers: Sequence[int], batches: Mapping[int, tuple[Tensor, Tensor]]
    ) -> list[Tensor]:
        """Add the gradients of these trainings, and return the losses (n,) of each."""
        trainings = [self.trainings[i] for i in numbers]
        states = [one.generator.get_state() for one in trainings]
        least = max(len(batches[i][0].flatten(0, 1)) for i in numbers)  # of one training

        def attempt() -> list[Tensor]:
            drawn = []
            for i, one, state in zip(numbers, trainings, states, strict=True):
                one.generator.set_state(state)  # every attempt has the same noise
                one.optimiser.zero_grad(set_to_none=True)
                drawn.append(one.loss.draw(one.embeddings(), *batches[i]))
            scales = [one.scaler.get_scale() for one in trainings]
            return trainings[0].loss.backward_each(drawn, scales, self.at_once)

        def smaller() -> bool:
            self.at_once, before = max(self.at_once // 2, least), self.at_once
            return self.at_once < before

        with torch.enable_grad():
            return within_memory(trainings[0].models.memory, attempt, smaller)


def fit_each(
    people: Sequence[Person],
    models: Models,
    basis: CelebBasis,
    configs: Sequence[TrainConfig],
    *,
    calibration: Calibration | None = None,
    recogniser: str = "",
    at_once: int | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Identity | TrainingDiverged]:
    """Train each person as `fit` does alone, all of them at the same time.

    Args:
        people: Who; names may occur twice.
        models: Of `load_models`.
        basis: Of the models.
        configs: One for each, which may differ in their seeds only.
        calibration: See `fit_identities`.
        recogniser: See `fit_identities`.
        at_once: Noisy latents that pass the UNet together; None: what fits.
        on_step: Gets the steps that are done, and their total.

    Returns:
        Each one's identity, or why there is none.

    Raises:
        CelebError: What is wrong for everybody, see `fit_identities`.
        ValueError: The configs differ in more.
    """
    if len({(*sorted(one.changed(seed=0).flat().items()),) for one in configs}) > 1:
        raise ValueError("configs that differ in more than their seeds")
    each = zip(people, configs, strict=True)
    trainings = [
        Training([person], models, basis, config, calibration, recogniser)
        for person, config in each
    ]
    failed = dict[int, TrainingDiverged]()
    for number, training in enumerate(trainings):
        try:
            for _ in training.initialise():
                pass
        except TrainingDiverged as error:
            failed[number] = error
    fitting = fitting_images(models.pipeline, models.device, models.unet.dtype)
    least = max((one.batch_size for one in configs), default=1)
    group = TrainingGroup(trainings, max(at_once or fitting, least), failed)
    steps = configs[0].steps if configs else 0
    for step in range(1, steps + 1):
        if len(failed) < len(trainings):
            group.update()
        if on_step is not None:
            on_step(step, steps)
    return [
        failed.get(number) or training.report({}).people[0]
        for number, training in enumerate(trainings)
    ]
