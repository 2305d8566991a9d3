from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from celeb_core import Person, TrainConfig, fit, load_models
from celeb_core.denoising_loss import DenoisingLoss
from celeb_core.errors import FeatureMissing, TrainingDiverged
from celeb_core.training_group import TrainingGroup, fit_each
from celeb_core.training_run import Training

FAST = TrainConfig(steps=4, batch_size=2).changed(views=4, learning_rate=1e-2)
PAPER = TrainConfig(steps=3, batch_size=2).changed(
    norm="paper", calibrated=False, templates="paper", views=0, nuisance_tokens=False, ema=0.9
)


def seeded(config: TrainConfig, count: int) -> list[TrainConfig]:
    return [replace(config, seed=10 + number) for number in range(count)]


def alone(people, models, basis, configs, **options) -> list[torch.Tensor]:
    found = []
    for person, config in zip(people, configs, strict=True):
        found.append(fit([person], models, basis, config, **options)[person.name].coefficients)
    return found


def together(people, models, basis, configs, **options) -> list[torch.Tensor]:
    return [one.coefficients for one in fit_each(people, models, basis, configs, **options)]


@pytest.mark.parametrize("config", [FAST, FAST.changed(gradients="truncated"), PAPER])
@pytest.mark.parametrize("calibrated", [True, False])
def test_each_finds_what_it_would_find_alone(
    config, calibrated, people, models, basis, calibration
):
    setting = (people, models, basis, seeded(config, 3))
    known = {"calibration": calibration if calibrated else None}
    expected, found = alone(*setting, **known), together(*setting, **known, at_once=64)
    for one, other in zip(expected, found, strict=True):
        assert torch.allclose(one, other, atol=2e-3 * float(one.abs().max()))
    assert not torch.allclose(found[0], found[1], atol=0.05)


def test_a_group_of_one_is_a_training_to_the_bit(person, models, basis):
    for config in (FAST, FAST.changed(regression_batch=1)):
        setting = ([person], models, basis, [config])
        assert torch.equal(alone(*setting)[0], together(*setting)[0])


def test_whoever_else_is_in_the_group_changes_nothing(people, models, basis):
    """Latents of one person pass at a time, so that all batches have the same size."""
    configs = seeded(FAST, 3)
    three = together(people, models, basis, configs, at_once=1)
    two = together(people[1:], models, basis, configs[1:], at_once=1)
    assert torch.allclose(three[1], two[0], atol=2e-3) and torch.allclose(
        three[2], two[1], atol=2e-3
    )


def test_identities_are_labelled_as_those_of_a_training(people, models, basis):
    steps = []
    found = fit_each(
        people, models, basis, seeded(FAST, 3), recogniser="rec",
        on_step=lambda *done: steps.append(done),
    )  # fmt: skip
    assert [one.name for one in found] == ["ada", "bob", "cleo"]
    assert [one.settings["seed"] for one in found] == [10, 11, 12]
    assert found[0].recogniser == "rec" and steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_no_steps_are_the_initialisation(people, models, basis, calibration):
    configs = seeded(replace(FAST, steps=0), 3)
    setting = (people, models, basis, configs)
    for one, other in zip(
        alone(*setting, calibration=calibration),
        together(*setting, calibration=calibration),
        strict=True,
    ):
        assert torch.equal(one, other)
    assert fit_each([], models, basis, []) == []


def test_one_who_diverges_stops_nobody(people, models, basis, monkeypatch):
    draw = DenoisingLoss.draw

    def broken(loss, embeddings, latents, masks):
        batch = draw(loss, embeddings, latents, masks)
        if loss.generator.initial_seed() == 11:
            return replace(batch, target=batch.target * float("nan"))
        return batch

    expected = together(people[::2], models, basis, seeded(FAST, 3)[::2])
    monkeypatch.setattr(DenoisingLoss, "draw", broken)
    first, second, third = fit_each(people, models, basis, seeded(FAST, 3))
    assert isinstance(second, TrainingDiverged) and "at step 1" in str(second)
    for one, other in zip(expected, (first, third), strict=True):
        assert torch.allclose(one, other.coefficients, atol=5e-3)


def test_what_is_wrong_for_everybody_is_raised(people, models, basis):
    with pytest.raises(FeatureMissing, match="needs a calibration"):
        fit_each(people, models, basis, seeded(TrainConfig(preset="instant", steps=0), 3))
    with pytest.raises(ValueError, match="seeds"):
        fit_each(people[:2], models, basis, [FAST, replace(FAST, steps=5)])


def test_an_overflow_is_computed_again_for_whoever_had_it(people, world, basis):
    half = load_models(world, device="cpu", dtype="float16")
    trainings = [
        Training([person], half, basis, config)
        for person, config in zip(people[:2], seeded(FAST, 2), strict=True)
    ]
    scales: list[float] = []

    def overflow(gradient: torch.Tensor) -> torch.Tensor:
        scales.append(trainings[0].scaler.get_scale())
        return gradient * float("inf") if len(scales) <= 2 else gradient

    next(trainings[0].mapper.parameters()).register_hook(overflow)
    TrainingGroup(trainings, 8).update()
    assert scales == [65536.0, 32768.0, 16384.0]
    assert [one.scaler.get_scale() for one in trainings] == [16384.0, 65536.0]
    assert [one.step for one in trainings] == [1, 1]


def test_short_memory_makes_the_passes_smaller_first(people, models, basis, monkeypatch):
    predict, sizes = DenoisingLoss.predict, []

    def small(loss, noisy_latents, timesteps, embeds):
        sizes.append(len(noisy_latents))
        if len(noisy_latents) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return predict(loss, noisy_latents, timesteps, embeds)

    configs = seeded(FAST, 3)
    expected = together(people, models, basis, configs, at_once=2)
    monkeypatch.setattr(DenoisingLoss, "predict", small)
    found = together(people, models, basis, configs, at_once=6)
    assert sizes[:5] == [6, 3, 2, 2, 2] and models.memory.mode == "full"
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def test_several_photos_and_the_same_name_twice(people, models, basis):
    both = Person("ada", (*people[0].faces, *people[1].faces))
    first, second = fit_each([both, people[0]], models, basis, seeded(FAST, 2))
    assert first.name == second.name == "ada"
    assert not torch.equal(first.coefficients, second.coefficients)
