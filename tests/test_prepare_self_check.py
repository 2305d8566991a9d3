from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conftest import celebrity_names, finished

from celeb_core import compose
from celeb_core.many.workers import Here
from celeb_core.prepare import stand_ins as module
from celeb_core.prepare.calibration import stretched
from celeb_core.prepare.self_check import (
    Trial,
    _Comparison,
    axes,
    choose,
    gradient_cosine,
    self_check,
)
from celeb_core.prepare.stand_ins import StandIn
from celeb_core.types import Identity, Person, TrainConfig

NAMES = celebrity_names()[:6]


@pytest.fixture
def stand_ins(person):
    """Four people with one face, for what does not look at it."""
    face = person.faces[0]
    return [StandIn(name, Person("x", (face,)), face.embedding, 0.8) for name in NAMES[:4]]


def tried(*arguments, **options):
    """The trials of a self-check, without what comes after every training."""
    return [trial for trial in self_check(*arguments, **options) if trial is not None]


def chosen(trials):
    settings = {}
    for trial in trials:
        settings |= trial.settings if trial.chosen else {}
    return settings


@pytest.fixture
def planted(monkeypatch):
    """Trainings and images with an optimum at a rate of .03, window (.5, 3.5), shrink .8, stretch
    1.15; collects the settings that were trained.
    """
    trained = []

    def fit(people, models, basis, config, calibration):
        trained.append(config)
        loss = abs(math.log10(config.optimiser.calibrated_learning_rate / 0.03))
        loss += config.loss.max_log_snr != 3.5
        loss += torch.equal(calibration.up, fit.up)  # not stretched
        coefficients = torch.ones(basis.k, basis.p)
        coefficients[0, 1] = loss
        return {"x": Identity("x", coefficients, basis.id)}

    def cosines(name, people, reference, studio, steps):
        if not people:
            return torch.tensor([0.8, 0.8])
        ((_, person),) = people.items()
        shrink = float(person.coefficients[0, 0])
        loss = float(person.coefficients[0, 1]) / shrink
        best = 0.8 - 0.2 * loss - abs(shrink - 0.8)
        return torch.tensor([best, best])

    monkeypatch.setattr(module, "fit", fit)
    monkeypatch.setattr(module, "_cosines", cosines)
    return trained


