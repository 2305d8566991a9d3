"""The preset “paper” beside the official recipe, whose equations are written out here.

Celeb Basis, sections 3.2 and 3.3, with the numbers of the official code: components of an SVD
without scale, LeakyReLU(0.2), unit norm, AdamW at 1e-2 with a weight decay of 0.01, an average of
0.99 that starts from noise and takes the coefficients of each image.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from celeb_core.basis import compose, principal_components
from celeb_core.mapper import CoefficientMapper, build_optimiser
from celeb_core.training_run import Training
from celeb_core.types import PRESETS

PAPER, D, P = PRESETS["paper"], 96, 40
CLOSE = {"rtol": 0.0, "atol": 1e-6}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def rows() -> list[Tensor]:
    """Token embeddings of first and second tokens, as many as float16 can hold; some twice."""
    first, second = ((0.3 * random(count, D, seed=count)).half().double() for count in (70, 60))
    return [torch.cat([first, first[:9]]), second]


@pytest.fixture(scope="module")
def ours(rows, basis):
    """The basis of these rows, in float64."""
    mean, components, std = zip(*(principal_components(each, P) for each in rows), strict=True)
    tensors = {"mean": torch.stack(mean), "components": torch.stack(components)}
    return replace(basis, **tensors, std=torch.stack(std), ranks=(P, P), widths=(D,))


@pytest.fixture(scope="module")
def official(rows, ours) -> tuple[Tensor, Tensor]:
    """Mean (2, d) and components (2, p, d). An SVD leaves their signs open: they are ours."""
    means, components = [], []
    for each, like in zip(rows, ours.components, strict=True):
        mean = each.sum(0) / len(each)
        right = torch.linalg.svd(each - mean)[2][:P]
        means.append(mean)
        components.append(right * (right * like).sum(1, keepdim=True).sign())
    return torch.stack(means), torch.stack(components)


def unit_coefficients(weight: Tensor, bias: Tensor, face: Tensor) -> Tensor:
    """(2p, 512), (2p,), (512,) -> (2, p) of unit norm."""
    raw = weight @ face + bias
    raw = torch.where(raw > 0, raw, 0.2 * raw).reshape(2, P)
    return raw / (raw**2).sum(1, keepdim=True).sqrt()


def token_embeddings(unit: Tensor, official: tuple[Tensor, Tensor]) -> Tensor:
    mean, components = official
    return mean + torch.stack([unit[k] @ components[k] for k in (0, 1)])


def some_loss(embeddings: Tensor, number: int) -> Tensor:
    """Of token embeddings (2, d): another one in every step."""
    target, weight = 0.3 * random(2, D, seed=number), random(2, D, seed=number + 5000).abs()
    return (weight * (embeddings - target) ** 2).mean()


class AdamW:
    """Loshchilov and Hutter, arXiv:1711.05101, algorithm 2, with PyTorch's default numbers."""

    def __init__(self) -> None:
        self.step, self.moments = 0, {}

    def update(self, parameters: dict[str, Tensor], gradients: dict[str, Tensor]) -> None:
        self.step += 1
        for name, gradient in gradients.items():
            first, second = self.moments.get(name, (0.0, 0.0))
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            self.moments[name] = first, second
            moved = first / (1 - 0.9**self.step)
            length = (second / (1 - 0.999**self.step)).sqrt() + 1e-8
            parameters[name] = parameters[name] * (1 - 1e-2 * 0.01) - 1e-2 * moved / length


def official_gradients(
    parameters: dict[str, Tensor], face: Tensor, official: tuple[Tensor, Tensor], number: int
) -> dict[str, Tensor]:
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    unit = unit_coefficients(leaves["weight"], leaves["bias"], face)
    found = torch.autograd.grad(
        some_loss(token_embeddings(unit, official), number), list(leaves.values())
    )
    return dict(zip(leaves, found, strict=True))


def start_of(mapper: CoefficientMapper) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in mapper.linear.named_parameters()}


