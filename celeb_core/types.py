"""The data classes that modules exchange, and the training presets.

Letters used for shapes: k token embeddings per person (2), p components per token embedding,
d width of a token embedding, n number of people. Of a model with several text encoders, p and d
count those of all encoders, side by side. Classes with tensors compare by identity (`eq=False`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

Checkpoint: TypeAlias = tuple[dict[str, Tensor], dict[str, str]]
"""Tensors and metadata of a safetensors file."""

Box: TypeAlias = tuple[float, float, float, float]
"""left, top, right, bottom in pixels."""


@dataclass(frozen=True)
class Framing:
    """How portraits of the model frame a head; photos are cropped in the same way."""

    side: float = 2.0  # side of the crop over the longer side of the face box
    x: float = 0.5  # centre of the face in the crop, as a share of its side
    y: float = 0.5


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a photo. Boxes and landmarks are in pixels of the upright photo."""

    image: Image.Image  # RGB, square crop around the head: what the VAE encodes
    aligned: npt.NDArray[np.uint8]  # (112, 112, 3) RGB: what the recogniser embeds
    embedding: Tensor  # (512,) float32, unit norm
    box: Box  # of the face
    crop: Box  # the part of the photo that `image` shows
    landmarks: npt.NDArray[np.float32]  # (5, 2) eyes, nose tip, mouth corners
    score: float  # the detector's confidence, 0 to 1
    turned: int = 0  # degrees, counter-clockwise, by which the photo was turned to be upright
    domain_note: str = ""  # of a photograph where the model knows drawn faces only: what to do


@dataclass(frozen=True, eq=False)
class Person:
    """A person to be trained: a name and one or more faces of them, one per photo."""

    name: str
    faces: tuple[Face, ...]
    consent: str = ""  # what is known of it, to be written into the identity


@dataclass(frozen=True, eq=False)
class CelebBasis:
    """PCA of the celebrities' token embeddings, one per position (Celeb Basis, section 3.2).

    The direct sum of one basis per text encoder: encoder e has an equal share of the components,
    zero outside of its `widths[e]` columns. Those beyond its rank are zero and have zero `std`.
    """

    mean: Tensor  # (k, d) float32
    components: Tensor  # (k, p, d) float32, orthonormal rows
    std: Tensor  # (k, p) float32, standard deviation of the celebrities along each component
    names: tuple[str, ...]
    base_model: str
    id: str  # hash of all that determines the numbers
    ranks: tuple[int, ...]  # (k * encoders,), those of the first position first
    widths: tuple[int, ...]  # (encoders,), d in all

    @property
    def k(self) -> int:
        """Token embeddings per person."""
        return int(self.components.shape[0])

    @property
    def p(self) -> int:
        """Components per token embedding."""
        return int(self.components.shape[1])


@dataclass(frozen=True, eq=False)
class Identity:
    """A person as the model knows them: 2 x 512 coefficients per text encoder.

    It holds neither the photo nor the face embedding.
    """

    name: str
    coefficients: Tensor  # (k, p) float32, in standard deviations of the celebrities
    basis_id: str
    base_model: str = ""
    recogniser: str = ""
    settings: Mapping[str, str | int | float] = field(default_factory=dict)  # to reproduce it


@dataclass(frozen=True)
class PositionCurve:
    """How much of the identity score is left where a person begins at a later token."""

    positions: tuple[int, ...]  # of the person's first token, ascending; the start token is 0
    kept: tuple[float, ...]  # share of the score at the first position; never increasing
    limit: int | None  # the last position where enough is kept; None: no end was found


@dataclass(frozen=True)
class PersonPositions:
    """Up to which tokens of a prompt a model knows people, as it was measured."""

    first: PositionCurve  # of the first person of a prompt
    later: PositionCurve  # of the second person of a pair


@dataclass(frozen=True, eq=False)
class Calibration:
    """The closed-form initialisation of a model, and the celebrities' faces as it generates them.

    coefficients = up @ (down @ face_embedding) + bias. Training moves coefficients along the q
    `directions` only; `correction` is added along them afterwards, linear in what the training
    found: it makes up for guidance, which the loss knows nothing of.
    """

    names: tuple[str, ...]
    face_embeddings: Tensor  # (n, 512) float32, unit norm; zeros where no face was found
    down: Tensor  # (r, 512) float32
    up: Tensor  # (k * p, r) float32
    bias: Tensor  # (k * p,) float32
    directions: Tensor  # (k * p, q) float32, one standard deviation of faces each
    correction: Tensor  # (q, q + 1) float32, weight and bias; zeros: none
    basis_id: str
    base_model: str
    recogniser: str
    framing: Framing = Framing()  # of the generated portraits
    settings: Mapping[str, Any] = field(default_factory=dict)  # of TrainConfig, fit for the model
    report: Mapping[str, Any] = field(default_factory=dict)  # who made it, with what, how good
    person_positions: PersonPositions | None = None  # None: not measured
    source: str = ""  # file or hub id that it was loaded from


