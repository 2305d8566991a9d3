from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from celeb_core import CoefficientMapper
from celeb_core.basis import project, words_of
from celeb_core.errors import FeatureMissing
from celeb_core.mapper import closed_form, ridge
from celeb_core.types import Calibration


@pytest.fixture
def face():
    return torch.nn.functional.normalize(torch.randn(4, 512), dim=1)


def test_papers_norm_is_one_on_unscaled_components(basis, face):
    mapper = CoefficientMapper(basis, "paper")
    unscaled = mapper(face) * basis.std
    rank = torch.tensor(basis.ranks)
    full = rank == basis.p  # a padded position spends a part of its norm on nothing
    assert torch.allclose(unscaled.norm(dim=-1)[:, full], torch.ones(4, int(full.sum())), atol=1e-5)


def test_learned_radius_bounds_every_word_and_is_trained(basis, face):
    mapper = CoefficientMapper(basis, "radius-learned")
    assert torch.allclose(mapper(face).norm(dim=-1), mapper.radius.expand(4, -1), atol=1e-5)
    assert mapper.radius.requires_grad
    assert not CoefficientMapper(basis, "free").radius.requires_grad


def test_free_mapper_starts_near_the_mean_person(basis, face):
    assert CoefficientMapper(basis, "free")(face).abs().max() < 0.5


def test_seed_decides_the_start(basis, face):
    first, same, other = (CoefficientMapper(basis, "free", seed)(face) for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)


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


def test_closed_form_recovers_linear_words(basis, models, calibration):
    """If faces are a linear function of the words, then the words are one of the faces."""
    words = torch.stack([words_of(name, basis, models) for name in models.names])
    coefficients = project(basis, words).flatten(1)
    mixing = torch.randn(coefficients.shape[1], 512, generator=torch.Generator().manual_seed(2))
    faces = torch.nn.functional.normalize(coefficients @ mixing, dim=1)
    mapper = CoefficientMapper(basis, "free")
    known = replace(calibration, face_embeddings=faces)
    closed_form(mapper, known, basis, models)
    predicted = mapper(faces).flatten(1)
    cosine = torch.nn.functional.cosine_similarity(predicted, coefficients).mean()
    assert cosine > 0.95


def test_closed_form_sets_the_learned_radius(basis, models, calibration):
    mapper = CoefficientMapper(basis, "radius-learned")
    before = mapper.radius.clone()
    closed_form(mapper, calibration, basis, models)
    assert not torch.equal(before, mapper.radius)


def test_celebrities_without_a_face_are_left_out(basis, models, calibration):
    faces = calibration.face_embeddings.clone()
    faces[5:] = 0
    few = Calibration(calibration.names, faces, models.id, calibration.recogniser)
    with pytest.raises(FeatureMissing, match="calibrate"):
        closed_form(CoefficientMapper(basis), few, basis, models)
