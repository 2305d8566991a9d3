from __future__ import annotations

import pytest
import torch

from celeb_core.descent import TensorAdam, decay


def after(optimizer_of, gradients: list[torch.Tensor]) -> torch.Tensor:
    """Where a parameter is that starts at zero and has these gradients, one after the other."""
    parameter = torch.nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = optimizer_of(parameter)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


@pytest.fixture
def gradients():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 4, generator=generator) * torch.logspace(-3, 1, 4) for _ in range(5)]


def test_groups_that_are_not_single_are_adams(gradients):
    ours = after(lambda p: TensorAdam([{"params": [p], "single": False}], lr=0.1), gradients)
    adams = after(lambda p: torch.optim.Adam([p], lr=0.1), gradients)
    assert torch.allclose(ours, adams, atol=1e-5)


def test_a_single_second_moment_keeps_the_gradients_direction(gradients):
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


def test_the_rate_falls_to_a_tenth():
    assert decay(0, 10) == 1 and decay(10, 10) == pytest.approx(0.1)
    assert decay(5, 10) == pytest.approx(0.55)
