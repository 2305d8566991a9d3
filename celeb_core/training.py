"""Fit identities: a generator of TrainStep, one path for one person and for ten.

One mapper turns every person's face embedding into coefficients; the words that they make go
through the frozen text encoder and UNet, and the denoising loss comes back to the mapper
(METHOD.md §1.5), and to words of the photos that are thrown away (`celeb_core.photo_words`).
Nothing is yielded inside a grad-mode context: the caller may hop threads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from celeb_core.basis import compose
from celeb_core.checkpoints import FORMAT, load_checkpoint
from celeb_core.denoising import Denoising
from celeb_core.descent import TensorAdam, decay, descend
from celeb_core.devices import loss_scaler
from celeb_core.errors import BadName
from celeb_core.identity import check_name, settings_of
from celeb_core.mapper import CALIBRATED, FACE_WIDTH, CalibratedMapper, CoefficientMapper
from celeb_core.memory import within_memory
from celeb_core.presets import PRESETS
from celeb_core.start import check_basis
from celeb_core.types import Calibration, CelebBasis, Identity, Person, TrainConfig, TrainStep

if TYPE_CHECKING:
    from celeb_core.models import Models


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

    Stop by no longer asking. Deterministic for a seed, on one machine and as long as
    `max_seconds` does not cut it short. Raises TrainingDiverged, ResumeMismatch, BadName,
    BasisMismatch.
    """
    config = config or PRESETS["best"]
    training = _Training(people, models, basis, config, calibration, recogniser)
    if resume is not None:
        training.restore(resume)
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
    """Run `fit_identities` to its end -> the people by name."""
    steps = fit_identities(
        people, models, basis, config, calibration=calibration, recogniser=recogniser
    )
    for last in steps:  # noqa: B007
        pass
    return last.identities


