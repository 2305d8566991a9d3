from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from celeb_core import encode_prompt, parse_prompt, start_coefficients
from celeb_core.basis import compose
from celeb_core.errors import BasisMismatch, FeatureMissing
from celeb_core.start import DIRECTIONS, _directions, fit_start, ridge, text_states


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


def test_directions_are_the_axes_of_what_is_predicted():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(40, 6, generator=generator).double()
    faces = torch.randn(30, 6, generator=generator).double()
    axes = _directions(weight, faces)
    predicted = faces @ weight.T
    _, _, expected = torch.linalg.svd(predicted - predicted.mean(0), full_matrices=False)
    assert torch.allclose(
        (axes @ expected[: len(axes)].T).abs()[:6], torch.eye(6).double()[:6], atol=1e-8
    )


def test_short_prompts_give_the_states_of_padded_ones(basis, models):
    word = compose(basis, torch.ones(1, basis.k, basis.p))
    prompt = parse_prompt("a photo of <x>", {"x": word[0]})
    full = encode_prompt(prompt, basis, models).states[0]
    short = text_states(word, models)[0].unflatten(0, (-1, full.shape[1]))
    first = next(i for i in range(len(full)) if torch.allclose(full[i], short[0], atol=1e-5))
    assert torch.allclose(short[:-1], full[first : first + len(short) - 1], atol=1e-5)


@pytest.fixture(scope="module")
def drawn(basis, models):
    """People whose faces are a linear function of what the encoder makes of their words."""
    generator = torch.Generator().manual_seed(2)
    coefficients = torch.randn(160, basis.k, basis.p, generator=generator)
    states = text_states(compose(basis, coefficients), models)
    mixing = torch.randn(states.shape[1], 512, generator=generator)
    return torch.nn.functional.normalize((states - states.mean(0)) @ mixing, dim=1), coefficients


@pytest.fixture(scope="module")
def fitted(drawn, basis, models, calibration):
    faces, coefficients = drawn
    down, up, bias, directions = fit_start(faces[:120], coefficients[:120], basis, models)
    return replace(calibration, down=down, up=up, bias=bias, directions=directions)


def test_new_people_say_what_such_a_face_says(drawn, fitted, basis, models):
    faces, truth = (part[120:] for part in drawn)
    found = start_coefficients(faces, fitted, basis)
    assert found.shape == truth.shape
    said, wanted = (text_states(compose(basis, c), models) for c in (found, truth))
    nearest = torch.cdist(said, wanted).argmin(1)
    assert (nearest == torch.arange(len(faces))).float().mean() >= 0.8


def test_directions_change_what_is_said_of_faces_most(drawn, fitted, basis, models):
    """More than as large a step of random coefficients does; the first ones, much more."""
    faces, coefficients = drawn
    states = text_states(compose(basis, coefficients), models)
    weight, _, _ = ridge(states, faces)

    def change(steps):  # (n, k * p) -> how much the faces change that are said (n,)
        moved = steps.unflatten(1, (basis.k, basis.p)) / 10
        said = text_states(compose(basis, torch.cat([moved, -moved])), models) @ weight.T
        return (said[: len(steps)] - said[len(steps) :]).norm(dim=1)

    along = fitted.directions.T
    assert along.shape == (DIRECTIONS, basis.k * basis.p)
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(along.shape, generator=generator)
    random *= along.norm(dim=1, keepdim=True) / random.norm(dim=1, keepdim=True)
    ours, others = change(along), change(random)
    assert ours.mean() > others.mean() and ours[:24].mean() > 1.5 * others[:24].mean()


def test_start_is_linear_in_the_face(fitted, basis):
    a, b = torch.randn(2, 512, generator=torch.Generator().manual_seed(0))
    half = start_coefficients((a + b)[None] / 2, fitted, basis)
    ends = start_coefficients(torch.stack([a, b]), fitted, basis)
    assert torch.allclose(half[0], ends.mean(0), atol=1e-4)


def test_encoder_stays_as_it_was(drawn, basis, models):
    before = [p.clone() for p in models.text_encoder.parameters()]
    fit_start(drawn[0][:20], drawn[1][:20], basis, models)
    after = list(models.text_encoder.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is None for p in after)


def test_too_few_people(drawn, basis, models):
    with pytest.raises(FeatureMissing, match="calibrate"):
        fit_start(drawn[0][:5], drawn[1][:5], basis, models)


def test_calibration_of_another_basis(fitted, basis):
    other = replace(fitted, basis_id="0123456789abcdef")
    with pytest.raises(BasisMismatch, match="calibration"):
        start_coefficients(torch.zeros(1, 512), other, basis)
