"""The closed-form initialisation: coefficients for a new face without training.

It is made once per model, recogniser and basis, from images that the model generates. Coefficients
are no linear function of the face, because names are arbitrary. But hidden states are nearly
linear in the coefficients, and faces in the hidden states. So the map from a face embedding f to
coefficients c goes over z, the part of the hidden states that shows in faces, by ridge regressions:

1. Hidden states from f, of the generated people; z are the first principal components of the
   prediction.
2. z from c, of these people and of mixtures of two of them: z = A c + a + noise, N the covariance
   of the noise. Whitened coefficients have the prior c ~ N(0, I), so their posterior mean is
   E[c | z] = A' (A A' + N)^-1 (z - a) (linear-Gaussian inversion). With 1, this is one linear map
   of low rank.
3. f from hidden states. The first principal components of the prediction, one standard deviation
   each, are inverted as z is: the directions along which training moves coefficients.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from celeb_core.basis import compose, person_embeddings, project
from celeb_core.errors import FeatureMissing
from celeb_core.faces import FaceModel, largest_face
from celeb_core.files import read_tensors
from celeb_core.formats.calibration_file import zero_correction
from celeb_core.many.workers import Here, Makers
from celeb_core.models import Models
from celeb_core.prompt import PORTRAIT, parse_prompt
from celeb_core.sampling import generate_each
from celeb_core.studio import Studio
from celeb_core.text_encoder import encode_tokens, tokenize
from celeb_core.types import Calibration, CelebBasis, Framing, SampleConfig

TEXT_MIXTURES = 6000  # of two people each, for regression 2
MIN_FACES = 8
RANK, DIRECTIONS = 96, 32  # components of z, directions of training; at most
LAMBDAS = tuple(10 ** (exponent / 2) for exponent in range(-4, 9))  # 0.01 to 10,000
IMAGE_BATCH, PROMPT_BATCH = 8, 64
FORMAT = "celeb-faces 1"


@dataclass(frozen=True)
class PortraitPlan:
    """Whose portraits are generated, and how. Equal plans on one model give equal portraits."""

    names: tuple[str, ...]
    steps: int | None = None  # of sampling; a few are enough
    seed: int = 0  # portrait i is generated from seed + i


@dataclass(frozen=True, eq=False)
class GeneratedFaces:
    """n celebrities as the model generates them."""

    names: tuple[str, ...]  # (n,)
    coefficients: Tensor  # (n, k, p) float32
    face_embeddings: Tensor  # (n, 512) float32, unit norm; zeros where no face was found
    framings: Tensor  # (n, 3) float32, the numbers of `Framing`; zeros where no face was found

    @property
    def found(self) -> Tensor:
        """(n,) bool: whether a face was found."""
        return self.face_embeddings.any(dim=1)


@dataclass(frozen=True)
class PortraitTask:
    """A batch of portraits."""

    plan: PortraitPlan  # of these names, from this seed on

    def make(self, studio: Studio) -> bytes:
        """Generate the portraits; the file has the faces' embeddings."""
        plan = self.plan
        prompts = [parse_prompt(PORTRAIT.format(name), {}) for name in plan.names]
        config = SampleConfig(seed=plan.seed, steps=plan.steps, batch_size=IMAGE_BATCH)
        images = generate_each(prompts, studio.models, studio.basis, config)
        embedded = [embed_largest_face(image, studio.faces) for image in images]
        embeddings, framings = (torch.stack(column) for column in zip(*embedded, strict=True))
        tensors = {"face_embeddings": embeddings.half(), "framings": framings}
        content: bytes = save(tensors, metadata={"format": FORMAT})
        return content


def generate_people(
    plan: PortraitPlan, studio: Studio, folder: Path, makers: Makers | None = None
) -> Iterator[int]:
    """Generate a portrait of each celebrity of a plan, and store the faces' embeddings.

    The folder keeps what is done. `makers` generate, this process by default.

    Yields:
        How many batches of IMAGE_BATCH are there, at first and after each one.
    """
    tasks = [
        PortraitTask(PortraitPlan(plan.names[i : i + IMAGE_BATCH], plan.steps, plan.seed + i))
        for i in range(0, len(plan.names), IMAGE_BATCH)
    ]
    return (makers or Here(studio)).make(_paths(plan, studio, folder), tasks)


