from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from celeb_core import (
    PRESETS,
    Person,
    TrainConfig,
    fit,
    fit_identities,
    load_models,
    save_checkpoint,
    start_coefficients,
)
from celeb_core.basis import compose
from celeb_core.denoising import Denoising
from celeb_core.devices import loss_scaler
from celeb_core.errors import BadName, BasisMismatch, ResumeMismatch, TrainingDiverged
from celeb_core.templates import PAPER
from celeb_core.training import _Training

FAST = TrainConfig(steps=4, batch_size=2, views=4, learning_rate=1e-2)


def frozen_weights(models) -> list[torch.Tensor]:
    parts = (models.text_encoder, models.unet, models.vae)
    return [tensor.clone() for part in parts for tensor in part.state_dict().values()]


def test_steps_start_at_zero_and_carry_everything(person, models, basis):
    steps = list(fit_identities([person], models, basis, FAST, recogniser="rec"))
    assert [step.step for step in steps] == [0, 1, 2, 3, 4]
    assert not steps[0].losses and np.isnan(steps[0].loss)
    assert all(list(step.losses) == ["ada"] and step.loss > 0 for step in steps[1:])
    assert steps[1].seconds_left > 0 and steps[-1].seconds_left == 0
    assert all(a.seconds < b.seconds for a, b in zip(steps, steps[1:], strict=False))
    last = steps[-1].identities["ada"]
    assert last.coefficients.shape == (basis.k, basis.p)
    assert torch.equal(last.coefficients, last.coefficients.half().float())
    assert (last.basis_id, last.base_model, last.recogniser) == (basis.id, models.id, "rec")
    assert last.settings["trained"] == 4 and last.settings["batch_size"] == 2
    assert not torch.equal(steps[0].people[0].coefficients, last.coefficients)


def test_only_the_mapper_changes(person, models, basis):
    before = frozen_weights(models)
    fit([person], models, basis, FAST)
    assert all(torch.equal(a, b) for a, b in zip(before, frozen_weights(models), strict=True))
    parts = (models.text_encoder, models.unet, models.vae)
    assert all(p.grad is None and not p.requires_grad for part in parts for p in part.parameters())


def test_loss_falls(person, models, basis):
    """On fixed noise and views; random weights leave the words little room, but some."""
    config = replace(FAST, steps=20, batch_size=4, views=4, background=1.0, decay=False)
    probe = Denoising([person], models, config)
    latents, heads = probe.batches(0)

    def loss(identity) -> float:
        probe.generator.manual_seed(5)
        words = compose(basis, identity.coefficients)[None]
        with torch.no_grad():
            return float(probe.losses(words, latents, heads))

    steps = list(fit_identities([person], models, basis, config))
    assert loss(steps[-1].people[0]) < loss(steps[0].people[0])


def test_same_seed_same_person(people, models, basis, calibration):
    def coefficients(seed):
        config = replace(FAST, seed=seed)
        result = fit(people, models, basis, config, calibration=calibration)
        return torch.stack([who.coefficients for who in result.values()])

    assert torch.equal(coefficients(1), coefficients(1))
    assert not torch.equal(coefficients(1), coefficients(2))


@pytest.mark.parametrize("preset", ["best", "paper"])
def test_resumed_training_equals_an_uninterrupted_one(preset, people, models, basis, tmp_path):
    config = replace(PRESETS[preset], steps=4, batch_size=2)
    whole = list(fit_identities(people[:2], models, basis, config))[-1]
    for step in fit_identities(people[:2], models, basis, config):
        if step.step == 2:
            save_checkpoint(step, tmp_path / "run")
            break
    rest = list(fit_identities(people[:2], models, basis, config, resume=tmp_path / "run"))
    assert [step.step for step in rest] == [2, 3, 4]
    for name, identity in whole.identities.items():
        assert torch.equal(rest[-1].identities[name].coefficients, identity.coefficients)


def test_a_resumed_training_keeps_the_start_that_it_had(
    person, models, basis, calibration, tmp_path
):
    whole = list(fit_identities([person], models, basis, FAST, calibration=calibration))
    for step in fit_identities([person], models, basis, FAST, calibration=calibration):
        if step.step == 2:
            save_checkpoint(step, tmp_path / "run")
            break
    # the calibration is gone, or another one by now
    rest = list(fit_identities([person], models, basis, FAST, resume=tmp_path / "run"))
    assert torch.equal(rest[-1].people[0].coefficients, whole[-1].people[0].coefficients)


