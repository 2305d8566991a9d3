"""Fit identities: a generator of TrainStep, one path for one person and for ten.

One mapper turns every person's face embedding into coefficients; the words that they make go
through the frozen text encoder and UNet, and the denoising loss comes back to the mapper alone
(METHOD.md §1.5). Nothing is yielded inside a grad-mode context: the caller may hop threads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from celeb_core import templates
from celeb_core.basis import compose
from celeb_core.errors import BadName, ResumeMismatch, TrainingDiverged
from celeb_core.files import write_atomically
from celeb_core.identity import check_name, settings_of
from celeb_core.mapper import CoefficientMapper, closed_form
from celeb_core.prompt import encode_tokens, tokenize
from celeb_core.types import Calibration, CelebBasis, Identity, Person, TrainConfig, TrainStep
from celeb_core.views import make_views

if TYPE_CHECKING:
    from celeb_core.models import Models

PRESETS: dict[str, TrainConfig] = {
    "instant": TrainConfig(preset="instant", steps=0),
    "fast": TrainConfig(preset="fast", steps=20),
    "best": TrainConfig(),
    "paper": TrainConfig(
        preset="paper",
        steps=400,
        batch_size=2,
        learning_rate=1e-2,
        decay=False,
        norm="paper",
        closed_form=False,
        ema=0.99,
        ema_from_noise=True,
        views=0,
        jitter=0.2,
        smallest=0.1,
        canvas="black",
        templates="paper",
        prompts=2,
        background=1.0,
        stratified=False,
    ),
}
"""instant (no training), fast, best, paper (the official recipe, METHOD.md §2)."""

JOINT_SHARE = 0.5  # of the batch size per person, when several train together
FORMAT = "celeb-training 1"


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
    `max_seconds` does not cut it short. Raises TrainingDiverged, ResumeMismatch, BadName.
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


def save_checkpoint(step: TrainStep, path: Path) -> None:
    """Write what `fit_identities(resume=path)` needs, atomically. Raises SaveFailed.

    Call it before the next step is asked for.
    """
    if step.checkpoint is None:
        raise ValueError("this step came from no training")
    tensors, metadata = step.checkpoint()
    write_atomically(path, save(tensors, metadata=metadata))


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
        self.mapper = CoefficientMapper(basis, config.norm, config.seed)
        if config.closed_form and calibration is not None:
            closed_form(self.mapper, calibration, basis, models)
        self.mapper.to(models.device)
        trained = [p for p in self.mapper.parameters() if p.requires_grad]
        # Adam's step is shared by all rows of a weight: n people in one gradient move each of
        # them sqrt(n) times less.
        self.optimizer = torch.optim.AdamW(
            trained,
            lr=config.learning_rate * len(people) ** 0.5,
            weight_decay=config.weight_decay,
        )
        self.batch = config.batch_size
        if len(people) > 1:
            self.batch = max(1, round(config.batch_size * JOINT_SHARE))
        self.generator = torch.Generator().manual_seed(config.seed)
        self.noising = _noising_scheduler(models)
        self.step, self.earlier, self.pace = 0, 0.0, 0.0
        self.kept = self._first_kept()
        self.pools: list[tuple[Tensor, Tensor]] = []

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
        coefficients = self.kept.half().float().cpu()
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
        """One step of AdamW on the mapper -> the loss of each person."""
        latents, heads = self._latents()
        began = time.perf_counter()
        with torch.enable_grad():
            losses = self._losses(latents, heads)
            loss = losses.mean()
            if not torch.isfinite(loss):
                raise TrainingDiverged(
                    f"The loss is no longer a number at step {self.step + 1}. "
                    "Train again with a lower learning rate, or in float32."
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        self._set_learning_rate()
        self.optimizer.step()
        self.step += 1
        self._keep()
        took = time.perf_counter() - began
        self.pace = took if self.step == 1 else 0.8 * self.pace + 0.2 * took
        return dict(zip(self.names, losses.detach().tolist(), strict=True))

    def _losses(self, latents: Tensor, heads: Tensor) -> Tensor:
        """Denoising loss of each person (n,) for latents (n, b, c, h, w), heads (n, b, 1, h, w)."""
        n, b = latents.shape[:2]
        clean = latents.flatten(0, 1)
        noise = torch.randn(clean.shape, generator=self.generator).to(clean)
        timesteps = torch.cat([self._timesteps(b) for _ in range(n)]).to(clean.device)
        noisy_latents = self.noising.add_noise(clean, noise, timesteps)
        kind = self.noising.config.prediction_type
        if kind == "v_prediction":
            target = self.noising.get_velocity(clean, noise, timesteps)
        else:
            target = clean if kind == "sample" else noise
        states = self._text_states(n, b).to(clean.dtype)
        noise_pred: Tensor = self.models.unet(noisy_latents, timesteps, states, return_dict=False)[
            0
        ]
        weight = heads.flatten(0, 1) * (1 - self.config.background) + self.config.background
        weight = weight / weight.mean((1, 2, 3), keepdim=True)
        error: Tensor = (noise_pred.float() - target.float()).square() * weight
        per_picture = error.mean((1, 2, 3))
        return per_picture.reshape(n, b).mean(1)

    def _text_states(self, n: int, b: int) -> Tensor:
        """Text states (n * b, 77, d), each distinct prompt encoded once."""
        words = compose(self.basis, self.mapper(self.faces))
        texts = templates.PAPER if self.config.templates == "paper" else templates.STUDIO
        count = min(self.config.prompts, b)
        picks = torch.randint(len(texts), (n, count), generator=self.generator).tolist()
        wanted = [[(person, pick) for pick in row] for person, row in enumerate(picks)]
        distinct = list(dict.fromkeys(pair for row in wanted for pair in row))
        tokens, people = [], []
        for person, pick in distinct:
            text = texts[pick].format("<x>")
            tokens.append(tokenize(text, self.models.tokenizer, self.basis.k))
            people.append({"x": words[person]})
        states = encode_tokens(tokens, people, self.models.text_encoder)
        place = {pair: index for index, pair in enumerate(distinct)}
        rows = [place[row[i * count // b]] for row in wanted for i in range(b)]
        return states[torch.tensor(rows, device=states.device)]

    def _timesteps(self, count: int) -> Tensor:
        """Uniform timesteps (count,); stratified: one from each of `count` equal parts."""
        steps = int(self.noising.config.num_train_timesteps)
        if not self.config.stratified:
            return torch.randint(steps, (count,), generator=self.generator)
        parts = torch.randperm(count, generator=self.generator)
        offsets = torch.rand(count, generator=self.generator)
        return ((parts + offsets) * steps / count).long().clamp_max(steps - 1)

    def _latents(self) -> tuple[Tensor, Tensor]:
        """A batch per person: latents (n, b, c, h, w) and head masks (n, b, 1, h, w)."""
        if not self.config.views:
            fresh = [self._encode(i, self.batch, self.step) for i in range(len(self.people))]
            return torch.stack([f[0] for f in fresh]), torch.stack([f[1] for f in fresh])
        if not self.pools:
            count = self.config.views
            self.pools = [self._encode(i, count, 0) for i in range(len(self.people))]
        picks = [
            torch.randperm(len(latents), generator=self.generator).repeat(
                -(-self.batch // len(latents))
            )[: self.batch]
            for latents, _ in self.pools
        ]
        pairs = list(zip(self.pools, picks, strict=True))
        return (
            torch.stack([latents[pick] for (latents, _), pick in pairs]),
            torch.stack([heads[pick] for (_, heads), pick in pairs]),
        )

    def _encode(self, person: int, count: int, step: int) -> tuple[Tensor, Tensor]:
        """Latents and head masks of `count` new views; their own seed, so that a resumed run
        sees the same ones."""
        rng = np.random.default_rng((self.config.seed, person, step))
        size = (self.models.width, self.models.height)
        views = make_views(self.people[person].faces, count, size, self.config, rng)
        vae = self.models.vae
        noise = torch.Generator().manual_seed(int(rng.integers(2**31)))
        latents = []
        with torch.no_grad():
            for pixels in views.pixels.split(8):
                posterior = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
                latents.append(posterior.sample(generator=noise))
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        scaled = (torch.cat(latents) - shift) * vae.config.scaling_factor
        heads = functional.interpolate(views.heads, scaled.shape[-2:], mode="area")
        return scaled, heads.to(scaled.device)

    def _set_learning_rate(self) -> None:
        if self.config.decay:
            share = 1 - 0.9 * self.step / max(1, self.config.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * len(self.people) ** 0.5 * share

    # --- what is kept -------------------------------------------------------------------------

    def _now(self) -> Tensor:
        with torch.no_grad():
            now: Tensor = self.mapper(self.faces)
        return now

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
        tensors |= {"kept": self.kept, "generator": self.generator.get_state()}
        metadata = {
            "format": FORMAT,
            "step": str(self.step),
            "seconds": f"{self.seconds():.3f}",
            "run": self._fingerprint(),
        }
        return {key: value.detach().cpu().clone() for key, value in tensors.items()}, metadata

    def restore(self, path: Path) -> None:
        """Go on where a checkpoint was written. Raises ResumeMismatch."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ResumeMismatch(
                f"{path} is no training checkpoint that can be read. Start the training anew."
            ) from error
        if metadata.get("run") != self._fingerprint():
            raise ResumeMismatch(
                f"{path} belongs to another training: {metadata.get('run')}; this one is "
                f"{self._fingerprint()}. Use the same people and settings, or start anew."
            )
        self.mapper.load_state_dict(_under("mapper.", tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _under("optimizer.", tensors).items():
            index, field = key.split(".")
            state.setdefault(int(index), {})[field] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.kept = tensors["kept"].to(self.models.device)
        self.generator.set_state(tensors["generator"])
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


def _noising_scheduler(models: Models) -> Any:
    """The training's side of the model's scheduler: add_noise and get_velocity."""
    from diffusers import DDPMScheduler

    return DDPMScheduler.from_config(models.scheduler.config)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key[len(prefix) :]: t for key, t in tensors.items() if key.startswith(prefix)}
