"""Celebrities who play unknown people: their portraits, trainings and identity scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from celeb_core.errors import FeatureMissing
from celeb_core.faces import largest_face, mean_embedding
from celeb_core.prepare.calibration import stretched
from celeb_core.prompt import PORTRAIT, parse_prompt
from celeb_core.sampling import generate_each
from celeb_core.studio import Studio
from celeb_core.training import fit
from celeb_core.types import Calibration, Identity, Person, SampleConfig, TrainConfig

TEMPLATES = (
    PORTRAIT, "a photo of {} smiling", "a photo of {} on the beach", "{} reads a book",
)  # fmt: skip
PORTRAITS = 4  # of a stand-in by name: the photo, and three for the reference
SEEDS = (3_000_000, 4_000_000)  # of the portraits, of the images that are scored


@dataclass(frozen=True, eq=False)
class StandIn:
    """A celebrity who plays an unknown person."""

    name: str
    person: Person  # one generated portrait
    reference: Tensor  # (512,) mean face embedding of others
    by_name: float  # mean cosine of images by name with it


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


@dataclass(frozen=True, eq=False)
class TrainTask:
    """A stand-in who is trained, without shrinking, which is a factor on the result."""

    person: Person
    config: TrainConfig
    calibration: Calibration
    stretch: float

    def make(self, studio: Studio) -> bytes:
        """Train; the file has the coefficients."""
        person = fit(
            [self.person],
            studio.models,
            studio.basis,
            self.config,
            calibration=stretched(self.calibration, self.stretch),
        )["x"]
        content: bytes = save({"coefficients": person.coefficients})
        return content


@dataclass(frozen=True, eq=False)
class ScoreTask:
    """The images of a stand-in who is trained."""

    coefficients: Tensor  # (k, p)
    reference: Tensor  # (512,) of the stand-in
    steps: int | None  # of sampling

    def make(self, studio: Studio) -> bytes:
        """Generate the images; the file has their identity scores."""
        person = Identity("x", self.coefficients, studio.basis.id)
        cosines = _cosines("<x>", {"x": person}, self.reference, studio, self.steps)
        content: bytes = save({"cosines": cosines})
        return content


def _cosines(
    name: str, people: Mapping[str, Identity], reference: Tensor, studio: Studio, steps: int | None
) -> Tensor:
    """Cosine (images,) of the face in an image of each template; 0 where there is none."""
    prompts = [parse_prompt(text.format(name), people) for text in TEMPLATES]
    config = SampleConfig(seed=SEEDS[1], steps=steps)
    images = generate_each(prompts, studio.models, studio.basis, config)
    faces = [studio.faces.find(image) for image in images]
    return torch.tensor([float(largest_face(f).embedding @ reference) if f else 0.0 for f in faces])