def test_other_settings_cannot_resume(person, people, models, basis, tmp_path):
    step = next(fit_identities([person], models, basis, FAST))
    save_checkpoint(step, tmp_path / "run")
    for who, config in (([person], replace(FAST, seed=9)), (people[:2], FAST)):
        with pytest.raises(ResumeMismatch):
            next(fit_identities(who, models, basis, config, resume=tmp_path / "run"))
    (tmp_path / "run").write_bytes(b"broken")
    with pytest.raises(ResumeMismatch, match="anew"):
        next(fit_identities([person], models, basis, FAST, resume=tmp_path / "run"))


def test_instant_is_the_start_alone(person, models, basis, calibration):
    instant = PRESETS["instant"]
    steps = list(fit_identities([person], models, basis, instant, calibration=calibration))
    assert len(steps) == 1 and steps[0].step == 0
    face = person.faces[0].embedding[None]
    expected = start_coefficients(face, calibration, basis)[0]
    assert torch.allclose(steps[0].people[0].coefficients, expected, atol=1e-2)
    trained = fit([person], models, basis, FAST, calibration=calibration)
    assert not torch.equal(steps[0].people[0].coefficients, trained["ada"].coefficients)


def test_a_calibrated_training_moves_along_the_directions_alone(person, models, basis, calibration):
    config = replace(FAST, shrink=1.0)
    rows = list(fit_identities([person], models, basis, config, calibration=calibration))
    start, found = (step.people[0].coefficients.flatten() for step in (rows[0], rows[-1]))
    along = calibration.directions @ torch.linalg.pinv(calibration.directions)
    moved = found - start
    assert moved.norm() > 0.1
    assert torch.allclose(along @ moved, moved, atol=2e-2)  # the file's half precision


def test_the_photos_words_learn_beside_the_persons(people, models, basis):
    training = _Training(people[:2], models, basis, FAST, None, "")
    words = training.denoising.photo_words
    tables = torch.cat([encoder.table for encoder in models.encoders], -1)
    assert torch.allclose(words(), tables.mean(0).expand(2, basis.k, -1), atol=1e-6)
    training.update()
    moved = (words() - tables.mean(0)).flatten(1).norm(dim=1)
    assert bool((moved > 0).all())
    assert training.report({}).people[0].coefficients.shape == (basis.k, basis.p)  # and no more
    plain = _Training(people[:2], models, basis, replace(FAST, photo_words=False), None, "")
    assert plain.denoising.photo_words is None
    plain.update()
    assert not torch.equal(plain.kept, training.kept)


def test_a_calibrated_training_ends_with_smaller_coefficients(person, models, basis, calibration):
    def coefficients(shrink, known):
        config = replace(FAST, shrink=shrink)
        rows = fit_identities([person], models, basis, config, calibration=known)
        return [row.people[0].coefficients for row in rows]

    whole, less = coefficients(1.0, calibration), coefficients(0.8, calibration)
    for step, (a, b) in enumerate(zip(whole, less, strict=True)):
        assert torch.allclose(a * (1 - 0.2 * step / FAST.steps), b, atol=2e-3)
    assert torch.equal(coefficients(0.8, None)[-1], coefficients(1.0, None)[-1])


def test_a_correction_is_added_more_with_every_step(person, models, basis, calibration, tmp_path):
    count = calibration.directions.shape[1]
    correction = torch.cat([-0.3 * torch.eye(count), torch.ones(count, 1)], 1)
    known = replace(calibration, correction=correction)
    along = torch.linalg.pinv(calibration.directions)

    def found(config, which):
        rows = fit_identities([person], models, basis, config, calibration=which)
        return [along @ row.people[0].coefficients.flatten() for row in rows]

    plain, ours = found(FAST, calibration), found(FAST, known)
    for step, (a, b) in enumerate(zip(plain, ours, strict=True)):
        assert torch.allclose(a + step / FAST.steps * (1 - 0.3 * a), b, atol=2e-2)
    first = _Training([person], models, basis, FAST, known, "")
    first.update()
    save_checkpoint(first.report({}), tmp_path / "half")
    second = _Training([person], models, basis, FAST, calibration, "")
    second.restore(tmp_path / "half")
    a, b = (each.report({}).people[0].coefficients for each in (first, second))
    assert torch.equal(a, b)


def test_another_basis_calibration_is_refused(person, models, basis, calibration):
    other = replace(calibration, basis_id="another")
    with pytest.raises(BasisMismatch, match="another"):
        next(fit_identities([person], models, basis, FAST, calibration=other))


def test_budget_of_seconds_ends_early(person, models, basis):
    config = replace(FAST, steps=10_000, max_seconds=0.5)
    last = list(fit_identities([person], models, basis, config))[-1]
    assert 0 < last.step < 10_000 and last.seconds < 2.0


