"""The regression over the names, with a UNet that is linear in the token embeddings."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from conftest import finished

from celeb_core import compose, person_embeddings, project
from celeb_core import name_regression as module
from celeb_core.errors import TrainingDiverged
from celeb_core.formats.calibration_file import CALIBRATED
from celeb_core.mapper import CalibratedMapper
from celeb_core.name_regression import regress_on_names
from celeb_core.types import PromptEmbeds

PIXELS = (3, 8, 8)


@pytest.fixture
def celebrities(basis, models):
    people = [person_embeddings(name, basis, models) for name in basis.names]
    return project(basis, torch.stack(people))


@pytest.fixture
def faces():
    generator = torch.Generator().manual_seed(2)
    return torch.nn.functional.normalize(torch.randn(2, 512, generator=generator), dim=1)


@pytest.fixture
def linear(models, basis, monkeypatch):
    """A loss whose UNet predicts a linear function of the embeddings, another in each image."""

    def encode(texts, people, k, encoders):
        assert set(texts) == {"a photo of <x>"} and k == basis.k and encoders is models.encoders
        return PromptEmbeds(torch.stack([person["x"] for person in people]))

    monkeypatch.setattr(module, "encode_texts", encode)
    generator = torch.Generator().manual_seed(3)
    width = basis.k * basis.mean.shape[1]
    weights = torch.randn(8, width, 192, generator=generator)  # of at most 8 images

    def predict(rows, embeddings):
        each = torch.einsum("bi,bij->bj", embeddings.flatten(1), weights[rows])
        return each.unflatten(1, PIXELS)

    def loss(people):
        """With the people's own predictions as the truth; the noisy latents are row numbers."""
        truth = compose(basis, people)

        def add_noise(latents, masks):
            n, b = latents.shape[:2]
            rows = torch.arange(n * b)
            return rows, rows, predict(rows, truth.repeat_interleave(b, 0)), masks.flatten(0, 1)

        return SimpleNamespace(
            models=models,
            add_noise=add_noise,
            predict=lambda rows, timesteps, embeds: predict(rows, embeds.hidden_states),
        )

    return SimpleNamespace(loss=loss, predict=predict)


def regress(linear, people, faces, basis, images=4):
    masks = torch.ones(len(people), images, 1, *PIXELS[1:])
    masks[..., :2, :] = 0.2
    latents = torch.zeros(len(people), images, *PIXELS)
    return finished(regress_on_names(faces, latents, masks, linear.loss(people), basis))


def test_people_between_the_names_are_found(linear, basis, celebrities, faces, monkeypatch):
    monkeypatch.setattr(module, "PENALTY", 1e-9)
    people = torch.stack([celebrities[:2].mean(0), celebrities[3] * 0.7 + celebrities[9] * 0.3])
    tensors = regress(linear, people, faces, basis)
    assert set(tensors) == set(CALIBRATED)
    mapper = CalibratedMapper((basis.k, basis.p), tensors)
    found = mapper(faces).detach()
    assert torch.allclose(compose(basis, found), compose(basis, people), atol=1e-3)


def test_the_penalty_draws_people_towards_the_mean_of_the_names(linear, basis, celebrities, faces):
    people = celebrities[[4, 20]]
    tensors = regress(linear, people, faces, basis)
    mean = celebrities.mean(0)
    found = CalibratedMapper((basis.k, basis.p), tensors)(faces).detach()
    moved, whole = (found - mean).flatten(1), (people - mean).flatten(1)
    assert bool((moved.norm(dim=1) < whole.norm(dim=1)).all())
    own, other = moved @ whole.T / whole.norm(dim=1)[:, None], moved @ whole.flip(0).T
    assert bool((own.diagonal() > 0.3 * moved.norm(dim=1)).all())
    assert bool((own.diagonal() > other.diagonal() / whole.norm(dim=1)).all())


def test_directions_are_what_the_names_differ_in(linear, basis, celebrities, faces, monkeypatch):
    monkeypatch.setattr(module, "DIRECTIONS", 5)
    directions = regress(linear, celebrities[:1], faces[:1], basis, images=1)["directions"]
    assert directions.shape == (basis.k * basis.p, 5)
    moved = compose(basis, directions.T.unflatten(1, (basis.k, basis.p))) - basis.mean
    weight = torch.ones(1, *PIXELS[1:])
    weight[:, :2] = 0.2
    change = (linear.predict(torch.zeros(5).long(), moved) * weight.sqrt()).flatten(1)
    products = change @ change.T
    lengths = products.diagonal()
    assert torch.allclose(products / lengths.max(), torch.diag(lengths / lengths.max()), atol=1e-3)
    assert bool((lengths.diff() > 0).all())  # the leading ones, the last one leads


def test_at_most_so_many_names_are_compared(linear, basis, celebrities, faces, monkeypatch):
    monkeypatch.setattr(module, "NAMES", 6)
    tensors = regress(linear, celebrities[:1], faces[:1], basis)
    assert tensors["directions"].shape[1] == 5
    assert torch.linalg.matrix_rank(tensors["directions"]) == 5


def test_predictions_that_are_no_numbers_are_said(linear, basis, celebrities, faces):
    people = celebrities[:1].clone()
    loss = linear.loss(people)
    loss.predict = lambda rows, timesteps, embeds: torch.full((len(rows), *PIXELS), torch.nan)
    with pytest.raises(TrainingDiverged, match="float32"):
        latents, masks = torch.zeros(1, 2, *PIXELS), torch.ones(1, 2, 1, 8, 8)
        finished(regress_on_names(faces[:1], latents, masks, loss, basis))
