"""The closed-form initialisation: coefficients for a new face without training.

It is made once per model, recogniser and basis, from images that the model generates. Coefficients
are no linear function of the face, because names are arbitrary. But hidden states are nearly
linear in the coefficients, and faces in the hidden states. So the map from a face embedding f to
coefficients c goes over z, the part of the hidden states that shows in faces, by ridge regressions:

1. Hidden states from f, of the generated people; z are the first principal components of the
   prediction.
2. z from c, of these people and of mixtures without images: z = A c + a + noise, N the covariance
   of the noise. Whitened coefficients have the prior c ~ N(0, I), so their posterior mean is
   E[c | z] = A' (A A' + N)^-1 (z - a) (linear-Gaussian inversion). It is nearer to the average
   person than a real one is, so it is stretched. With 1, this is one linear map of low rank.
3. f from hidden states. The first principal components of the prediction, one standard deviation
   each, are inverted as z is: the directions along which training moves coefficients.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from celeb_core.basis import compose, person_embeddings, project
from celeb_core.errors import FeatureMissing
from celeb_core.faces import FaceModel, largest_face
from celeb_core.files import read_tensors, write_atomically
from celeb_core.mapper import check_basis, zero_correction
from celeb_core.models import Models
from celeb_core.prompt import PORTRAIT, parse_prompt
from celeb_core.sampling import generate_each
from celeb_core.studio import Studio
from celeb_core.text_encoder import encode_tokens, tokenize
from celeb_core.types import Calibration, CelebBasis, Framing, SampleConfig

MIXTURES = 2500  # with images
TEXT_MIXTURES = 6000  # without images, for regression 2
MIN_FACES = 8
RANK, DIRECTIONS = 96, 32  # components of z, directions of training; at most
STRETCH = 1.15
LAMBDAS = tuple(10 ** (exponent / 2) for exponent in range(-4, 9))  # 0.01 to 10,000
IMAGE_BATCH, PROMPT_BATCH = 8, 64
FORMAT = "celeb-sightings 1"


@dataclass(frozen=True, eq=False)
class GeneratedFaces:
    """n people of known coefficients as the model generates them: celebrities, then mixtures."""

    names: tuple[str, ...]  # the celebrities
    coefficients: Tensor  # (n, k, p) float32
    face_embeddings: Tensor  # (n, 512) float32, unit norm; zeros where no face was found
    framings: Tensor  # (n, 3) float32, the numbers of `Framing`; zeros where no face was found
    planned: int  # rows of the finished run
    run: str  # names, seed, steps, basis, model, recogniser: what a run must share to go on

    @property
    def found(self) -> Tensor:
        """(n,) bool: whether a face was found."""
        return self.face_embeddings.any(dim=1)


def generate_people(
    studio: Studio,
    mixtures: int = MIXTURES,
    seed: int = 0,
    steps: int | None = None,
    so_far: GeneratedFaces | None = None,
) -> Iterator[GeneratedFaces]:
    """Generate an image of each celebrity and of random mixtures of two, and embed the faces.

    A mixture is lam * a + (1 - lam) * b of their token embeddings, lam uniform in 0 to 1. Every
    image has a seed of its own. A few `steps` of sampling are enough. `so_far` are the rows of a
    run that was stopped; those of another run are ignored. Yields all rows, after every batch.
    """
    models, basis, names = studio.models, studio.basis, studio.basis.names
    run = json.dumps([names, seed, steps, basis.id, models.id, studio.faces.id], ensure_ascii=False)
    coefficients = _coefficients(studio, mixtures, seed)
    prompts = [parse_prompt(PORTRAIT.format(name), {}) for name in names]
    for mixture in coefficients[len(names) :]:
        prompts.append(parse_prompt(PORTRAIT.format("<x>"), {"x": compose(basis, mixture)}))
    planned = len(prompts)
    rows: list[tuple[Tensor, Tensor]] = []
    if so_far is not None and so_far.run == run:
        rows += zip(so_far.face_embeddings[:planned], so_far.framings[:planned], strict=True)
    while (first := len(rows)) < planned:
        config = SampleConfig(seed=seed + first, steps=steps, batch_size=IMAGE_BATCH)
        images = generate_each(prompts[first : first + IMAGE_BATCH], models, basis, config)
        rows += [embed_largest_face(image, studio.faces) for image in images]
        embeddings, framings = (torch.stack(column) for column in zip(*rows, strict=True))
        yield GeneratedFaces(names, coefficients[: len(rows)], embeddings, framings, planned, run)


def fit_calibration(
    faces: GeneratedFaces, studio: Studio, initial: Calibration | None = None
) -> Calibration:
    """Fit a calibration in closed form; of an `initial` one the map to coefficients is taken over.

    Raises:
        FeatureMissing: Fewer than MIN_FACES people have a face.
        BasisMismatch: `initial` is of another basis.
    """
    found, count, basis = faces.found, len(faces.names), studio.basis
    # Directions from celebrities alone: mixtures blur what tells people apart.
    celebrities = max(MIN_FACES, int(found[:count].sum()))
    down, up, bias, directions = fit_initialisation(
        faces.face_embeddings[found], faces.coefficients[found], basis, studio.models, celebrities
    )
    if initial is not None:
        check_basis(initial, basis)
        down, up, bias = initial.down, initial.up, initial.bias
    known, correction = faces.face_embeddings[:count].clone(), zero_correction(directions)
    labels = (basis.id, studio.models.id, studio.faces.id)
    framing = Framing(*faces.framings[found].median(0).values.tolist())
    return Calibration(faces.names, known, down, up, bias, directions, correction, *labels, framing)


def save_generated_faces(faces: GeneratedFaces, path: Path) -> None:
    """Store rows, atomically, for a run that goes on later."""
    tensors = {"coefficients": faces.coefficients.half(), "framings": faces.framings}
    tensors["face_embeddings"] = faces.face_embeddings.half()
    names, planned = json.dumps(faces.names), str(faces.planned)
    metadata = {"format": FORMAT, "names": names, "planned": planned, "made_of": faces.run}
    write_atomically(path, save(tensors, metadata=metadata))


def load_generated_faces(path: Path) -> GeneratedFaces | None:
    """Load what `save_generated_faces` wrote; None if there is nothing that can be read."""
    if (content := read_tensors(path, FORMAT)) is None:
        return None
    tensors, about = {name: tensor.float() for name, tensor in content[0].items()}, content[1]
    names, planned = tuple(json.loads(about["names"])), int(about["planned"])
    return GeneratedFaces(names, **tensors, planned=planned, run=about["made_of"])


def fit_initialisation(
    faces: Tensor, coefficients: Tensor, basis: CelebBasis, models: Models, first: int | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fit the map from faces to coefficients, and the directions of training. Deterministic.

    `faces` (n, 512) are the embeddings of generated people, `coefficients` (n, k, p) their own. The
    directions are found from the `first` people only. Encoding TEXT_MIXTURES takes longest.

    Returns:
        The CPU tensors down, up, bias and directions of `Calibration`.

    Raises:
        FeatureMissing: There are fewer than MIN_FACES people.
    """
    if len(faces) < MIN_FACES:
        raise FeatureMissing(
            f"A face was found in only {len(faces)} of the model's images; {MIN_FACES} are needed. "
            "Run “celeb-basis calibrate” with more names."
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
    up = STRETCH * inverse
    # Regression 3, and the components (q, t) of its prediction, scaled to variance 1.
    states, faces = states[:first], faces[:first]
    back, _, _ = ridge(states, faces)
    _, s, vh = torch.linalg.svd((states - states.mean(0)) @ back.T, full_matrices=False)
    scaled = vh / (s / len(faces) ** 0.5).clamp_min(1e-6)[:, None]
    components = scaled[: min(DIRECTIONS, len(faces) - 1)] @ back
    directions, _ = _invert(known, both @ components.T)
    return axes @ weight, up, up @ (axes @ (bias - middle) - offset), directions


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


def _coefficients(studio: Studio, mixtures: int, seed: int) -> Tensor:
    """Coefficients (n, k, p) of the celebrities and mixtures; a mixture follows from its row."""
    basis, count = studio.basis, len(studio.basis.names)
    embeddings = [person_embeddings(name, basis, studio.models) for name in basis.names]
    for row in range(count, count + mixtures):
        rng = np.random.default_rng((seed, row))
        a, b = rng.choice(count, 2, replace=count < 2)
        lam = float(rng.random())
        embeddings.append(lam * embeddings[a] + (1 - lam) * embeddings[b])
    return torch.stack([project(basis, person) for person in embeddings])


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
    return torch.linalg.solve(covariance, forward).T, offset
