from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import initial_coefficients, portrait

from celeb_core import find_face, load_calibration, save_calibration
from celeb_core.augmentation import AugmentedLatents
from celeb_core.basis import compose
from celeb_core.denoising_loss import DenoisingLoss
from celeb_core.errors import BasisMismatch, FeatureMissing
from celeb_core.prepare import refinement as module
from celeb_core.prepare.refinement import RefineConfig, refine_initialisation
from celeb_core.types import PRESETS, Person

CONFIG = RefineConfig(steps=6, batch_size=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def photos(studio):
    return [find_face(portrait(shade), studio.faces) for shade in range(255, 175, -4)]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(module, "MIN_PHOTOS", 20)


def refined(calibration, photos, models, basis, config=CONFIG):
    *_, last = refine_initialisation(calibration, photos, models, basis, config)
    return last.result()


def weights(models) -> list[torch.Tensor]:
    return [t.clone() for network in models.networks for t in network.state_dict().values()]


def test_the_loss_on_photos_falls(calibration, photos, models, basis):
    """On fixed noise and views."""
    people = [Person(f"{i}", (face,)) for i, face in enumerate(photos)]
    plain = PRESETS["best"].changed(min_scale=1.0)
    generator = torch.Generator()
    probe = DenoisingLoss(models, plain.loss, generator)
    views = AugmentedLatents(people, models, plain, generator)
    encoded = [views.encode(i, 2, 0) for i in range(len(people))]
    latents, masks = (torch.stack(part) for part in zip(*encoded, strict=True))
    faces = torch.stack([face.embedding for face in photos])

    def loss(initial) -> float:
        generator.manual_seed(5)
        embeddings = compose(basis, initial_coefficients(faces, initial, basis))
        return probe.backward(embeddings.requires_grad_(), latents, masks).mean().item()

    longer = replace(CONFIG, steps=15, batch_size=8)
    assert loss(refined(calibration, photos, models, basis, longer)) < loss(calibration)


def test_only_the_map_changes(calibration, photos, models, basis):
    before = weights(models)
    result = refined(calibration, photos, models, basis)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(models), strict=True))
    same = ("names", "face_embeddings", "directions", "correction", "basis_id", "base_model")
    same += ("recogniser", "framing")
    assert all(getattr(result, name) is getattr(calibration, name) for name in same)
    faces = torch.stack([face.embedding for face in photos])
    coefficients = [initial_coefficients(faces, one, basis) for one in (calibration, result)]
    assert not torch.allclose(*coefficients, atol=1e-3)


def test_same_seed_same_map(calibration, photos, models, basis):
    a, b, other = (
        refined(calibration, photos, models, basis, replace(CONFIG, seed=seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(a.up, b.up) and torch.equal(a.bias, b.bias)
    assert not torch.equal(a.bias, other.bias)


def test_every_step_has_its_loss_and_its_map(calibration, photos, models, basis):
    steps = refine_initialisation(calibration, photos, models, basis, CONFIG)
    results = [(step.step, step.steps, step.loss, step.result()) for step in steps]
    assert [step for step, *_ in results] == [1, 2, 3, 4, 5, 6]
    assert all(steps == 6 and loss > 0 for _, steps, loss, _ in results)
    biases = [calibration.bias, *(result.bias for *_, result in results)]
    assert all(not torch.equal(a, b) for a, b in zip(biases, biases[1:], strict=False))


def test_the_map_is_stored_whole(calibration, photos, models, basis, tmp_path):
    result = refined(calibration, photos, models, basis)
    assert len(result.down) <= module.RANK
    save_calibration(result, tmp_path / "c.safetensors")
    again = load_calibration([tmp_path / "c.safetensors"], calibration.recogniser, basis.id)
    faces = torch.stack([face.embedding for face in photos])
    coefficients = [initial_coefficients(faces, one, basis) for one in (result, again)]
    assert torch.allclose(*coefficients, atol=2e-2)


def test_too_few_photos_and_another_basis(calibration, photos, models, basis):
    with pytest.raises(FeatureMissing, match="19 photos .* 20 are"):
        next(refine_initialisation(calibration, photos[:19], models, basis))
    with pytest.raises(BasisMismatch, match="calibration"):
        next(refine_initialisation(replace(calibration, basis_id="b"), photos, models, basis))
