"""Coefficients for a new face without training, by three linear regressions.

A celebrity's own coefficients are no linear function of the face: names are arbitrary. But what
the text encoder makes of words, it makes almost linearly of their coefficients, and faces follow
from that (docs/toonville.md). So the way from a face f to coefficients c leads over z, the part of
the text states that can be seen in faces:

1. of people whom the model drew (see `celeb_core.calibration`): text states from faces, by ridge
   regression; z are the first principal components of what is predicted, so that nothing that no
   face shows comes along
2. of many more mixtures, which need no pictures: z from coefficients, z = A c + a + noise
3. with c ~ N(0, 1), as whitened coefficients are, the mean of c given z is the answer:
   c = A' (A A' + N)^-1 (z - a), N the covariance of the noise (linear-Gaussian inversion)

All three make one linear map of low rank: a new person takes milliseconds. A mean of what may be
is nearer to the average person than anybody is, so the answer is stretched a little.

The other way round, from text states to faces, come the directions of a training: the first
principal components of what words say of faces, one standard deviation each, and to every one of
them the coefficients by step 3.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from celeb_core.basis import compose
from celeb_core.errors import BasisMismatch, FeatureMissing
from celeb_core.mapper import low_rank
from celeb_core.prompt import Tokens, encode_tokens, tokenize
from celeb_core.types import Calibration, CelebBasis

if TYPE_CHECKING:
    from celeb_core.encoders import TextEncoder
    from celeb_core.models import Models

PROMPT = "a photo of <x>"
RANK = 96  # most components of z
DIRECTIONS = 32  # by experiment, docs/toonville.md
STRETCH = 1.15  # by experiment, docs/toonville.md
FEWEST = 8  # people with a face, below which nothing can be learned
TEXTS = 6000  # mixtures of step 2
LAMBDAS = tuple(10 ** (exponent / 2) for exponent in range(-4, 9))  # 0.01 to 10,000
AT_ONCE = 64  # prompts encoded in one go


def start_coefficients(faces: Tensor, calibration: Calibration, basis: CelebBasis) -> Tensor:
    """Face embeddings (n, 512) of unit norm -> coefficients (n, k, p), where the faces are.

    Raises BasisMismatch if the calibration is of another basis.
    """
    check_basis(calibration, basis)
    down, up, bias = (
        part.to(faces) for part in (calibration.down, calibration.up, calibration.bias)
    )
    coefficients: Tensor = low_rank(faces, down, up, bias).unflatten(1, (basis.k, basis.p))
    return coefficients


def check_basis(calibration: Calibration, basis: CelebBasis) -> None:
    """Raise BasisMismatch if the calibration is of another basis."""
    if calibration.basis_id != basis.id:
        raise BasisMismatch("calibration", basis.id, calibration.basis_id, calibration.base_model)


def fit_start(
    faces: Tensor,
    coefficients: Tensor,
    basis: CelebBasis,
    models: Models,
    celebrities: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """People whom the model drew: face embeddings (n, 512), coefficients (n, k, p) ->
    down (r, 512), up (k * p, r), bias (k * p,), directions (k * p, q) of `Calibration`, on the
    CPU.

    The directions are found from the first `celebrities` people alone, or from all of them.
    Deterministic; the slow part is to encode TEXTS prompts. Raises FeatureMissing below FEWEST
    people.
    """
    if len(faces) < FEWEST:
        raise FeatureMissing(
            f"The model drew {len(faces)} people with a face only; {FEWEST} are needed. "
            "Run “python -m celeb_core calibrate” with more names."
        )
    states = text_states(compose(basis, coefficients), models)
    weight, bias, _ = ridge(faces, states)
    middle = weight @ faces.mean(0) + bias
    seen = _directions(weight, faces)  # (r, columns * width)

    more = _mixtures(coefficients, TEXTS)
    both = torch.cat([states, text_states(compose(basis, more), models)])
    z = (both - middle) @ seen.T
    known = torch.cat([coefficients, more]).flatten(1)
    inverse, offset = _inverse(known, z)
    up = STRETCH * inverse  # (k * p, r)
    said = both @ _said_of_faces(states[:celebrities], faces[:celebrities]).T
    directions, _ = _inverse(known, said)
    return seen @ weight, up, up @ (seen @ (bias - middle) - offset), directions


def _inverse(known: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Linear-Gaussian inversion, step 3: coefficients (m, k * p) and z (m, r) of the same people
    -> the map (k * p, r) from z - a, and a (r,)."""
    forward, offset, _ = ridge(known, z)
    errors = z - known @ forward.T - offset
    spread = forward @ forward.T + errors.T @ errors / len(errors)
    return torch.linalg.solve(spread, forward).T, offset


def _said_of_faces(states: Tensor, faces: Tensor) -> Tensor:
    """From text states (n, t), the first principal components (q, t) of what they say of faces
    (n, f), in standard deviations."""
    weight, _, _ = ridge(states, faces)
    said = (states - states.mean(0)) @ weight.T
    _, lengths, axes = torch.linalg.svd(said, full_matrices=False)
    count = min(DIRECTIONS, len(faces) - 1)
    deviations = lengths[:count] / len(faces) ** 0.5
    scaled: Tensor = axes[:count] / deviations.clamp_min(1e-6)[:, None]
    return scaled @ weight


def _directions(weight: Tensor, faces: Tensor) -> Tensor:
    """The first principal axes (r, t) of what weight (t, f) predicts from faces (n, f)."""
    axes, rest = torch.linalg.qr(weight)
    _, _, turn = torch.linalg.svd((faces - faces.mean(0)) @ rest.T, full_matrices=False)
    directions: Tensor = turn[: min(RANK, len(faces) - 1)] @ axes.T
    return directions


def _mixtures(coefficients: Tensor, count: int) -> Tensor:
    """`count` mixtures of two of some people (n, k, p), by chance but always the same."""
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(len(coefficients), (2, count), generator=generator)
    lam = torch.rand(count, 1, 1, generator=generator)
    return lam * coefficients[pairs[0]] + (1 - lam) * coefficients[pairs[1]]


@torch.no_grad()
def text_states(words: Tensor, models: Models) -> Tensor:
    """Words (n, k, d) -> what PROMPT says from the first word to the first padding, float32 on
    the CPU (n, columns * d), the columns of each encoder one after the other."""
    said = []
    for encoder in models.encoders:
        tokens = _short_prompt(words.shape[1], encoder)
        parts = []
        for group in words.split(AT_ONCE):
            people = [{"x": person} for person in group]
            states = encode_tokens([tokens] * len(group), people, encoder).states
            parts.append(states[:, tokens.slots[0][1] :].flatten(1).float().cpu())
        said.append(torch.cat(parts))
    return torch.cat(said, 1)


def _short_prompt(k: int, encoder: TextEncoder) -> Tokens:
    """PROMPT up to its first padding: the encoder is causal, so the rest would change nothing."""
    tokens = tokenize(PROMPT, encoder.tokenizer, k)
    end = tokens.ids.index(encoder.tokenizer.eos_token_id)
    return replace(tokens, ids=tokens.ids[: end + 2])


def ridge(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, float]:
    """Ridge regression with an unpenalised intercept.

    inputs (n, f), targets (n, t) -> weight (t, f), bias (t,), lambda. The lambda of `LAMBDAS`
    with the least leave-one-out error, (y - ŷ) / (1 - h) per row, is taken: one SVD for all.
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
