"""One run of a training: its state, a step, and the copy of it that a checkpoint is."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from celeb_core.augmentation import AugmentedLatents
from celeb_core.basis import compose
from celeb_core.checks import MOST, SEEDS, number
from celeb_core.denoising_loss import DenoisingLoss, NuisanceTokens
from celeb_core.device import loss_scaler, within_memory
from celeb_core.errors import BadName, FeatureMissing
from celeb_core.identity import check_name
from celeb_core.mapper import (
    CalibratedMapper,
    CoefficientMapper,
    Mapper,
    build_mapper,
    build_optimiser,
    linear_decay,
    optimiser_step,
    paper_noise,
)
from celeb_core.models import Models
from celeb_core.name_regression import regress_on_names
from celeb_core.types import (
    Calibration,
    CelebBasis,
    Checkpoint,
    Identity,
    Person,
    TrainConfig,
    TrainStep,
    recipe,
)

MAX_CONSENT = 60  # characters
FORMATS = ("celeb-training 2", "celeb-training 1")  # of checkpoints; the first one is written


def check_config(config: TrainConfig) -> None:
    """Check the numbers of a training that people choose.

    Raises:
        SettingsError: One is out of its range.
    """
    ranges = {"steps": (0, MOST), "batch_size": (1, MOST), "seed": SEEDS, "views": (0, MOST)}
    ranges["regression_batch"] = (0, MOST)
    if config.people_per_step is not None:
        ranges["people_per_step"] = (1, MOST)
    for name, value in config.flat().items():
        label = name.replace("_", " ").capitalize()
        if name in ranges:
            number(value, label, *ranges[name])
        elif name.endswith("learning_rate") or name == "max_seconds" and value is not None:
            number(value, label, 0, 1e9, whole=False)


class Training:
    """The state of one run: mapper, optimiser, the coefficients that are kept."""

    def __init__(
        self,
        people: Sequence[Person],
        models: Models,
        basis: CelebBasis,
        config: TrainConfig | None = None,
        calibration: Calibration | None = None,
        recogniser: str = "",
    ) -> None:
        self.config = config = config or recipe("best", calibration)
        check_config(config)
        self.names = _checked_names(people)
        self.consents = tuple(person.consent[:MAX_CONSENT] for person in people)
        self.models, self.basis, self.recogniser = models, basis, recogniser
        means = [torch.stack([face.embedding for face in p.faces]).mean(0) for p in people]
        self.faces = functional.normalize(torch.stack(means).float(), dim=-1).to(models.device)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.latents = AugmentedLatents(people, models, config, self.generator)
        nuisance = None
        if config.loss.nuisance_tokens:
            nuisance = NuisanceTokens(len(people), basis.k, models.encoders).to(models.device)
        self.loss = DenoisingLoss(models, config.loss, self.generator, nuisance)
        self.use(build_mapper(basis, config.mapper, calibration, config.seed))
        if config.preset == "instant" and isinstance(self.mapper, CoefficientMapper):
            raise FeatureMissing(
                f"The preset instant needs a calibration, and {models.title} has none. "
                "Choose the preset best, or prepare the model.",
                option="celeb-basis prepare",
            )
        self.scaler = loss_scaler(models.device, models.unet.dtype)
        self.step, self.seconds_per_step = 0, 0.0
        self.picked: Sequence[int] | None = None  # who are in the step; None: everybody
        self.seconds_before, self._began = 0.0, time.perf_counter()
        self.kept = self.now
        if config.mapper.norm == "paper" and config.mapper.ema and config.steps:
            self.kept = paper_noise(len(people), basis.std, config.seed).to(self.now)

    def use(self, mapper: Mapper) -> None:
        """Take a mapper, and a fresh optimiser for it and for the nuisance tokens."""
        self.mapper = mapper.to(self.models.device)
        nuisance, n = self.loss.nuisance_tokens, len(self.names)
        some = self.config.people_per_step or n
        self.optimiser = build_optimiser(
            self.mapper, nuisance, self.config.optimiser, min(some, n), sampled=some < n
        )
        self.now: Tensor = self.mapper(self.faces).detach()  # the coefficients

    def initialise(self) -> Iterator[None]:
        """Start from a regression over the names, if there is no calibration to start from."""
        count, memory = self.config.mapper.regression_batch, self.models.memory
        if count and isinstance(self.mapper, CoefficientMapper):
            batch = within_memory(memory, lambda: self.latents.batch(0))
            latents, masks = (part[:, :count] for part in batch)
            shape = (self.basis.k, self.basis.p)
            found = yield from regress_on_names(self.faces, latents, masks, self.loss, self.basis)
            self.use(CalibratedMapper(shape, found, self.config.mapper.shrink))
            self.kept = self.mapper(self.faces).detach()

    def update(self) -> dict[str, float]:
        """Make one step of the optimiser and return each person's loss."""
        latents, masks = self.next_batch()
        state, began = self.generator.get_state(), time.perf_counter()

        def backward(scale: float) -> Tensor:
            return self.loss.backward(self.embeddings(), latents, masks, scale, self.picked)

        def attempt() -> Tensor:
            self.generator.set_state(state)  # every attempt has the same noise
            return optimiser_step(backward, self.optimiser, self.scaler, self.step + 1)

        losses = within_memory(self.models.memory, attempt)
        self.finish_step(time.perf_counter() - began)
        names = [self.names[i] for i in self.picked or range(len(self.names))]
        return dict(zip(names, losses.tolist(), strict=True))

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return the latents and masks of the next step, and set its people and learning rate."""
        if self.config.optimiser.linear_decay:
            for group in self.optimiser.param_groups:
                group["lr"] = group["initial_lr"] * linear_decay(self.step, self.config.steps)
        self.picked = _in_turn(len(self.names), self.step, self.config)
        batch = partial(self.latents.batch, self.step, self.picked)
        return within_memory(self.models.memory, batch)

    def embeddings(self) -> Tensor:
        """Return the token embeddings (n, k, d) of the people of the step, with a graph."""
        faces = self.faces if self.picked is None else self.faces[list(self.picked)]
        return compose(self.basis, self.mapper(faces))

    def finish_step(self, took: float) -> None:
        """Count a step of the optimiser that took some seconds, and average the coefficients."""
        self.step += 1
        self.kept = self._average()
        before = self.seconds_per_step
        self.seconds_per_step = 0.8 * before + 0.2 * took if before else took

    @torch.no_grad()
    def _average(self) -> Tensor:
        """Return the moving average; the paper's is of those `before`, once for each image."""
        before, self.now = self.now, self.mapper(self.faces)
        ema = self.config.mapper.ema
        if ema and self.config.mapper.norm == "paper":
            return self.kept.lerp(before, 1 - ema**self.latents.batch_size)
        return self.kept.lerp(self.now, 1 - ema) if ema and self.step > 1 else self.now

    def seconds(self) -> float:
        """Return the seconds of training, interruptions left out."""
        return self.seconds_before + time.perf_counter() - self._began

    def finished(self) -> bool:
        """Return whether the steps are done, or another one would pass `max_seconds`."""
        limit = self.config.max_seconds
        late = limit is not None and self.seconds() + self.seconds_per_step > limit
        return late or self.step >= self.config.steps

    def report(self, losses: Mapping[str, float]) -> TrainStep:
        """Describe the state after an update with these losses."""
        config, left = self.config, None
        if self.step:
            left = (config.steps - self.step) * self.seconds_per_step
            if config.max_seconds is not None:
                left = max(0.0, min(left, config.max_seconds - self.seconds()))
        share = self.step / max(1, config.steps)
        # Rounded as the file rounds it: what is previewed is what is saved.
        coefficients = self.mapper.settled(self.kept, share).half().float().cpu()
        settings = {"preset": config.preset, "trained": self.step, **config.unusual()}
        labels = (self.basis.id, self.models.id, self.recogniser)
        people = tuple(
            Identity(name, numbers, *labels, settings | ({"consent": consent} if consent else {}))
            for name, numbers, consent in zip(self.names, coefficients, self.consents, strict=True)
        )
        times, checkpoint = (self.seconds(), left), partial(take_checkpoint, self)
        return TrainStep(self.step, config.steps, losses, *times, people, checkpoint)