WRONG = {
    "window": {"min_log_snr": -3.5, "max_log_snr": -0.5},
    "rate, too low": {"calibrated_learning_rate": 0.01},
    "rate, too high": {"calibrated_learning_rate": 1.0},
    "shrink": {"shrink": 0.6},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_it_ends_at_the_optimum_from_wrong_settings(
    wrong, stand_ins, studio, calibration, planted, tmp_path
):
    module.fit.up = calibration.up
    initial = TrainConfig().changed(**wrong)
    trials = list(tried(stand_ins, calibration, studio, tmp_path, initial=initial))
    settings = chosen(trials)
    assert settings["calibrated_learning_rate"] == 0.03 and settings["shrink"] == 0.8
    assert (settings["min_log_snr"], settings["max_log_snr"]) == (0.5, 3.5)
    assert (settings["stretch"], settings["steps"]) == (1.15, 60)
    assert trials[-1].axis == "result" and trials[-1].mean == pytest.approx(1, abs=1e-3)


def test_without_a_search_the_safe_settings_are_measured(
    stand_ins, studio, calibration, planted, tmp_path
):
    module.fit.up = calibration.up
    trials = list(tried(stand_ins, calibration, studio, tmp_path, search=False))
    assert [trial.axis for trial in trials] == ["gradients", "result"]
    assert len(planted) == 4 and all(trial.chosen for trial in trials)
    assert chosen(trials)["shrink"] == 1.0 and chosen(trials)["steps"] == 60


def test_what_was_tried_is_not_tried_again(stand_ins, studio, calibration, planted, tmp_path):
    module.fit.up = calibration.up
    first = list(tried(stand_ins, calibration, studio, tmp_path))
    planted.clear()
    assert list(map(str, tried(stand_ins, calibration, studio, tmp_path))) == [*map(str, first)]
    assert planted == []
    other = replace(calibration, up=calibration.up * 1.01)
    list(tried(stand_ins, other, studio, tmp_path, search=False))
    assert len(planted) == 4


def test_two_processes_divide_the_trainings(
    stand_ins, studio, calibration, planted, tmp_path, monkeypatch
):
    module.fit.up = calibration.up
    alone = list(tried(stand_ins, calibration, studio, tmp_path / "one"))
    count = len(planted)
    planted.clear()
    one, other = Here(studio, (0, 2)), Here(studio, (1, 2))
    first, second = (
        _Comparison(stand_ins, calibration, makers, tmp_path / "two", None)
        for makers in (one, other)
    )
    settings = [{**TrainConfig().flat(), "stretch": 1.0}]
    # the second process begins while the first one is at its first training
    train, ratios = module.fit, []

    def fit(*arguments, **options):
        if not ratios:
            ratios.append([])
            ratios.append(finished(second._ratios(settings, stand_ins)))
        return train(*arguments, **options)

    monkeypatch.setattr(module, "fit", fit)
    assert finished(first._ratios(settings, stand_ins)) == ratios[1] and len(planted) <= 5
    again = list(tried(stand_ins, calibration, studio, tmp_path / "two", makers=other))
    assert list(map(str, again)) == list(map(str, alone)) and count > 4


def test_shrinking_needs_no_training(stand_ins, studio, calibration, planted, tmp_path):
    module.fit.up = calibration.up
    comparison = _Comparison(stand_ins, calibration, Here(studio), tmp_path, None)
    settings = {**TrainConfig().flat(), "stretch": 1.0}
    shrunk = [{**settings, "shrink": factor} for factor in (1.0, 0.9, 0.8)]
    ratios = finished(comparison._ratios(shrunk, stand_ins))
    assert len(planted) == 4 and len({tuple(each) for each in ratios}) == 3
    finished(comparison._ratios([{**settings, "shrink": 0.7}], stand_ins))
    assert len(planted) == 4  # of an earlier run, too


def test_it_can_be_stopped_after_every_training(stand_ins, studio, calibration, planted, tmp_path):
    module.fit.up = calibration.up
    seen = []
    for trial in self_check(stand_ins, calibration, studio, tmp_path):
        seen.append((trial, len(planted)))
    assert all(after - before <= 1 for (_, before), (_, after) in zip(seen, seen[1:], strict=False))


def test_windows_follow_the_size_of_the_latents(models):
    def windows(side):
        models.unet.register_to_config(sample_size=side)
        return [(w["min_log_snr"], w["max_log_snr"]) for w in axes(models)["window"]]

    before = models.unet.config.sample_size
    try:
        small, large = windows(16), windows(64)
    finally:
        models.unet.register_to_config(sample_size=before)
    assert small[0] == large[0] == (-math.inf, math.inf)  # the published one
    assert len(small) == 4 and len(large) == 5
    assert large[2] == (-1.5, pytest.approx(1.5 - math.log(16)))


@pytest.mark.parametrize(
    ("ratios", "best"),
    [
        ([(0.9, 0.8, 0.7), (0.95, 0.84, 0.76)], 1),  # better for everybody
        ([(0.9, 0.8, 0.7), (0.95, 0.70, 0.78)], 0),  # for some: within the error
        ([(0.9, 0.8, 0.7), (0.2, 0.1, 0.3)], 0),
        ([(0.5, 0.5, 0.5), (0.9, 0.9)], 0),  # only half of it was measured
    ],
)
def test_the_published_value_stays_where_nothing_tells_them_apart(ratios, best):
    trials = [Trial("axis", {"shrink": i}, ratio) for i, ratio in enumerate(ratios)]
    assert choose(trials) is trials[best]


def test_the_cosine_of_gradients(stand_ins, studio, calibration, basis, monkeypatch):
    own = replace(calibration, basis_id=basis.id)
    cosine = gradient_cosine(stand_ins[:2], TrainConfig(), own, studio)
    assert -1 <= cosine < 0.9999
    monkeypatch.setattr(
        "celeb_core.denoising_loss.truncated_backward", lambda unet: torch.enable_grad()
    )
    assert gradient_cosine(stand_ins[:2], TrainConfig(), own, studio) == pytest.approx(1, abs=1e-5)


def test_a_stretched_calibration_starts_further_out(calibration, basis, person):
    from conftest import initial_coefficients

    faces = person.faces[0].embedding[None]
    before = initial_coefficients(faces, calibration, basis)
    after = initial_coefficients(faces, stretched(calibration, 1.5), basis)
    assert torch.allclose(after, 1.5 * before, atol=1e-5) and compose(basis, after).isfinite().all()


def test_a_trial_is_a_line_of_the_table():
    trial = Trial("shrink", {"shrink": 0.9}, (0.8, 0.9), chosen=True)
    assert str(trial) == "shrink | shrink 0.9 | 0.850 ± 0.050 | chosen"
    assert math.isnan(Trial("x", {}, ()).mean) and math.isnan(Trial("x", {}, (1.0,)).error)
