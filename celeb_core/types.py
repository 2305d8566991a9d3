"""The nouns. Frozen, fully typed, no behaviour beyond what follows from their fields.

k = words per name (2), p = components per word, d = text-embedding width, n = number of names.
Where a model has several text encoders, p and d are of all of them, side by side.
Tensor fields make `==` ambiguous, so those classes compare by identity (`eq=False`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

Box: TypeAlias = tuple[float, float, float, float]
"""left, top, right, bottom in pixels."""

Norm: TypeAlias = Literal["paper", "radius-learned", "free"]
"""How the mapper's output is bounded; see `celeb_core.mapper`."""


@dataclass(frozen=True)
class Framing:
    """How a portrait frames a head, so that photos are cropped as the model draws people."""

    side: float = 2.0  # side of the crop over the longer side of the face box
    x: float = 0.5  # centre of the face in the crop, as a share of its side
    y: float = 0.5


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a photo. Boxes and landmarks are in pixels of the (upright) photo."""

    image: Image.Image  # RGB, square: the head as a portrait frames it; what the VAE sees
    aligned: npt.NDArray[np.uint8]  # (112, 112, 3) RGB: what the recogniser sees
    embedding: Tensor  # (512,) float32, unit norm
    box: Box  # the face
    crop: Box  # the part of the photo that `image` shows
    landmarks: npt.NDArray[np.float32]  # (5, 2) eyes, nose, mouth corners
    score: float  # the detector's confidence, 0 to 1


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody to be trained: a name and one or more photos' faces of the same person."""

    name: str
    faces: tuple[Face, ...]


@dataclass(frozen=True, eq=False)
class CelebBasis:
    """PCA of the celebrities' words, one per word position (METHOD.md §1.3).

    Each text encoder has a basis of its own, and this is their direct sum: encoder e has an equal
    share of the components, which are zero outside its `widths[e]` columns. Of its share at each
    position as many components as its rank are there; the rest are zero, with zero `std`, so that
    they have no effect. `id` is a hash of everything that determines the numbers.
    """

    mean: Tensor  # (k, d) float32
    components: Tensor  # (k, p, d) float32, orthonormal rows
    std: Tensor  # (k, p) float32, the celebrities' spread along each component
    names: tuple[str, ...]
    base_model: str
    id: str
    ranks: tuple[int, ...]  # (k * encoders,), those of the first word first
    widths: tuple[int, ...]  # (encoders,), d in all

    @property
    def k(self) -> int:
        """Words per name."""
        return int(self.components.shape[0])

    @property
    def p(self) -> int:
        """Components per word."""
        return int(self.components.shape[1])


@dataclass(frozen=True, eq=False)
class Identity:
    """A person whom the model knows: 2 x 512 numbers per text encoder.

    Never the photo or the face embedding.
    """

    name: str
    coefficients: Tensor  # (k, p) float32, in units of the celebrities' spread
    basis_id: str
    base_model: str = ""
    recogniser: str = ""
    settings: Mapping[str, str | int | float] = field(default_factory=dict)  # to reproduce it


@dataclass(frozen=True, eq=False)
class Calibration:
    """What is known of a model before anybody new: the celebrities' faces, and from any face the
    way to coefficients, coefficients = up @ (down @ face_embedding) + bias.
    """

    names: tuple[str, ...]
    face_embeddings: Tensor  # (n, 512) float32, unit norm, as drawn; zeros where no face was found
    down: Tensor  # (r, 512) float32
    up: Tensor  # (k * p, r) float32
    bias: Tensor  # (k * p,) float32
    directions: Tensor  # (k * p, q) float32: what a word says of a face, one spread of faces each
    # (q, q + 1) float32: what is added along the directions to what a training finds there, linear
    # in it and for everybody; zeros before a rehearsal (`celeb_core.rehearsal`)
    correction: Tensor
    basis_id: str
    base_model: str
    recogniser: str
    framing: Framing = Framing()  # of the pictures


@dataclass(frozen=True, eq=False)
class PromptEmbeds:
    """What the UNet hears of b prompts."""

    states: Tensor  # (b, tokens, d)
    pooled: Tensor | None = None  # (b, projection) of the whole text; SDXL's UNet takes it too

    def take(self, rows: Tensor) -> PromptEmbeds:
        """Some of the prompts, by index."""
        pooled = None if self.pooled is None else self.pooled[rows]
        return PromptEmbeds(self.states[rows], pooled)

    def to(self, device: torch.device) -> PromptEmbeds:
        """The same on a device."""
        pooled = None if self.pooled is None else self.pooled.to(device)
        return PromptEmbeds(self.states.to(device), pooled)

    def zeros(self) -> PromptEmbeds:
        """Nothing said, in the same shapes."""
        pooled = None if self.pooled is None else self.pooled.new_zeros(self.pooled.shape)
        return PromptEmbeds(self.states.new_zeros(self.states.shape), pooled)


@dataclass(frozen=True, eq=False)
class Prompt:
    """A text with `<name>` placeholders and who they are.

    A (k, d) Tensor instead of an identity stands for the words themselves, as `interpolate`
    gives them.
    """

    text: str
    identities: Mapping[str, Identity | Tensor]  # exactly the names that the text uses


