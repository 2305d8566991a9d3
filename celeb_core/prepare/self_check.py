"""Which training settings fit a model: some of its celebrities play unknown people.

The model knows its celebrities. So a generated portrait of one who is held out of the calibration
can be the photo of a person whom nobody knows, and images by name show what a perfect training
would give. The ratio of the two identity scores is measured for one setting after another, on the
same people and seeds. Where the ratios do not tell settings apart, the published recipe's stays.
"""

import hashlib
import json
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import load_file

from celeb_core.augmentation import AugmentedLatents
from celeb_core.basis import compose
from celeb_core.denoising_loss import SNR_PIXELS, DenoisingLoss
from celeb_core.many.workers import Here, Makers
from celeb_core.mapper import build_mapper
from celeb_core.models import Models
from celeb_core.prepare.stand_ins import ScoreTask, StandIn, TrainTask
from celeb_core.studio import Studio
from celeb_core.types import REGRESSION_BATCH, Calibration, MapperConfig, TrainConfig

Settings: TypeAlias = Mapping[str, Any]
"""Fields of TrainConfig, and "stretch": the factor on the closed-form initialisation."""

HOPELESS = 0.1  # below the best ratio after half of the stand-ins: the other half is spared
CLEAR = 2  # standard errors of the paired differences
SWEEPS = 3  # through the axes, at most
TRAINED, SCORE = "person", "score"  # begin the names of files: a trained stand-in, their scores
SAME_DIRECTION = 0.95  # cosine of truncated and exact gradients from which the former will do


@dataclass(frozen=True)
class Trial:
    """What one setting reaches."""

    axis: str
    settings: dict[str, Any]  # that it changes
    ratios: tuple[float, ...]  # of each stand-in: identity score over that by name
    chosen: bool = False
    note: str = ""

    @property
    def mean(self) -> float:
        """Mean ratio of the stand-ins; nan without any."""
        return sum(self.ratios) / len(self.ratios) if self.ratios else math.nan

    @property
    def error(self) -> float:
        """Standard error of the mean; nan below two stand-ins."""
        n = len(self.ratios)
        return float(torch.tensor(self.ratios).std() / n**0.5) if n > 1 else math.nan

    def __str__(self) -> str:
        """Format it as a line of the table."""
        values = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        score = f"{self.mean:.3f}" if self.ratios else ""
        score += f" ± {self.error:.3f}" if len(self.ratios) > 1 else ""
        parts = (self.axis, values, score, "chosen" if self.chosen else "", self.note)
        return " | ".join(part for part in parts if part)


def axes(models: Models) -> dict[str, tuple[dict[str, Any], ...]]:
    """Return what is tried, one axis after the other; the published value comes first.

    Windows are bounds of the log-SNR: all timesteps; a middle one whose lower bound follows the
    size of the latents; the same with both bounds; and it moved by two either way. “start” is the
    closed-form initialisation or, in its place, the regression over the names.
    """
    size = models.unet.config.sample_size
    pixels = size * size if isinstance(size, int) else size[0] * size[1]
    shift = math.log(pixels / SNR_PIXELS)
    bounds = [(-math.inf, math.inf), (-1.5, 1.5), (-1.5, 1.5 - shift), (0.5, 3.5), (-3.5, -0.5)]
    windows = ({"min_log_snr": low, "max_log_snr": high} for low, high in dict.fromkeys(bounds))
    return {
        "rate": tuple({"calibrated_learning_rate": r} for r in (0.1, 0.01, 0.03, 0.3, 1.0)),
        "window": tuple(windows),
        "shrink": tuple({"shrink": factor} for factor in (1.0, 0.9, 0.8, 0.7, 0.6)),
        "stretch": tuple({"stretch": factor} for factor in (1.0, 1.15)),
        "steps": tuple({"steps": steps} for steps in (60, 120)),
        "start": (
            {"calibrated": True, "regression_batch": 0},
            {"calibrated": False, "regression_batch": REGRESSION_BATCH},
        ),
    }


def self_check(
    stand_ins: Sequence[StandIn],
    calibration: Calibration,
    studio: Studio,
    folder: Path,
    steps: int | None = None,
    makers: Makers | None = None,
    *,
    search: bool = True,
    initial: TrainConfig | None = None,
) -> Iterator[Trial | None]:
    """Find the settings of a training, one axis after the other, until nothing changes.

    Args:
        stand_ins: Celebrities who are held out of the calibration.
        calibration: Of the model.
        studio: Its own `calibration` is not used.
        folder: Of the results, which are not computed again.
        steps: Of sampling.
        makers: Whoever trains and generates; None: this process.
        search: Otherwise the initial settings are measured alone.
        initial: The settings to begin with; None: the preset's.

    Yields:
        Every trial, and those that are chosen once more with `chosen` set: the settings that were
        chosen last are the result, the last trial is what they reach. In between None, after every
        training and all images of a stand-in.
    """
    initial = initial or TrainConfig()
    comparison = _Comparison(stand_ins, calibration, makers or Here(studio), folder, steps)
    cosine = gradient_cosine(stand_ins, initial, calibration, studio)
    gradients = {"gradients": "truncated" if cosine >= SAME_DIRECTION else "exact"}
    yield Trial("gradients", gradients, (), True, f"cosine with exact ones {cosine:.3f}")
    current: dict[str, Any] = {**initial.flat(), "stretch": 1.0, **gradients}
    for _ in range(SWEEPS if search else 0):
        before = dict(current)
        for axis, options in axes(studio.models).items():
            trials = []
            for trial in comparison.compare(axis, options, current):
                trials += [trial] if trial else []
                yield trial
            best = choose(trials)
            current |= best.settings
            yield replace(best, chosen=True)
        if current == before:
            break
    tried = (one for options in axes(studio.models).values() for one in options)
    settings = {key: current[key] for one in tried for key in one}
    for final in comparison.compare("result", [settings], current):
        yield replace(final, chosen=True) if final else None