def load_people(plan: PortraitPlan, studio: Studio, folder: Path) -> GeneratedFaces:
    """Load what `generate_people` stored.

    Raises:
        FeatureMissing: Not all of it is there yet.
    """
    batches = [read_tensors(path, FORMAT) for path in _paths(plan, studio, folder)]
    stored = [batch[0] for batch in batches if batch is not None]
    if len(stored) < len(batches):
        raise FeatureMissing(
            f"{len(stored)} of {len(batches)} batches of portraits are in {folder}. "
            "Prepare the model again to generate the rest.",
            option="celeb-basis prepare",
        )
    embeddings = [person_embeddings(name, studio.basis, studio.models) for name in plan.names]
    coefficients = torch.stack([project(studio.basis, person) for person in embeddings])
    faces, framings = (
        torch.cat([batch[name] for batch in stored]).float()
        for name in ("face_embeddings", "framings")
    )
    return GeneratedFaces(plan.names, coefficients, faces, framings)


def fit_calibration(
    faces: GeneratedFaces, studio: Studio, held_out: Sequence[str] = ()
) -> Calibration:
    """Fit a calibration in closed form, without the `held_out` celebrities.

    Raises:
        FeatureMissing: Fewer than MIN_FACES people have a face.
    """
    basis, used = studio.basis, faces.found.clone()
    used[[faces.names.index(name) for name in held_out]] = False
    down, up, bias, directions = fit_initialisation(
        faces.face_embeddings[used], faces.coefficients[used], basis, studio.models
    )
    known, correction = faces.face_embeddings, zero_correction(directions)
    labels = (basis.id, studio.models.id, studio.faces.id)
    framing = Framing(*faces.framings[used].median(0).values.tolist())
    return Calibration(faces.names, known, down, up, bias, directions, correction, *labels, framing)


def stretched(calibration: Calibration, factor: float) -> Calibration:
    """Return a calibration whose initial coefficients are larger by a factor."""
    return replace(calibration, up=calibration.up * factor, bias=calibration.bias * factor)