def test_mean_and_components_up_to_sign(rows, ours, official):
    assert torch.allclose(ours.mean, official[0], **CLOSE)
    assert torch.allclose(ours.components, official[1], **CLOSE)
    cosines = ours.components @ official[1].mT
    assert torch.allclose(cosines, torch.eye(P, dtype=torch.float64).expand(2, P, P), **CLOSE)


def test_the_initial_weights_are_normal(ours):
    mapper = CoefficientMapper(ours, "paper", seed=3)
    assert tuple(mapper.linear.weight.shape) == (2 * P, 512)
    assert float(mapper.linear.weight.detach().std()) == pytest.approx(1, abs=0.02)
    assert not mapper.linear.bias.any()


def test_token_embeddings_gradients_and_updates(ours, official):
    face = torch.nn.functional.normalize(random(512, seed=1), dim=0)
    mapper = CoefficientMapper(ours, PAPER.mapper.norm).double()
    theirs, adam = start_of(mapper), AdamW()
    optimiser = build_optimiser(mapper, None, PAPER.optimiser, 1)
    for number in range(12):
        embeddings = compose(ours, mapper(face[None]))[0]
        unit = unit_coefficients(theirs["weight"], theirs["bias"], face)
        assert torch.allclose(embeddings, token_embeddings(unit, official), **CLOSE)
        assert torch.allclose((embeddings - ours.mean).norm(dim=1), torch.ones(2).double(), **CLOSE)
        optimiser.zero_grad()
        some_loss(embeddings, number).backward()
        gradients = official_gradients(theirs, face, official, number)
        for name, weight in mapper.linear.named_parameters():
            assert gradients[name].any()
            assert torch.allclose(weight.grad, gradients[name], rtol=1e-6, atol=1e-12)
        optimiser.step()
        adam.update(theirs, gradients)
        for name, weight in mapper.linear.named_parameters():
            assert torch.allclose(weight, theirs[name], **CLOSE)


@pytest.mark.parametrize("batch", [2, 3])
def test_a_whole_training_with_its_average(batch, person, models, ours, official, monkeypatch):
    """Only the loss of the UNet is replaced: by one of the token embeddings, in float64."""
    config = PAPER.changed(batch_size=batch, steps=40)
    training = Training([person], models, ours, config)
    training.faces = training.faces.double()
    training.use(training.mapper.double())
    training.kept = start = training.kept.double()
    theirs, adam, face = start_of(training.mapper), AdamW(), training.faces[0]
    average = start[0] * ours.std  # what they start from: random numbers of N(0, 1)
    assert float(average.std()) == pytest.approx(1, abs=0.2)

    def backward(embeddings: Tensor, *_: object) -> Tensor:
        loss = some_loss(embeddings[0], training.step)
        loss.backward()
        return loss.detach()[None]

    monkeypatch.setattr(training.loss, "backward", backward)
    monkeypatch.setattr(training.latents, "batch", lambda *_: (None, None))
    for number in range(config.steps):
        unit = unit_coefficients(theirs["weight"], theirs["bias"], face)
        for _ in range(batch):
            average = 0.99 * average + 0.01 * unit
        gradients = official_gradients(theirs, face, official, number)
        adam.update(theirs, gradients)
        training.update()
        assert torch.allclose(training.kept[0] * ours.std, average, **CLOSE)
    kept = compose(ours, training.kept[0])
    assert torch.allclose(kept, token_embeddings(average, official), **CLOSE)
    now = training.mapper(training.faces)[0] * ours.std
    assert not torch.allclose(now, unit, atol=1e-3)  # and it has moved all the time


def test_the_preset_averages_800_times():
    """What is left of the random start: 0.03 %."""
    left = PAPER.mapper.ema ** (PAPER.steps * PAPER.batch_size)
    assert left == pytest.approx(3.2e-4, abs=1e-5)


def test_people_who_train_together_do_not_change_the_rate(people, models, basis):
    training = Training(people, models, basis, PAPER)
    (group,) = training.optimiser.param_groups
    assert (group["lr"], group["weight_decay"]) == (1e-2, 0.01)
    assert training.latents.batch_size == PAPER.batch_size