def _in_turn(n: int, step: int, config: TrainConfig) -> Sequence[int] | None:
    """Return who of n people are in a step: each once in a round of steps, in random order.

    A round has as many whole steps as there are; whom the rest is, chance decides. It depends on
    the seed and the number of the step only, so that a resumed training has the same ones.
    """
    count = config.people_per_step
    if count is None or count >= n:
        return None
    round_, place = divmod(step, n // count)
    order = np.random.default_rng((config.seed % 2**63, round_)).permutation(n).tolist()
    return sorted(order[place * count : (place + 1) * count])


def take_checkpoint(training: Training) -> Checkpoint:
    """Copy all that `training_checkpoint.restore` needs, to the CPU."""
    tensors = {"mapper." + key: value for key, value in training.mapper.state_dict().items()}
    for index, state in training.optimiser.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
    tensors |= {"kept": training.kept, "generator": training.generator.get_state()}
    if (nuisance := training.loss.nuisance_tokens) is not None:
        tensors["nuisance_tokens"] = nuisance.offsets
    metadata = {
        "format": FORMATS[0],
        "step": str(training.step),
        "scaler": json.dumps(training.scaler.state_dict()),
        "seconds": f"{training.seconds():.3f}",
        "run": json.dumps(settings_of_run(training, training.config)),
    }
    return {key: value.detach().cpu().clone() for key, value in tensors.items()}, metadata


def settings_of_run(training: Training, config: TrainConfig) -> list[Any]:
    """Return what must agree to resume: all but the seconds, and steps without decay."""
    steps = config.steps if config.optimiser.linear_decay else 0
    settings = {**config.flat(), "max_seconds": None, "steps": steps}
    return [list(training.names), training.basis.id, training.models.id, settings]


def _checked_names(people: Sequence[Person]) -> tuple[str, ...]:
    names = tuple(check_name(person.name) for person in people)
    if not names:
        raise BadName("There is nobody to train. Add at least one photo.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadName(f"Two people are called “{twice[0]}”. Give each a name of their own.")
    return names
