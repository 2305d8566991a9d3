from __future__ import annotations

import pytest
import torch

from celeb_core import CoefficientMapper, start_coefficients
from celeb_core.mapper import CALIBRATED, CalibratedMapper


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


@pytest.fixture
def calibrated(basis, calibration):
    tensors = [getattr(calibration, name) for name in CALIBRATED]
    return CalibratedMapper((basis.k, basis.p), *tensors)


def test_a_calibrated_mapper_starts_at_the_calibration(calibrated, basis, calibration, face):
    expected = start_coefficients(face, calibration, basis)
    assert torch.allclose(calibrated(face), expected, atol=1e-4)


def test_a_calibrated_mapper_moves_along_its_directions_alone(calibrated, calibration, face):
    start = calibrated(face).detach()
    with torch.no_grad():
        calibrated.linear.weight.normal_()
    moved = (calibrated(face) - start).flatten(1).T  # (k * p, n)
    along = calibration.directions @ torch.linalg.pinv(calibration.directions)
    assert moved.norm() > 1
    assert torch.allclose(along @ moved, moved, atol=1e-3)
    assert [name for name, _ in calibrated.named_parameters()] == ["linear.weight"]


def test_a_correction_is_added_along_the_directions(basis, calibration, face):
    count = calibration.directions.shape[1]
    correction = torch.cat([-0.2 * torch.eye(count), torch.arange(count)[:, None] / 10], 1)
    tensors = [getattr(calibration, name) for name in CALIBRATED[:-1]]
    mapper = CalibratedMapper((basis.k, basis.p), *tensors, correction)
    found = mapper(face)
    along = torch.linalg.pinv(calibration.directions)  # coordinates of (k * p,)
    before, half, whole = (
        mapper.corrected(found, share).flatten(1) @ along.T for share in (0.0, 0.5, 1.0)
    )
    assert torch.allclose(whole, 0.8 * before + torch.arange(count) / 10, atol=1e-4)
    assert torch.allclose(half, (before + whole) / 2, atol=1e-4)
    rest = (mapper.corrected(found, 1.0) - found).flatten(1)
    assert torch.allclose(rest @ along.T @ calibration.directions.T, rest, atol=1e-4)


def test_before_a_rehearsal_nothing_is_added(calibrated, face):
    found = calibrated(face)
    assert torch.equal(calibrated.corrected(found, 1.0), found)