@dataclass(frozen=True, eq=False)
class PromptEmbeds:
    """The text encoders' output for b prompts, as diffusers' pipelines take it."""

    hidden_states: Tensor  # (b, tokens, d)
    pooled: Tensor | None = None  # (b, projection), SDXL's pooled_prompt_embeds

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply a function to both tensors."""
        pooled = None if self.pooled is None else function(self.pooled)
        return replace(self, hidden_states=function(self.hidden_states), pooled=pooled)


@dataclass(frozen=True, eq=False)
class Prompt:
    """A text with `<name>` placeholders and who they are.

    A tensor (k, d) in place of an identity gives the token embeddings themselves.
    """

    text: str
    identities: Mapping[str, Identity | Tensor]  # exactly the names that the text uses
    people: Mapping[str, Identity | Tensor] = field(default_factory=dict)  # for a negative prompt
    # Where people are, as shares of width and height; a placeholder's or a celebrity's name -> box.
    # People without one are placed automatically. Without `SampleConfig.regions`: of no effect.
    boxes: Mapping[str, Box] = field(default_factory=dict)
    # Identity strengths, name -> 0 to MAX_STRENGTH: the person between the mean celebrity (0) and
    # as trained (1), or beyond. Identities without one have 1.
    strengths: Mapping[str, float] = field(default_factory=dict)
    written: str = ""  # the text as it was written, where `rearranged` changed it


@dataclass(frozen=True)
class MapperConfig:
    """Where the coefficients start, and which ones are kept."""

    # "paper": LeakyReLU(0.2), then unit norm on unscaled components, average from noise
    norm: Literal["free", "paper"] = "free"
    calibrated: bool = True  # start from the model's calibration, if there is one
    # noisy latents per person for the regression over the names, where there is none; 0: no such
    regression_batch: int = 0
    ema: float = 0.97  # decay of the moving average that is kept; 0: the last coefficients
    shrink: float = 1.0  # final factor on calibrated coefficients, against guidance's overshoot


@dataclass(frozen=True)
class OptimiserConfig:
    """Learning rates of the mapper's two kinds and of the nuisance tokens."""

    learning_rate: float = 2e-3  # AdamW, without a calibration
    calibrated_learning_rate: float = 0.1  # with one, in standard deviations of faces
    nuisance_learning_rate: float = 0.1  # in standard deviations of token embeddings
    linear_decay: bool = True  # to a tenth of itself


@dataclass(frozen=True)
class AugmentationConfig:
    """How views of a photo are made."""

    views: int = 24  # latents per person, encoded once; 0: a fresh batch in every step
    colour_jitter: float = 0.0  # brightness, contrast, saturation: 1 ± this
    min_scale: float = 0.92  # smallest side of the pasted photo, as a share of the canvas
    padding: Literal["edge", "black"] = "edge"  # around a smaller photo; black turns hues, too


@dataclass(frozen=True)
class LossConfig:
    """The denoising loss."""

    templates: Literal["short", "paper"] = "short"
    nuisance_tokens: bool = True  # thrown-away tokens behind the person, for what is the photo's
    background_weight: float = 0.2  # outside of the head; 1: no mask
    landmark_weight: float = 3.0  # added on eyes, nose and mouth
    gradients: Literal["truncated", "exact"] = "exact"
    stratified_timesteps: bool = True  # one from each of equal parts, not independent ones
    # bounds of log(alpha² / sigma²); the lower one for 16 x 16 latents, lower for larger ones
    min_log_snr: float = -1.5
    max_log_snr: float = 1.5


