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
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from celeb_core.augmentation import AugmentedLatents
from celeb_core.basis import compose
from celeb_core.denoising_loss import SNR_PIXELS, DenoisingLoss
from celeb_core.errors import FeatureMissing
from celeb_core.faces import largest_face, mean_embedding
from celeb_core.files import share_work, write_atomically
from celeb_core.mapper import build_mapper
from celeb_core.models import Models
from celeb_core.prepare.calibration import stretched
from celeb_core.prompt import PORTRAIT, parse_prompt
from celeb_core.sampling import generate_each
from celeb_core.studio import Studio
from celeb_core.training import fit
from celeb_core.types import (
    REGRESSION_BATCH,
    Calibration,
    Identity,
    MapperConfig,
    Person,
    SampleConfig,
    TrainConfig,
)

Settings: TypeAlias = Mapping[str, Any]
"""Fields of TrainConfig, and "stretch": the factor on the closed-form initialisation."""

TEMPLATES = (
    PORTRAIT, "a photo of {} smiling", "a photo of {} on the beach", "{} reads a book",
)  # fmt: skip
PORTRAITS = 4  # of a stand-in by name: the photo, and three for the reference
SEEDS = (3_000_000, 4_000_000)  # of the portraits, of the images that are scored
HOPELESS = 0.1  # below the best ratio after half of the stand-ins: the other half is spared
CLEAR = 2  # standard errors of the paired differences
SWEEPS = 3  # through the axes, at most
TRAINED = "person"  # begins the name of a file of a trained stand-in
SAME_DIRECTION = 0.95  # cosine of truncated and exact gradients from which the former will do


@dataclass(frozen=True, eq=False)
class StandIn:
    """A celebrity who plays an unknown person."""

    name: str
    person: Person  # one generated portrait
    reference: Tensor  # (512,) mean face embedding of others
    by_name: float  # mean cosine of images by name with it


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


def build_stand_ins(
    names: Sequence[str], count: int, studio: Studio, steps: int | None
) -> list[StandIn]:
    """Generate portraits of some celebrities; keep the `count` who look most alike in theirs.

    Raises:
        FeatureMissing: None has a face in all of them.
    """
    models, basis = studio.models, studio.basis

    def images(templates: Sequence[str], seed: int) -> list[list[Image.Image]]:
        prompts = [parse_prompt(text.format(name), {}) for name in names for text in templates]
        flat = generate_each(prompts, models, basis, SampleConfig(seed=seed, steps=steps))
        return [flat[i : i + len(templates)] for i in range(0, len(flat), len(templates))]

    found = []
    for name, portraits in zip(names, images([PORTRAIT] * PORTRAITS, SEEDS[0]), strict=True):
        faces = [largest_face(there) for there in map(studio.faces.find, portraits) if there]
        if len(faces) == PORTRAITS:
            embeddings = torch.stack([face.embedding for face in faces])
            alike = float((embeddings @ embeddings.T).mean())
            found.append((alike, name, faces[0], mean_embedding(embeddings[1:])))
    if not found:
        what = f"None of {len(names)} celebrities has a face in all of {PORTRAITS} portraits"
        advice = "Prepare with names that the model knows."
        raise FeatureMissing(f"{what}. {advice}", option="--names FILE")
    best = sorted(found, key=lambda one: -one[0])[:count]
    stand_ins = []
    for _, name, face, reference in best:
        scores = _cosines(name, {}, reference, studio, steps)
        stand_ins.append(StandIn(name, Person("x", (face,)), reference, float(scores.mean())))
    return stand_ins


def self_check(
    stand_ins: Sequence[StandIn],
    calibration: Calibration,
    studio: Studio,
    folder: Path,
    steps: int | None = None,
    shard: tuple[int, int] = (0, 1),
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
        shard: See `share_work`.
        search: Otherwise the initial settings are measured alone.
        initial: The settings to begin with; None: the preset's.

    Yields:
        Every trial, and those that are chosen once more with `chosen` set: the settings that were
        chosen last are the result, the last trial is what they reach. In between None, after every
        training.
    """
    initial = initial or TrainConfig()
    comparison = _Comparison(stand_ins, calibration, studio, folder, steps, shard)
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
    studio: Studio
    folder: Path
    steps: int | None
    shard: tuple[int, int]

    def compare(
        self, axis: str, options: Sequence[dict[str, Any]], current: Settings
    ) -> Iterator[Trial | None]:
        """Try each option on half of the stand-ins, and those with hope on all of them."""
        half, first = (len(self.stand_ins) + 1) // 2, []
        for option in options:
            ratios = yield from self._ratios({**current, **option}, self.stand_ins[:half])
            first.append(ratios)
        bar = max(sum(ratios) / half for ratios in first) - HOPELESS
        for number, (option, ratios) in enumerate(zip(options, first, strict=True)):
            if number == 0 or sum(ratios) / half >= bar:
                ratios = yield from self._ratios({**current, **option}, self.stand_ins)
            yield Trial(axis, option, tuple(ratios))

    def _ratios(
        self, settings: Settings, stand_ins: Sequence[StandIn]
    ) -> Generator[None, None, list[float]]:
        """Identity score of each stand-in, over that by name."""
        paths = [self._path("score", settings, stand_in) for stand_in in stand_ins]
        for _ in share_work(paths, lambda i: self._score(settings, stand_ins[i]), self.shard):
            yield
        pairs = zip(paths, stand_ins, strict=True)
        return [float(load_file(p)["cosines"].mean()) / one.by_name for p, one in pairs]

    def _score(self, settings: Settings, stand_in: StandIn) -> bytes:
        """Identity scores of the images of a stand-in who is trained, as a file."""
        person = self._train(settings, stand_in)
        shrunk = replace(person, coefficients=person.coefficients * settings["shrink"])
        cosines = _cosines("<x>", {"x": shrunk}, stand_in.reference, self.studio, self.steps)
        content: bytes = save({"cosines": cosines})
        return content

    def _train(self, settings: Settings, stand_in: StandIn) -> Identity:
        """Train without shrinking, which is a factor on the result."""
        config = {**settings, "shrink": 1.0}
        path, stretch = self._path(TRAINED, config, stand_in), config.pop("stretch")
        models, basis = self.studio.models, self.studio.basis
        if path.is_file():
            return Identity("x", load_file(path)["coefficients"], basis.id)
        used = stretched(self.calibration, stretch)
        people, plain = [stand_in.person], TrainConfig().changed(**config)
        person = fit(people, models, basis, plain, calibration=used)["x"]
        write_atomically(path, save({"coefficients": person.coefficients}))
        return person

    def _path(self, kind: str, settings: Settings, stand_in: StandIn) -> Path:
        """Name a file by all that decides its content."""
        of = self.calibration
        made_by = [kind, dict(settings), stand_in.name, self.steps, of.basis_id, of.recogniser]
        digest = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode())
        for tensor in (of.up, of.down, of.directions):
            digest.update(tensor.half().numpy().tobytes())
        return self.folder / f"{kind}-{digest.hexdigest()[:24]}.safetensors"


def _cosines(
    name: str, people: Mapping[str, Identity], reference: Tensor, studio: Studio, steps: int | None
) -> Tensor:
    """Cosine (images,) of the face in an image of each template; 0 where there is none."""
    prompts = [parse_prompt(text.format(name), people) for text in TEMPLATES]
    config = SampleConfig(seed=SEEDS[1], steps=steps)
    images = generate_each(prompts, studio.models, studio.basis, config)
    faces = [studio.faces.find(image) for image in images]
    return torch.tensor([float(largest_face(f).embedding @ reference) if f else 0.0 for f in faces])
