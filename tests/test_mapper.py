from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conftest import initial_coefficients

from celeb_core.errors import BasisMismatch, TrainingDiverged
from celeb_core.formats.calibration_file import CALIBRATED, zero_correction
from celeb_core.mapper import (
    CalibratedMapper,
    CoefficientMapper,
    TensorAdam,
    build_mapper,
    build_optimiser,
    linear_decay,
    optimiser_step,
)
from celeb_core.types import MapperConfig, OptimiserConfig


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(11))


@pytest.fixture
def faces():
    return torch.nn.functional.normalize(seeded(4, 512), dim=1)


# --- without a calibration


def test_papers_norm_is_one_on_unscaled_components(basis, faces):
    mapper = CoefficientMapper(basis, "paper")
    unscaled = mapper(faces) * basis.std
    rank = torch.tensor(basis.ranks)
    full = rank == basis.p  # a padded position spends a part of its norm on nothing
    ones = torch.ones(4, int(full.sum()))
    assert full.any() and torch.allclose(unscaled.norm(dim=-1)[:, full], ones, atol=1e-5)


def test_free_mapper_starts_near_the_mean_person(basis, faces):
    coefficients = CoefficientMapper(basis, "free")(faces)
    assert 0 < coefficients.abs().max() < 0.5


def test_seed_decides_the_start(basis, faces):
    first, same, other = (CoefficientMapper(basis, "free", seed)(faces) for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)


# --- with one


@pytest.fixture
def tensors(calibration):
    return {name: getattr(calibration, name) for name in CALIBRATED}


def test_a_calibrated_mapper_starts_at_the_calibration(tensors, basis, calibration, faces):
    mapper = CalibratedMapper((basis.k, basis.p), tensors)
    expected = initial_coefficients(faces, calibration, basis)
    assert expected.shape == (4, basis.k, basis.p)
    assert torch.allclose(mapper(faces), expected, atol=1e-4)


def test_a_calibrated_mapper_moves_along_its_directions_alone(tensors, basis, calibration, faces):
    mapper = CalibratedMapper((basis.k, basis.p), tensors)
    initial = mapper(faces).detach()
    with torch.no_grad():
        mapper.linear.weight.normal_()
    moved = (mapper(faces) - initial).flatten(1).T  # (k * p, n)
    along = calibration.directions @ torch.linalg.pinv(calibration.directions)
    assert moved.norm() > 1
    assert torch.allclose(along @ moved, moved, atol=1e-3)
    assert [name for name, _ in mapper.named_parameters()] == ["linear.weight"]


def test_what_was_found_is_shrunk_then_corrected_along_the_directions(
    tensors, basis, calibration, faces
):
    count = calibration.directions.shape[1]
    offset = torch.arange(count) / 10
    tensors["correction"] = torch.cat([-0.2 * torch.eye(count), offset[:, None]], 1)
    mapper = CalibratedMapper((basis.k, basis.p), tensors, shrink=0.5)
    found = mapper(faces).detach()
    assert torch.equal(mapper.settled(found, 0.0), found)
    along = torch.linalg.pinv(calibration.directions)  # coordinates of (k * p,)
    for share in (0.5, 1.0):
        shrunk = found * (1 - 0.5 * share)
        settled = mapper.settled(found, share)
        before, after = ((c.flatten(1) @ along.T) for c in (shrunk, settled))
        assert torch.allclose(after, before + share * (offset - 0.2 * before), atol=1e-4)
        added = (settled - shrunk).flatten(1)
        assert torch.allclose(added @ along.T @ calibration.directions.T, added, atol=1e-4)


def test_without_shrinking_and_correction_nothing_changes(tensors, basis, calibration, faces):
    tensors["correction"] = zero_correction(calibration.directions)
    for mapper in (CalibratedMapper((basis.k, basis.p), tensors), CoefficientMapper(basis)):
        found = mapper(faces).detach()
        assert torch.equal(mapper.settled(found, 1.0), found)


def test_a_calibration_is_used_where_there_is_one_and_the_config_wants_it(basis, calibration):
    def kind(config, known=calibration):
        return type(build_mapper(basis, config, known, 0))

    assert kind(MapperConfig()) is CalibratedMapper
    assert kind(MapperConfig(), None) is CoefficientMapper
    assert kind(MapperConfig(calibrated=False)) is CoefficientMapper
    assert kind(MapperConfig(norm="paper")) is CoefficientMapper
    assert build_mapper(basis, MapperConfig(shrink=0.7), calibration, 0).shrink == 0.7
    with pytest.raises(BasisMismatch, match="another"):
        build_mapper(basis, MapperConfig(), replace(calibration, basis_id="another"), 0)


# --- the optimiser


def after(optimiser_of, gradients: list[torch.Tensor]) -> torch.Tensor:
    """Where a parameter is that starts at zero and has these gradients, one after the other."""
    parameter = torch.nn.Parameter(torch.zeros_like(gradients[0]))
    optimiser = optimiser_of(parameter)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimiser.step()
    return parameter.detach()


@pytest.fixture
def gradients():
    return list(seeded(5, 3, 4) * torch.logspace(-3, 1, 4))


def test_groups_that_are_not_per_tensor_are_adams(gradients):
    ours = after(lambda p: TensorAdam([{"params": [p], "per_tensor": False}], lr=0.1), gradients)
    adams = after(lambda p: torch.optim.Adam([p], lr=0.1, eps=1e-12), gradients)
    assert torch.allclose(ours, adams, atol=1e-5)


