from __future__ import annotations

import pytest
import torch

from celeb_core import CoefficientMapper
from celeb_core.mapper import set_start


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


@pytest.mark.parametrize("norm", ["free", "radius-learned"])
def test_people_start_where_they_are_put(basis, face, norm):
    mapper = CoefficientMapper(basis, norm)
    coefficients = torch.randn(4, basis.k, basis.p, generator=torch.Generator().manual_seed(4))
    if norm == "radius-learned":
        coefficients = 3 * torch.nn.functional.normalize(coefficients, dim=-1)
        assert mapper.radius[0] != 3
    set_start(mapper, face, coefficients)
    assert torch.allclose(mapper(face), coefficients, atol=1e-3)


def test_the_same_face_twice_can_start(basis, face):
    mapper = CoefficientMapper(basis)
    set_start(mapper, face[[0, 0]], torch.ones(2, basis.k, basis.p))
    assert torch.allclose(mapper(face[:1]), torch.ones(1, basis.k, basis.p), atol=1e-3)