def test_names_must_be_good_and_distinct(person, models, basis):
    for who in ([], [person, person], [Person("a/b", person.faces)]):
        with pytest.raises(BadName):
            next(fit_identities(who, models, basis, FAST))


def test_joint_people_keep_their_own_faces(people, models, basis, calibration):
    result = fit(people, models, basis, FAST, calibration=calibration)
    assert list(result) == ["ada", "bob", "cleo"]
    assert not torch.equal(result["ada"].coefficients, result["bob"].coefficients)


def test_several_photos_of_one_person(people, models, basis):
    both = Person("ada", people[0].faces + people[2].faces)
    training = _Training([both], models, basis, FAST, None, "")
    mean = people[0].faces[0].embedding + people[2].faces[0].embedding
    assert torch.allclose(training.faces[0], mean / mean.norm(), atol=1e-6)


def test_diverged_loss_is_an_error(person, models, basis, monkeypatch):
    training = _Training([person], models, basis, FAST, None, "")
    monkeypatch.setattr(training.denoising, "losses", lambda *_: torch.tensor([float("nan")]))
    with pytest.raises(TrainingDiverged, match="learning rate"):
        training.update()


def test_ema_without_bias_starts_at_the_first_sample(person, models, basis):
    def kept(**changes):
        config = replace(FAST, steps=1, **changes)
        return fit([person], models, basis, config)["ada"].coefficients

    assert torch.equal(kept(ema=0.99), kept(ema=0.0))
    noisy = kept(ema=0.99, ema_from_noise=True) * basis.std
    assert 0.8 < float(noisy[1].norm()) / basis.ranks[1] ** 0.5 < 1.2  # still the start's noise


def test_paper_preset_is_the_official_recipe(person, models, basis):
    paper = PRESETS["paper"]
    assert (paper.steps, paper.batch_size, paper.learning_rate, paper.ema) == (400, 2, 1e-2, 0.99)
    assert len(PAPER) == 81 == len(set(PAPER)) and all("face of {} person" in t for t in PAPER)
    start = next(fit_identities([person], models, basis, replace(paper, ema_from_noise=False)))
    words = compose(basis, start.people[0].coefficients)
    assert torch.allclose((words - basis.mean)[1].norm(), torch.tensor(1.0), atol=1e-2)


def overflowing(training: _Training, times: int) -> list[float]:
    """Make the first gradients infinite -> the scales of the losses that were tried."""
    scales, mapper = [], next(p for p in training.mapper.parameters() if p.requires_grad)

    def overflow(gradient: torch.Tensor) -> torch.Tensor:
        scales.append(training.scaler.get_scale())
        return gradient * float("inf") if len(scales) <= times else gradient

    mapper.register_hook(overflow)
    return scales


def test_half_precision_survives_an_overflow(person, models, basis):
    training = _Training([person], models, basis, FAST, None, "")
    training.scaler = loss_scaler(models.device, torch.float16)
    scales = overflowing(training, times=2)
    losses = training.update()
    assert training.step == 1 and np.isfinite(losses["ada"])
    assert scales == [65536.0, 32768.0, 16384.0] and training.scaler.get_scale() == 16384.0
    assert all(p.isfinite().all() for p in training.mapper.parameters())
    plain = _Training([person], models, basis, FAST, None, "")
    assert not torch.equal(training.kept, plain.kept)
    tensors, metadata = training.checkpoint()
    assert json.loads(metadata["scaler"])["scale"] == 16384.0
    assert all(p.dtype == torch.float32 for p in training.mapper.parameters())


def test_an_overflow_that_no_scale_mends_is_an_error(person, models, basis):
    training = _Training([person], models, basis, FAST, None, "")
    training.scaler = loss_scaler(models.device, torch.float16)
    scales = overflowing(training, times=99)
    with pytest.raises(TrainingDiverged, match="float32"):
        training.update()
    assert scales[-1] == 1.0


def test_only_float16_is_scaled(models):
    for dtype in (torch.float32, torch.bfloat16):
        assert not loss_scaler(models.device, dtype).is_enabled()
    assert loss_scaler(models.device, torch.float16).is_enabled()


def test_gradients_of_a_half_precision_unet_are_those_of_the_full_one(world, person, models, basis):
    half = load_models(world, "cpu", "float16")
    gradients = []
    for each in (models, half):
        training = _Training([person], each, basis, FAST, None, "")
        training.update()
        row = [p.grad.flatten() for p in training.mapper.parameters() if p.grad is not None]
        gradients.append(torch.cat(row))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.98
    assert 0.9 < float(gradients[1].norm() / gradients[0].norm()) < 1.1