class _Training:
    """The state of one run."""

    def __init__(
        self,
        people: Sequence[Person],
        models: Models,
        basis: CelebBasis,
        config: TrainConfig,
        calibration: Calibration | None,
        recogniser: str,
    ) -> None:
        self.began = time.perf_counter()
        self.names = _checked_names(people)
        self.people, self.models, self.basis, self.config = people, models, basis, config
        self.recogniser = recogniser
        embeddings = torch.stack(
            [torch.stack([face.embedding for face in person.faces]).mean(0) for person in people]
        )
        self.faces = functional.normalize(embeddings.float(), dim=-1).to(models.device)
        self.denoising = Denoising(people, models, config)
        known: Sequence[Tensor] = ()
        if config.calibrated and calibration is not None and config.norm == "free":
            check_basis(calibration, basis)
            known = [getattr(calibration, name) for name in CALIBRATED]
        self._set_out(known)
        self.scaler = loss_scaler(models.device, models.unet.dtype)
        self.step, self.earlier, self.pace = 0, 0.0, 0.0
        self.kept = self._first_kept()

    def _set_out(self, calibrated: Sequence[Tensor]) -> None:
        """The mapper, from a calibration's tensors or without any, and who moves it."""
        basis, config = self.basis, self.config
        self.mapper = (
            CalibratedMapper((basis.k, basis.p), *calibrated)
            if calibrated
            else CoefficientMapper(basis, config.norm, config.seed)
        ).to(self.models.device)
        # The weights' steps along a face of norm 1 add up to sqrt(512) times their mean length.
        rate = config.calibrated_rate / FACE_WIDTH**0.5 if calibrated else config.learning_rate
        # Adam's step is shared by all rows of a weight: n people in one gradient move each of
        # them sqrt(n) times less.
        rate *= len(self.people) ** 0.5
        moved = [[p for p in self.mapper.parameters() if p.requires_grad]]
        self.rates = [rate]
        if self.denoising.photo_words is not None:
            moved.append(list(self.denoising.photo_words.parameters()))
            self.rates.append(config.photo_rate)
        self.optimizer: torch.optim.Optimizer
        if calibrated:
            groups = [{"params": each, "single": each is moved[0]} for each in moved]
            self.optimizer = TensorAdam(groups, lr=rate)
        else:
            groups = [{"params": each} for each in moved]
            self.optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=config.weight_decay)

    # --- what the caller sees -----------------------------------------------------------------

    def seconds(self) -> float:
        """Since the training began, interruptions left out."""
        return self.earlier + time.perf_counter() - self.began

    def finished(self) -> bool:
        """Whether the planned steps are done, or another one would pass `max_seconds`."""
        if self.step >= self.config.steps:
            return True
        limit = self.config.max_seconds
        return limit is not None and self.seconds() + self.pace > limit

    def report(self, losses: dict[str, float]) -> TrainStep:
        """The step as the caller gets it."""
        left = None
        if self.step and self.config.steps:
            left = (self.config.steps - self.step) * self.pace
            if self.config.max_seconds is not None:
                left = max(0.0, min(left, self.config.max_seconds - self.seconds()))
        # Rounded as the file rounds it: what is previewed is what is saved.
        coefficients = self._settled().half().float().cpu()
        settings = self._settings()
        return TrainStep(
            step=self.step,
            steps=self.config.steps,
            losses=losses,
            seconds=self.seconds(),
            seconds_left=left,
            people=tuple(
                Identity(
                    name=name,
                    coefficients=numbers,
                    basis_id=self.basis.id,
                    base_model=self.models.id,
                    recogniser=self.recogniser,
                    settings=settings,
                )
                for name, numbers in zip(self.names, coefficients, strict=True)
            ),
            checkpoint=self.checkpoint,
        )

    # --- one update ---------------------------------------------------------------------------

    def update(self) -> dict[str, float]:
        """One step of the optimizer -> the loss of each person."""
        self._set_learning_rates()
        drawn = self.denoising.generator.get_state()

        def attempt() -> tuple[float, Tensor]:
            self.denoising.generator.set_state(drawn)  # every attempt sees the same noise
            batch = self.denoising.batches(self.step)
            return time.perf_counter(), self._descend(*batch)

        began, losses = within_memory(self.models, attempt)
        self.step += 1
        self._keep()
        took = time.perf_counter() - began
        self.pace = took if self.step == 1 else 0.8 * self.pace + 0.2 * took
        return dict(zip(self.names, losses.tolist(), strict=True))

    def _descend(self, latents: Tensor, heads: Tensor) -> Tensor:
        """One step of the optimizer -> losses (n,)."""

        def losses_at(scale: float) -> Tensor:
            words = compose(self.basis, self.mapper(self.faces))
            return self.denoising.losses(words, latents, heads, scale)

        return descend(losses_at, self.optimizer, self.scaler, self.step + 1)

    def _set_learning_rates(self) -> None:
        share = decay(self.step, self.config.steps) if self.config.decay else 1.0
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * share

    # --- what is kept -------------------------------------------------------------------------

    def _now(self) -> Tensor:
        with torch.no_grad():
            now: Tensor = self.mapper(self.faces)
        return now

    def _settled(self) -> Tensor:
        """What is kept, shrunk and corrected: the longer the training, the more of both."""
        if not isinstance(self.mapper, CalibratedMapper) or not self.config.steps:
            return self.kept
        share = self.step / self.config.steps
        shrunk = self.kept * (1 - (1 - self.config.shrink) * share)
        return self.mapper.corrected(shrunk, share)

    def _first_kept(self) -> Tensor:
        now = self._now()
        if not self.config.ema_from_noise or not self.config.steps:
            return now
        noise = torch.randn(now.shape, generator=torch.Generator().manual_seed(self.config.seed))
        std = self.basis.std
        unwhitened = torch.where(std > 0, noise / std.clamp_min(1e-12), 0.0)
        return unwhitened.to(now)

    def _keep(self) -> None:
        """The coefficients as they are, or their moving average.

        Without bias: the first sample counts whole, so that no start value is left over.
        """
        now = self._now()
        if self.config.ema and (self.step > 1 or self.config.ema_from_noise):
            now = self.kept.lerp(now, 1 - self.config.ema)
        self.kept = now

    def _settings(self) -> dict[str, Any]:
        changed = settings_of(self.config, PRESETS.get(self.config.preset, TrainConfig()))
        return {"preset": self.config.preset, "trained": self.step, **changed}

    # --- stop and go on -----------------------------------------------------------------------

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """All that `restore` needs: tensors, and the texts that must agree."""
        tensors = {"mapper." + key: value for key, value in self.mapper.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
        tensors |= {"kept": self.kept, "generator": self.denoising.generator.get_state()}
        if self.denoising.photo_words is not None:
            tensors["photo_words"] = self.denoising.photo_words.offsets
        metadata = {
            "format": FORMAT,
            "step": str(self.step),
            "scaler": json.dumps(self.scaler.state_dict()),
            "seconds": f"{self.seconds():.3f}",
            "run": self._fingerprint(),
        }
        return {key: value.detach().cpu().clone() for key, value in tensors.items()}, metadata

    def restore(self, path: Path) -> None:
        """Go on where a checkpoint was written. Raises ResumeMismatch."""
        tensors, metadata = load_checkpoint(path, self._fingerprint())
        saved = _under("mapper.", tensors)
        # of the calibration that there was, not of today's
        self._set_out([saved[name] for name in CALIBRATED if name in saved])
        self.mapper.load_state_dict(saved)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _under("optimizer.", tensors).items():
            index, field = key.split(".")
            state.setdefault(int(index), {})[field] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.kept = tensors["kept"].to(self.models.device)
        if (photo_words := self.denoising.photo_words) is not None:
            with torch.no_grad():
                photo_words.offsets.copy_(tensors["photo_words"])
        self.denoising.generator.set_state(tensors["generator"])
        if scaler := json.loads(metadata.get("scaler", "{}")):
            self.scaler.load_state_dict(scaler)
        self.step, self.earlier = int(metadata["step"]), float(metadata["seconds"])

    def _fingerprint(self) -> str:
        """What must be the same for a resumed run; more steps or seconds are allowed."""
        config = asdict(replace(self.config, max_seconds=None))
        if not self.config.decay:
            del config["steps"]
        return json.dumps([FORMAT, list(self.names), self.basis.id, self.models.id, config])


def _checked_names(people: Sequence[Person]) -> tuple[str, ...]:
    names = tuple(check_name(person.name) for person in people)
    if not names:
        raise BadName("There is nobody to train. Add at least one photo.")
    for name in names:
        if names.count(name) > 1:
            raise BadName(f"Two people are called “{name}”. Give each a name of their own.")
    return names


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key[len(prefix) :]: t for key, t in tensors.items() if key.startswith(prefix)}