@dataclass(frozen=True)
class TrainConfig:
    """Every number of a training; see PRESETS."""

    preset: str = "best"
    steps: int = 60
    batch_size: int = 8  # noisy latents per person and step
    max_seconds: float | None = None  # no step is begun that would pass it
    # who are in a step of a joint training, in turn, so that it costs the same for any number of
    # people; None: everybody
    people_per_step: int | None = None
    seed: int = 0
    mapper: MapperConfig = MapperConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    loss: LossConfig = LossConfig()

    def flat(self) -> dict[str, Any]:
        """Return all fields by name, those of the groups too; names are unique."""
        values = dict(vars(self))
        for group in GROUPS:
            values |= vars(values.pop(group))
        return values

    def unusual(self) -> dict[str, Any]:
        """Return the fields that differ from the preset's, to be written into identities."""
        usual = PRESETS.get(self.preset, TrainConfig()).flat()
        return {name: value for name, value in self.flat().items() if usual[name] != value}

    def changed(self, **values: Any) -> Self:
        """Return a copy with some fields replaced, those of the groups too.

        Raises:
            TypeError: A name is no field.
        """
        if unknown := set(values) - set(self.flat()):
            raise TypeError(f"TrainConfig has no field {', '.join(sorted(unknown))}")
        for group in GROUPS:
            part = getattr(self, group)
            inside = {name: values.pop(name) for name in vars(part) if name in values}
            values[group] = replace(part, **inside)
        return replace(self, **values)


GROUPS = ("mapper", "optimiser", "augmentation", "loss")

PAPER_LOSS = LossConfig(
    templates="paper", nuisance_tokens=False, background_weight=1.0, landmark_weight=0.0,
    stratified_timesteps=False, min_log_snr=-math.inf, max_log_snr=math.inf,
)  # fmt: skip
PRESETS: dict[str, TrainConfig] = {
    "instant": TrainConfig(preset="instant", steps=0),
    "fast": TrainConfig(preset="fast", steps=20),
    "best": TrainConfig(),
    "paper": TrainConfig(
        preset="paper",
        steps=400,
        batch_size=2,
        mapper=MapperConfig("paper", calibrated=False, ema=0.99),
        optimiser=OptimiserConfig(learning_rate=1e-2, linear_decay=False),
        augmentation=AugmentationConfig(0, colour_jitter=0.2, min_scale=0.1, padding="black"),
        loss=PAPER_LOSS,
    ),
}
"""instant (the closed-form initialisation alone), fast, best, paper (as the official code)."""


REGRESSION_BATCH = 6  # noisy latents of a photo, each predicted once for every name
REGRESSION_SETTINGS = {"calibrated", "regression_batch"}


def recipe(preset: str, calibration: Calibration | None) -> TrainConfig:
    """Return the config of a preset on a model with a calibration, or without one.

    A calibration brings settings that fit the model. Without one, a regression over the names
    takes its place.
    """
    config = PRESETS[preset]
    if not config.mapper.calibrated or not config.steps:
        return config
    if calibration is None:
        return config.changed(regression_batch=REGRESSION_BATCH)
    settings = dict(calibration.settings)
    if preset != "best":  # the regression takes longer than the few steps of the others
        settings = {name: settings[name] for name in settings.keys() - REGRESSION_SETTINGS}
    if "steps" in settings:  # are those of “best”
        settings["steps"] = round(settings["steps"] * config.steps / PRESETS["best"].steps)
    return config.changed(**settings)


@dataclass(frozen=True)
class RegionConfig:
    """How strictly each person of an image of several is kept inside a region of their own."""

    strength: float = 1.0  # 0: as without regions; 1: nobody acts outside of their own region
    # Share of the steps, from the first, in which regions do not attend to one another.
    self_attention_share: float = 0.5


@dataclass(frozen=True)
class SampleConfig:
    """How images are generated. None means the loaded model's own default."""

    num_images: int = 1
    seed: int = 0  # image i is generated from seed + i, whatever the batch
    steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str = ""
    width: int | None = None  # None: the model's, times .75 for each of two to four people
    height: int | None = None
    scheduler: str | None = None  # a key of `celeb_core.sampling.SCHEDULERS`
    batch_size: int = 4
    regions: RegionConfig | None = None  # None: every token acts everywhere, as in diffusers


@dataclass(frozen=True, eq=False)
class TrainStep:
    """The state after `step` updates; step 0 comes before the first one and has no losses.

    `checkpoint()` reads the running training, so call it before asking for the next step.
    """

    step: int
    steps: int  # planned
    losses: Mapping[str, float]  # per person, of this step
    seconds: float  # since the training began, interruptions left out
    seconds_left: float | None  # estimate; None while there is nothing to estimate from
    people: tuple[Identity, ...] = ()  # as they are now
    checkpoint: Callable[[], Checkpoint] | None = field(default=None, repr=False)

    @property
    def identities(self) -> dict[str, Identity]:
        """The people by name: ready for `generate` and `save_identity`."""
        return {person.name: person for person in self.people}

    @property
    def loss(self) -> float:
        """Mean over the people; nan at step 0."""
        return sum(self.losses.values()) / len(self.losses) if self.losses else float("nan")