def choose(trials: Sequence[Trial]) -> Trial:
    """Return the best trial, or the first if it is not worse by more than CLEAR standard errors.

    The recogniser forgives some settings more than a person would, shrinking above all, so that
    small gains are not to be trusted.
    """
    complete = [trial for trial in trials if len(trial.ratios) == len(trials[0].ratios)]
    best = max(complete, key=lambda trial: trial.mean)
    gains = torch.tensor(best.ratios) - torch.tensor(trials[0].ratios)
    error = float(gains.std() / len(gains) ** 0.5) if len(gains) > 1 else 0.0
    return best if float(gains.mean()) > CLEAR * error else trials[0]


def gradient_cosine(
    stand_ins: Sequence[StandIn], config: TrainConfig, calibration: Calibration, studio: Studio
) -> float:
    """Return the mean cosine of truncated with exact gradients at the closed form's embeddings."""
    models, basis, cosines = studio.models, studio.basis, []
    mapper = build_mapper(basis, MapperConfig(), calibration, 0).to(models.device)
    for stand_in in stand_ins:
        face = stand_in.person.faces[0].embedding[None].to(models.device)
        embeddings = compose(basis, mapper(face)).detach()
        found = []
        for gradients in ("truncated", "exact"):
            same = config.changed(gradients=gradients, nuisance_tokens=False)
            generator = torch.Generator().manual_seed(0)
            views = AugmentedLatents([stand_in.person], models, same, generator)
            leaf = embeddings.clone().requires_grad_()
            loss = DenoisingLoss(models, same.loss, generator)
            loss.backward(leaf, *views.batch(0))
            assert leaf.grad is not None
            found.append(leaf.grad.flatten())
        cosines.append(torch.cosine_similarity(found[0], found[1], dim=0))
    return float(torch.stack(cosines).mean())


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Trainings of stand-ins, whose results are files."""

    stand_ins: Sequence[StandIn]
    calibration: Calibration
    makers: Makers
    folder: Path
    steps: int | None

    def compare(
        self, axis: str, options: Sequence[dict[str, Any]], current: Settings
    ) -> Iterator[Trial | None]:
        """Try each option on half of the stand-ins, and those with hope on all of them."""
        half = (len(self.stand_ins) + 1) // 2
        settings = [{**current, **option} for option in options]
        first = yield from self._ratios(settings, self.stand_ins[:half])
        bar = max(sum(ratios) / half for ratios in first) - HOPELESS
        hopeful = [n for n, ratios in enumerate(first) if n == 0 or sum(ratios) / half >= bar]
        all_of_them = yield from self._ratios([settings[n] for n in hopeful], self.stand_ins)
        complete = dict(zip(hopeful, all_of_them, strict=True))
        for number, option in enumerate(options):
            yield Trial(axis, option, tuple(complete.get(number, first[number])))

    def _ratios(
        self, settings: Sequence[Settings], stand_ins: Sequence[StandIn]
    ) -> Generator[None, None, list[list[float]]]:
        """For each of the settings, the identity score of each stand-in over that by name."""
        pairs = [(one, stand_in) for one in settings for stand_in in stand_ins]
        missing = [pair for pair in pairs if not self._path(SCORE, *pair).is_file()]
        # Shrinking needs no training of its own: several scores may be of one trained person.
        trainings = {self._trained(*pair): self._training(*pair) for pair in missing}
        yield from self._make(trainings)
        yield from self._make({self._path(SCORE, *pair): self._score(*pair) for pair in missing})
        return [
            [
                float(load_file(self._path(SCORE, one, stand_in))["cosines"].mean())
                / stand_in.by_name
                for stand_in in stand_ins
            ]
            for one in settings
        ]

    def _make(self, tasks: Mapping[Path, TrainTask | ScoreTask]) -> Generator[None, None, None]:
        for _ in self.makers.make([*tasks], [*tasks.values()]):
            yield

    def _training(self, settings: Settings, stand_in: StandIn) -> TrainTask:
        config = {**settings, "shrink": 1.0}
        stretch, person = config.pop("stretch"), stand_in.person
        return TrainTask(person, TrainConfig().changed(**config), self.calibration, stretch)

    def _score(self, settings: Settings, stand_in: StandIn) -> ScoreTask:
        coefficients = load_file(self._trained(settings, stand_in))["coefficients"]
        return ScoreTask(coefficients * settings["shrink"], stand_in.reference, self.steps)

    def _trained(self, settings: Settings, stand_in: StandIn) -> Path:
        return self._path(TRAINED, {**settings, "shrink": 1.0}, stand_in)

    def _path(self, kind: str, settings: Settings, stand_in: StandIn) -> Path:
        """Name a file by all that decides its content."""
        of = self.calibration
        made_by = [kind, dict(settings), stand_in.name, self.steps, of.basis_id, of.recogniser]
        digest = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode())
        for tensor in (of.up, of.down, of.directions):
            digest.update(tensor.half().numpy().tobytes())
        return self.folder / f"{kind}-{digest.hexdigest()[:24]}.safetensors"