@dataclass(frozen=True)
class TrainConfig:
    """Every number of a training; the presets of `celeb_core.training` fill it."""

    preset: str = "best"
    steps: int = 60
    batch_size: int = 8  # noisy latents per person and step
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    decay: bool = True  # learning rate falls linearly to a tenth of itself
    max_seconds: float | None = None  # stop after the step that passes it
    seed: int = 0
    # the mapper
    norm: Norm = "free"
    calibrated: bool = True  # start from the calibration, if the model has one, and then go along
    # its directions alone, at this rate instead, in spreads of faces
    calibrated_rate: float = 0.1
    # which coefficients are kept
    ema: float = 0.97  # decay of their moving average; 0: the last ones
    ema_from_noise: bool = False  # the official code's: starts from random numbers
    # factor on the coefficients of a calibrated training in the end; it falls there from 1.
    # Guidance draws what words say stronger than the loss has asked for
    shrink: float = 0.9
    # views of the photo
    views: int = 24  # augmented latents encoded once, per person
    flip: bool = True
    jitter: float = 0.0  # brightness, contrast, saturation: 1 ± jitter
    # smallest side of the pasted photo, as a share of the canvas. The photo is framed as the model
    # draws people; what is learned from a face of another size is less of that person
    smallest: float = 0.92
    canvas: Literal["edge", "black"] = "edge"  # what is around a shrunk photo
    # the loss
    templates: Literal["studio", "paper"] = "studio"
    prompts: int = 1  # distinct templates per person and step
    photo_words: bool = True  # words for what is the photo's alone stand behind the person
    photo_rate: float = 0.1  # their learning rate, in standard deviations of tokens
    background: float = 0.2  # loss weight outside the face; 1 is no mask
    # what eyes, nose and mouth weigh more than the rest of the head: they are small, and whose
    # face it is hangs on them
    features: float = 3.0
    gradients: Literal["way up", "exact"] = "way up"  # through which part of the UNet
    stratified: bool = True  # timesteps of a batch spread evenly instead of independently
    # timesteps whose log signal-to-noise ratio is between these, of latents shrunk to 16 x 16:
    # more noise says little of a face but much of the photo's layout, less is texture
    log_snr_min: float = -1.5
    log_snr_max: float = 1.5


@dataclass(frozen=True)
class SampleConfig:
    """How pictures are drawn. None means the loaded model's own default."""

    num_images: int = 1
    seed: int = 0  # picture i is drawn from seed + i, whatever the batch
    steps: int | None = None
    guidance: float | None = None
    negative_prompt: str = ""
    width: int | None = None  # None: the model's width, times 1.5 for two or more people
    height: int | None = None
    scheduler: str | None = None  # a key of `celeb_core.sampling.SCHEDULERS`
    # share of the steps, the first ones, that draw the average celebrity in place of the prompt's
    # people: more of what the prompt asks for, less of them
    delay: float = 0.0
    batch_size: int = 4


@dataclass(frozen=True, eq=False)
class TrainStep:
    """The state after `step` updates; step 0 comes before the first one and has no losses.

    `checkpoint()` copies what is needed to go on later (see `save_checkpoint`). It reads the
    running training, so call it before asking for the next step.
    """

    step: int
    steps: int  # planned
    losses: Mapping[str, float]  # per person, of this step
    seconds: float  # since the training began, all in
    seconds_left: float | None  # estimate; None while there is nothing to estimate from
    people: tuple[Identity, ...] = ()  # as they are now
    checkpoint: Callable[[], tuple[dict[str, Tensor], dict[str, str]]] | None = field(
        default=None, repr=False
    )
    preview: Image.Image | None = None

    @property
    def identities(self) -> dict[str, Identity]:
        """The people so far, by name: ready for `generate` and `save_identity`."""
        return {person.name: person for person in self.people}

    @property
    def loss(self) -> float:
        """Mean over the people; nan at step 0."""
        values = list(self.losses.values())
        return sum(values) / len(values) if values else float("nan")

    def with_preview(self, preview: Image.Image) -> TrainStep:
        """The same step with a picture."""
        return replace(self, preview=preview)


@dataclass(frozen=True)
class FaceScore:
    """One wanted person in one picture. A missing face scores zero."""

    name: str
    found: bool
    identity: float  # recogniser cosine
    judge: float | None  # the independent judge's cosine, when the model ships one
    box: Box | None


@dataclass(frozen=True)
class Scores:
    """How well a picture does what it was asked for."""

    faces: tuple[FaceScore, ...]
    prompt: float | None  # CLIP cosine of picture and text, names removed; None without a CLIP

    @property
    def identity(self) -> float | None:
        """Mean recogniser cosine over the wanted people; None if nobody was wanted."""
        return _mean([face.identity for face in self.faces])

    @property
    def judge(self) -> float | None:
        """Mean judge cosine; None without a judge."""
        return _mean([face.judge for face in self.faces if face.judge is not None])

    @property
    def detected(self) -> float | None:
        """Share of the wanted people who were found."""
        return _mean([float(face.found) for face in self.faces])


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
