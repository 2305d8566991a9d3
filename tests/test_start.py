from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from celeb_core import encode_prompt, parse_prompt, start_coefficients
from celeb_core.basis import compose
from celeb_core.errors import FeatureMissing
from celeb_core.start import _short_prompt, ridge, text_states


@pytest.fixture(scope="module")
def linear(basis, models, calibration):
    """A calibration whose faces are a linear function of what the encoder makes of the names."""
    states = [said(f"a photo of {name}", {}, basis, models) for name in models.names]
    seen = torch.stack(states).flatten(1)
    mixing = torch.randn(seen.shape[1], 512, generator=torch.Generator().manual_seed(2))
    faces = torch.nn.functional.normalize((seen - seen.mean(0)) @ mixing, dim=1)
    return replace(calibration, face_embeddings=faces)


def said(text, people, basis, models):
    return encode_prompt(parse_prompt(text, people), basis, models).states


def test_ridge_is_the_textbook_solution():
    x, y = torch.randn(30, 6).double(), torch.randn(30, 3).double()
    weight, bias, lam = ridge(x, y)
    xc, yc = x - x.mean(0), y - y.mean(0)
    expected = torch.linalg.solve(xc.T @ xc + lam * torch.eye(6).double(), xc.T @ yc).T
    assert torch.allclose(weight, expected, atol=1e-10)
    assert torch.allclose(x.mean(0) @ weight.T + bias, y.mean(0))


def test_lambda_is_the_one_of_least_left_out_error():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, 10, generator=generator).double()
    truth = torch.randn(10, 2, generator=generator).double()
    y = x @ truth + 3 * torch.randn(24, 2, generator=generator).double()
    _, _, lam = ridge(x, y)

    def left_out(value: float) -> float:
        error = 0.0
        for i in range(24):
            keep = torch.arange(24) != i
            xm, ym = x[keep].mean(0), y[keep].mean(0)
            xc, yc = x[keep] - xm, y[keep] - ym
            w = torch.linalg.solve(xc.T @ xc + value * torch.eye(10).double(), xc.T @ yc)
            error += float(((x[i] - xm) @ w + ym - y[i]).square().sum())
        return error

    assert left_out(lam) < left_out(lam / 5) and left_out(lam) < left_out(lam * 5)


def test_short_prompts_give_the_states_of_padded_ones(basis, models):
    (encoder,) = models.encoders
    tokens = _short_prompt(basis.k, encoder)
    word = compose(basis, torch.ones(1, basis.k, basis.p))
    full = said("a photo of <x>", {"x": word[0]}, basis, models)[0, tokens.slots[0][1] :]
    short = text_states(tokens, word, encoder)[0].unflatten(0, (-1, full.shape[1]))
    assert torch.allclose(short[:-1], full[: len(short) - 1], atol=1e-5)


def test_words_say_what_the_faces_name_would_say(linear, basis, models):
    coefficients = start_coefficients(linear.face_embeddings[:6], linear, basis, models)
    assert coefficients.shape == (6, basis.k, basis.p)
    names = torch.stack([said(f"a photo of {n}", {}, basis, models) for n in models.names[:6]])
    words = compose(basis, coefficients)
    new = torch.stack([said("a photo of <x>", {"x": w}, basis, models) for w in words])
    distance = torch.cdist(new.flatten(1), names.flatten(1))
    assert (distance.argmin(1) == torch.arange(6)).float().mean() >= 0.8


def test_each_person_for_itself_and_always_the_same(linear, basis, models):
    faces = linear.face_embeddings[:3]
    together = start_coefficients(faces, linear, basis, models)
    alone = start_coefficients(faces[1:2], linear, basis, models)
    assert torch.allclose(together[1], alone[0], atol=1e-3)


def test_encoder_stays_as_it_was(linear, basis, models):
    before = [p.clone() for p in models.text_encoder.parameters()]
    start_coefficients(linear.face_embeddings[:1], linear, basis, models)
    after = list(models.text_encoder.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is None for p in after)


def test_celebrities_without_a_face_are_left_out(linear, basis, models):
    faces = linear.face_embeddings.clone()
    faces[9:] = 0
    few = replace(linear, face_embeddings=faces)
    assert start_coefficients(faces[:1], few, basis, models).isfinite().all()
    faces[5:] = 0
    fewer = replace(linear, face_embeddings=faces.clone())
    with pytest.raises(FeatureMissing, match="calibrate"):
        start_coefficients(faces[:1], fewer, basis, models)
