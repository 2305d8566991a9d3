"""Coefficients for a new face without training: say what the text encoder would say of a name.

A celebrity's own coefficients are no linear function of the face where an encoder was trained by
contrast: names are arbitrary. What the encoder makes of a name is one (docs/toonville.md). So
ridge regression, in closed form, goes from the celebrities' faces to the text states of their
names; for a new face it says which states the person's name would have, and the coefficients are
those whose words give these states. Only the text encoder is used, never the UNet.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from celeb_core.basis import compose, words_of
from celeb_core.errors import FeatureMissing
from celeb_core.prompt import Tokens, encode_tokens, tokenize
from celeb_core.types import Calibration, CelebBasis

if TYPE_CHECKING:
    from celeb_core.encoders import TextEncoder
    from celeb_core.models import Models

PROMPT = "a photo of <x>"
STEPS = 60
LEARNING_RATE = 0.1
PRIOR = 1e-4  # weight of the squared norm of the coefficients
FEWEST = 8  # celebrities with a face, below which nothing can be learned
LAMBDAS = tuple(10 ** (exponent / 2) for exponent in range(-4, 9))  # 0.01 to 10,000
AT_ONCE = 64  # prompts encoded in one go


@dataclass(frozen=True, eq=False)
class NameStates:
    """What an encoder would say of the name of somebody with a certain face."""

    tokens: Tokens  # the prompt of the name
    weight: Tensor  # (columns * width, 512): face -> `text_states`
    bias: Tensor  # (columns * width,)
    variance: Tensor  # () of the celebrities' states, mean over columns and dimensions


_known: weakref.WeakKeyDictionary[Calibration, tuple[str, list[NameStates]]]
_known = weakref.WeakKeyDictionary()


def start_coefficients(
    faces: Tensor, calibration: Calibration, basis: CelebBasis, models: Models
) -> Tensor:
    """Face embeddings (n, 512) of unit norm -> coefficients (n, k, p), on the model's device.

    Adam from the mean person, each person for itself. Deterministic. The first call for a
    calibration encodes the celebrities' names (seconds); later ones find them done.
    Raises FeatureMissing if fewer than FEWEST celebrities of the calibration have a face.
    """
    known = name_states(calibration, basis, models)
    faces = faces.to(models.device).float()
    wanted = [faces @ names.weight.T + names.bias for names in known]
    size = (len(faces), basis.k, basis.p)
    coefficients = torch.zeros(size, device=models.device, requires_grad=True)
    optimizer = torch.optim.Adam([coefficients], lr=LEARNING_RATE)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - 0.9 * step / STEPS)
        with torch.enable_grad():
            words = compose(basis, coefficients)
            loss = PRIOR * coefficients.square().sum()
            for encoder, names, states in zip(models.encoders, known, wanted, strict=True):
                said = text_states(names.tokens, words, encoder)
                errors = (said - states).square().mean(1) / names.variance
                loss = errors.sum() + loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
        optimizer.step()
    return coefficients.detach()


def name_states(calibration: Calibration, basis: CelebBasis, models: Models) -> list[NameStates]:
    """Ridge regression from the celebrities' faces to each encoder's states of their names."""
    basis_id, known = _known.get(calibration, ("", []))
    if known and basis_id == basis.id:
        return known
    seen = calibration.face_embeddings.norm(dim=1) > 0.5
    names = [name for name, ok in zip(calibration.names, seen.tolist(), strict=True) if ok]
    if len(names) < FEWEST:
        raise FeatureMissing(
            f"The calibration has faces of {len(names)} celebrities only; {FEWEST} are needed. "
            "Run “python -m celeb_core calibrate” again."
        )
    faces = calibration.face_embeddings[seen].to(models.device)
    words = torch.stack([words_of(name, basis, models) for name in names]).to(models.device)
    known = []
    for encoder in models.encoders:
        tokens = _short_prompt(basis.k, encoder)
        with torch.no_grad():
            parts = [text_states(tokens, part, encoder) for part in words.split(AT_ONCE)]
            states = torch.cat(parts)
            weight, bias, _ = ridge(faces, states)
        variance = (states - states.mean(0)).square().mean()
        known.append(NameStates(tokens, weight, bias, variance))
    _known[calibration] = basis.id, known
    return known


def text_states(tokens: Tokens, words: Tensor, encoder: TextEncoder) -> Tensor:
    """Words (n, k, d) -> an encoder's states from the first word on (n, columns * width).

    With gradients.
    """
    people = [{"x": person} for person in words]
    states = encode_tokens([tokens] * len(words), people, encoder).states
    return states[:, tokens.slots[0][1] :].flatten(1).float()


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