def fit_initialisation(
    faces: Tensor, coefficients: Tensor, basis: CelebBasis, models: Models
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fit the map from faces to coefficients, and the directions of training. Deterministic.

    `faces` (n, 512) are the embeddings of generated people, `coefficients` (n, k, p) their own.
    Encoding TEXT_MIXTURES takes longest.

    Returns:
        The CPU tensors down, up, bias and directions of `Calibration`.

    Raises:
        FeatureMissing: There are fewer than MIN_FACES people.
    """
    if len(faces) < MIN_FACES:
        raise FeatureMissing(
            f"A face was found in only {len(faces)} of the model's images; {MIN_FACES} are needed. "
            "Prepare at the level “full”, or with names that the model knows.",
            option="--names FILE",
        )
    states = encode_people(compose(basis, coefficients), models)
    # Regression 1, and the principal axes (r, t) of what it predicts.
    weight, bias, _ = ridge(faces, states)
    middle = weight @ faces.mean(0) + bias
    columns, rest = torch.linalg.qr(weight)
    _, _, rotation = torch.linalg.svd((faces - faces.mean(0)) @ rest.T, full_matrices=False)
    axes = rotation[: min(RANK, len(faces) - 1)] @ columns.T
    # Regression 2.
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(len(coefficients), (2, TEXT_MIXTURES), generator=generator)
    lam = torch.rand(TEXT_MIXTURES, 1, 1, generator=generator)
    mixtures = lam * coefficients[pairs[0]] + (1 - lam) * coefficients[pairs[1]]
    known = torch.cat([coefficients, mixtures]).flatten(1)
    both = torch.cat([states, encode_people(compose(basis, mixtures), models)])
    inverse, offset = _invert(known, (both - middle) @ axes.T)
    # Regression 3, and the components (q, t) of its prediction, scaled to variance 1.
    back, _, _ = ridge(states, faces)
    _, s, vh = torch.linalg.svd((states - states.mean(0)) @ back.T, full_matrices=False)
    scaled = vh / (s / len(faces) ** 0.5).clamp_min(1e-6)[:, None]
    components = scaled[: min(DIRECTIONS, len(faces) - 1)] @ back
    directions, _ = _invert(known, both @ components.T)
    return axes @ weight, inverse, inverse @ (axes @ (bias - middle) - offset), directions


@torch.no_grad()
def encode_people(embeddings: Tensor, models: Models) -> Tensor:
    """Encode “a photo of <x>” for token embeddings (n, k, d).

    Returns:
        (n, positions * d) float32 on the CPU: hidden states from <x> to the first padding, the
        columns of each text encoder one after the other.
    """
    states = []
    for encoder in models.encoders:
        tokens = tokenize(PORTRAIT.format("<x>"), encoder, embeddings.shape[1])
        # The encoder is causal: more padding would change nothing.
        end = tokens.ids.index(encoder.tokenizer.eos_token_id)
        tokens = replace(tokens, ids=tokens.ids[: end + 2])
        parts = []
        for batch in embeddings.split(PROMPT_BATCH):
            encoded = encode_tokens([tokens] * len(batch), [{"x": one} for one in batch], encoder)
            from_x = encoded.hidden_states[:, tokens.slots[0][1] :]
            parts.append(from_x.flatten(1).float().cpu())
        states.append(torch.cat(parts))
    return torch.cat(states, 1)


def ridge(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, float]:
    """Fit a ridge regression of targets (n, t) on inputs (n, f); the intercept is not penalised.

    Returns:
        weight (t, f), bias (t,), and the lambda of LAMBDAS with the least leave-one-out error,
        (y - ŷ) / (1 - h) per row.
    """
    x_mean, y_mean = inputs.mean(0), targets.mean(0)
    u, s, vh = torch.linalg.svd(inputs - x_mean, full_matrices=False)
    centred = targets - y_mean
    along = u.T @ centred
    errors = []
    for lam in LAMBDAS:
        shrink = s**2 / (s**2 + lam)
        leverage = (u**2 * shrink).sum(1) + 1 / len(inputs)
        residual = centred - u @ (shrink[:, None] * along)
        errors.append((residual / (1 - leverage).clamp_min(1e-6)[:, None]).square().mean())
    lam = LAMBDAS[int(torch.stack(errors).argmin())]
    weight = (vh.T @ ((s / (s**2 + lam))[:, None] * along)).T
    return weight, y_mean - weight @ x_mean, lam


def _paths(plan: PortraitPlan, studio: Studio, folder: Path) -> list[Path]:
    """Return the file of each batch of portraits, named by all that decides them."""
    made_by = [vars(plan), studio.basis.id, studio.models.id, studio.faces.id]
    digest = hashlib.sha256(json.dumps(made_by).encode())
    digest.update(studio.models.unet.conv_out.weight.float().cpu().numpy().tobytes())
    stem = digest.hexdigest()[:16]
    batches = range(math.ceil(len(plan.names) / IMAGE_BATCH))
    return [folder / f"faces-{stem}-{batch:04}.safetensors" for batch in batches]


def embed_largest_face(image: Image.Image, faces: FaceModel) -> tuple[Tensor, Tensor]:
    """Face embedding (512,) and `Framing` (3,) of the largest face of a square image, or zeros."""
    if not (found := faces.find(image)):
        return torch.zeros(512), torch.zeros(3)
    face, side = largest_face(found), image.height
    left, top, right, bottom = face.box
    framing = side / max(right - left, bottom - top), (left + right) / 2 / side
    return face.embedding, torch.tensor([*framing, (top + bottom) / 2 / side])


def _invert(known: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Regression 2: coefficients (m, k * p), z (m, r) -> the map (k * p, r) of z - a, and a."""
    forward, offset, _ = ridge(known, z)
    errors = z - known @ forward.T - offset
    covariance = forward @ forward.T + errors.T @ errors / len(errors)
    return (torch.linalg.pinv(covariance, hermitian=True) @ forward).T, offset