def test_one_second_moment_per_tensor_keeps_the_gradients_direction(gradients):
    """The first step is the gradient, scaled to a root mean square of the learning rate."""
    moved = after(lambda p: TensorAdam([{"params": [p]}], lr=0.1), gradients[:1])
    assert torch.allclose(moved, -0.1 * gradients[0] / gradients[0].square().mean().sqrt())


def test_steps_do_not_depend_on_the_losss_scale(gradients):
    def end(scale: float) -> torch.Tensor:
        scaled = [scale * gradient for gradient in gradients]
        return after(lambda p: TensorAdam([{"params": [p]}], lr=0.1), scaled)

    assert torch.allclose(end(1.0), end(1e-4), rtol=1e-4)


def test_parameters_without_a_gradient_stay():
    parameter = torch.nn.Parameter(torch.ones(2))
    TensorAdam([{"params": [parameter]}], lr=0.1).step()
    assert torch.equal(parameter.detach(), torch.ones(2))


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("people", [1, 4])
def test_how_far_a_first_step_goes(calibrated, people, basis, calibration):
    """sqrt(people) times the rate, in a calibrated mapper's mean over the 512 weights of a row."""
    config = OptimiserConfig(2e-3, calibrated_learning_rate=0.3, nuisance_learning_rate=0.05)
    mapper = build_mapper(basis, MapperConfig(calibrated=calibrated), calibration, 0)
    nuisance = torch.nn.Linear(3, 2)
    optimiser = build_optimiser(mapper, nuisance, config, people)
    weights = [mapper.linear.weight, nuisance.weight]
    before = [weight.detach().clone() for weight in weights]
    for weight in weights:
        weight.grad = seeded(*weight.shape).clamp_min(0.1)  # above Adam's epsilon
    optimiser.step()
    mapper_step, nuisance_step = (w.detach() - b for w, b in zip(weights, before, strict=True))
    rate = (0.3 / math.sqrt(512) if calibrated else 2e-3) * math.sqrt(people)
    assert float(mapper_step.square().mean().sqrt()) == pytest.approx(rate, rel=0.01)
    is_adams = bool(torch.allclose(mapper_step.abs(), torch.tensor(rate), rtol=0.01))
    assert is_adams is not calibrated
    assert torch.allclose(nuisance_step.abs(), torch.tensor(0.05), rtol=0.01)


def test_the_rate_falls_by_equal_steps_to_a_tenth():
    rates = torch.tensor([linear_decay(step, 10) for step in range(11)])
    assert torch.allclose(rates, torch.linspace(1, 0.1, 11))
    assert linear_decay(0, 0) == 1


# --- one step in any precision


class Descent:
    """Plain gradient descent on the sum of p, with what `optimiser_step` does to it."""

    def __init__(self, enabled: bool = True, **options) -> None:
        self.p = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        self.optimiser = torch.optim.SGD([self.p], lr=0.5, momentum=0.9)
        self.scaler = torch.amp.GradScaler("cpu", enabled=enabled, **options)
        self.scales: list[float] = []

    def step(self, overflows: int = 0, loss: float = 3.0) -> torch.Tensor:
        self.scales.clear()

        def backward(scale: float) -> torch.Tensor:
            self.scales.append(scale)
            infinite = len(self.scales) <= overflows
            (self.p.sum() * scale * (math.inf if infinite else 1.0)).backward()
            return torch.tensor([loss, 4.0])

        return optimiser_step(backward, self.optimiser, self.scaler, 7)


def test_a_scaled_step_is_as_long_as_an_unscaled_one():
    scaled, plain = Descent(), Descent(enabled=False)
    for _ in range(3):
        assert scaled.step().tolist() == plain.step().tolist() == [3.0, 4.0]
        assert torch.equal(scaled.p, plain.p)
    assert scaled.scales == [65536.0] and plain.scales == [1.0]
    assert torch.allclose(plain.p, torch.tensor([1.0, 2.0]) - 0.5 * (1 + 1.9 + 2.71))


def test_gradients_that_overflow_are_taken_again_at_half_the_scale():
    scaled, plain = Descent(), Descent(enabled=False)
    for overflows in (3, 0, 1):
        scaled.step(overflows)
        plain.step()
        assert len(scaled.scales) == overflows + 1
        assert torch.equal(scaled.p, plain.p)  # and neither p nor momentum knows of the others
    assert scaled.scales == [8192.0, 4096.0] and scaled.scaler.get_scale() == 4096.0


def test_the_scale_grows_again():
    scaled = Descent(init_scale=8.0, growth_interval=2)
    assert [scaled.step().sum() and scaled.scales[0] for _ in range(5)] == [8, 8, 16, 16, 32]


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_an_error(loss, enabled):
    descent = Descent(enabled)
    with pytest.raises(TrainingDiverged, match="at step 7. Train again with a lower learning rate"):
        descent.step(loss=loss)
    assert descent.p.tolist() == [1.0, 2.0]


def test_an_overflow_that_no_scale_mends_is_an_error():
    descent = Descent(init_scale=4.0)
    with pytest.raises(TrainingDiverged, match="float32"):
        descent.step(overflows=99)
    assert descent.scales[:3] == [4.0, 2.0, 1.0]
    assert descent.p.tolist() == [1.0, 2.0]
