from __future__ import annotations

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import initial_coefficients
from safetensors import safe_open
from safetensors.torch import save_file

from celeb_core import (
    PRESETS,
    Person,
    TrainConfig,
    TrainStep,
    compose,
    fit,
    fit_identities,
    load_models,
    recipe,
    save_checkpoint,
)
from celeb_core import training_run as training_module
from celeb_core.augmentation import AugmentedLatents
from celeb_core.denoising_loss import DenoisingLoss, NuisanceTokens
from celeb_core.device import MODES
from celeb_core.errors import (
    BadName,
    BasisMismatch,
    FeatureMissing,
    ResumeMismatch,
    SettingsError,
    TrainingDiverged,
)
from celeb_core.training_checkpoint import restore
from celeb_core.training_run import Training

FAST = TrainConfig(steps=4, batch_size=2).changed(views=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def half(world):
    """The models in float16, whose gradients are scaled."""
    return load_models(world, device="cpu", dtype="float16")


def numbers(step: TrainStep) -> torch.Tensor:
    """All people's coefficients (n, k, p)."""
    return torch.stack([person.coefficients for person in step.people])


def run(people, models, basis, config=FAST, **options) -> list[TrainStep]:
    return list(fit_identities(people, models, basis, config, **options))


def started(steps) -> TrainStep:
    """The first step that has people: a regression over the names goes before it."""
    return next(step for step in steps if step.people)


def stopped_at(step: int, path, people, models, basis, config=FAST, **options) -> None:
    """Train up to a step and save a checkpoint."""
    for now in fit_identities(people, models, basis, config, **options):
        if now.step == step:
            save_checkpoint(now, path)
            return


# --- a training


def test_steps_start_at_zero_and_carry_everything(person, models, basis):
    steps = run([person], models, basis, recogniser="rec")
    assert [step.step for step in steps] == [0, 1, 2, 3, 4]
    assert not steps[0].losses and steps[0].seconds_left is None
    assert all(list(step.losses) == ["ada"] and step.loss > 0 for step in steps[1:])
    assert steps[1].seconds_left > 0 and steps[-1].seconds_left == 0
    assert all(a.seconds < b.seconds for a, b in itertools.pairwise(steps))
    last = steps[-1].identities["ada"]
    assert last.coefficients.shape == (basis.k, basis.p)
    assert torch.equal(last.coefficients, last.coefficients.half().float())
    assert (last.basis_id, last.base_model, last.recogniser) == (basis.id, models.id, "rec")
    changed = {"steps": 4, "batch_size": 2, "views": 4, "learning_rate": 1e-2}
    assert last.settings == {"preset": "best", "trained": 4, **changed}
    assert not torch.equal(numbers(steps[0]), numbers(steps[-1]))


def test_a_caller_may_change_grad_mode_between_steps(person, models, basis):
    expected = numbers(run([person], models, basis)[-1])
    steps = fit_identities([person], models, basis, FAST)
    next(steps)
    with torch.no_grad():
        next(steps)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    *_, last = steps
    assert torch.equal(numbers(last), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("preset", ["best", "paper"])
def test_only_the_mapper_and_the_nuisance_tokens_get_gradients(
    preset, mode, world, person, basis, calibration
):
    models = load_models(world, device="cpu", memory=mode)
    before = [weight.clone() for part in models.networks for weight in part.state_dict().values()]
    config = PRESETS[preset].changed(steps=2, batch_size=2)
    training = Training([person], models, basis, config, calibration)
    training.update()
    training.update()
    after = [weight for part in models.networks for weight in part.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    frozen = [weight for part in models.networks for weight in part.parameters()]
    assert all(w.grad is None and not w.requires_grad for w in frozen)
    trained = list(training.mapper.parameters())
    if preset == "best":
        trained += training.loss.nuisance_tokens.parameters()
    assert all(bool(weight.grad.any()) for weight in trained)
    assert [id(p) for group in training.optimiser.param_groups for p in group["params"]] == [
        id(weight) for weight in trained
    ]


def test_loss_falls(person, models, basis):
    """On fixed noise and views; random weights leave the embeddings little room, but some."""
    config = FAST.changed(steps=12, batch_size=4, background_weight=1.0, linear_decay=False)
    latents, masks = AugmentedLatents([person], models, config, torch.Generator()).batch(0)

    def loss(step: TrainStep) -> float:
        generator = torch.Generator().manual_seed(5)
        nuisance = NuisanceTokens(1, basis.k, models.encoders)  # so that there is a gradient
        probe = DenoisingLoss(models, config.loss, generator, nuisance)
        return float(probe.backward(compose(basis, numbers(step)), latents, masks))

    steps = run([person], models, basis, config)
    assert loss(steps[-1]) < loss(steps[0])


def test_a_seed_decides_everything(people, models, basis, calibration):
    def coefficients(seed):
        config = replace(FAST, seed=seed)
        return numbers(run(people, models, basis, config, calibration=calibration)[-1])

    assert torch.equal(coefficients(1), coefficients(1))
    assert not torch.equal(coefficients(1), coefficients(2))


def test_without_a_config_it_is_the_best_preset(person, models, basis, calibration):
    last = fit_identities([person], models, basis, calibration=calibration)
    assert next(last).steps == PRESETS["best"].steps
    assert next(last).people[0].settings == {"preset": "best", "trained": 1}


def test_without_config_and_calibration_it_is_the_best_preset_for_that(person, models, basis):
    (ada,) = started(fit_identities([person], models, basis)).people
    assert ada.settings == {"preset": "best", "trained": 0, "regression_batch": 6}


REGRESSION = FAST.changed(regression_batch=2)


def test_without_a_calibration_the_regression_over_the_names_is_the_start(people, models, basis):
    steps = run(people[:2], models, basis, REGRESSION.changed(shrink=1.0))
    again = run(people[:2], models, basis, REGRESSION.changed(shrink=1.0))
    plain = numbers(next(fit_identities(people[:2], models, basis, FAST)))
    assert [step.step for step in steps] == [0] * 3 + [*range(1, FAST.steps + 1)]
    assert not any(step.people or step.checkpoint for step in steps[:2])  # one latent of each
    initial, found = numbers(steps[2]), numbers(steps[-1])
    assert torch.equal(found, numbers(again[-1]))
    assert not torch.allclose(initial, plain) and not torch.allclose(initial[0], initial[1])
    training = Training(people[:2], models, basis, REGRESSION)
    list(training.initialise())
    directions = training.mapper.directions
    moved = (found - initial).flatten(1).T
    assert moved.norm() > 0.1
    assert torch.allclose(directions @ torch.linalg.pinv(directions) @ moved, moved, atol=2e-2)


def test_half_precision_finds_nearly_the_same_start(person, half, models, basis):
    starts = [
        numbers(started(fit_identities([person], each, basis, REGRESSION))).flatten()
        for each in (half, models)
    ]
    assert torch.cosine_similarity(*starts, dim=0) > 0.9


def test_a_calibration_goes_before_the_regression(person, models, basis, calibration):
    with_both = run([person], models, basis, REGRESSION, calibration=calibration)[-1]
    assert torch.equal(
        numbers(with_both), numbers(run([person], models, basis, calibration=calibration)[-1])
    )


def test_a_resumed_training_does_not_compare_the_names_again(
    people, models, basis, tmp_path, monkeypatch
):
    whole = numbers(run(people, models, basis, REGRESSION)[-1])
    stopped_at(2, tmp_path / "state", people, models, basis, REGRESSION)
    monkeypatch.setattr(training_module, "regress_on_names", None)
    rest = run(people, models, basis, REGRESSION, resume=tmp_path / "state")
    assert torch.equal(numbers(rest[-1]), whole)


def test_instant_needs_a_calibration(person, models, basis):
    for config in (PRESETS["instant"], recipe("instant", None)):
        with pytest.raises(FeatureMissing, match=r"Tinyville has none.*best"):
            next(fit_identities([person], models, basis, config))


def test_names_must_be_good_and_distinct(person, models, basis):
    for who in ([], [person, person], [Person("a/b", person.faces)]):
        with pytest.raises(BadName):
            next(fit_identities(who, models, basis, FAST))


def test_joint_people_keep_their_own_faces(people, models, basis, calibration):
    result = fit(people, models, basis, FAST, calibration=calibration)
    assert list(result) == ["ada", "bob", "cleo"]
    assert not torch.equal(result["ada"].coefficients, result["bob"].coefficients)


def test_several_photos_of_one_person_are_one_face(people, models, basis, calibration):
    both = Person("ada", people[0].faces + people[2].faces)
    mean = people[0].faces[0].embedding + people[2].faces[0].embedding
    first = next(fit_identities([both], models, basis, FAST, calibration=calibration))
    expected = initial_coefficients((mean / mean.norm())[None], calibration, basis)
    assert torch.allclose(numbers(first), expected, atol=1e-2)
    alone = next(fit_identities([people[0]], models, basis, FAST, calibration=calibration))
    assert not torch.allclose(numbers(alone), expected, atol=1e-2)


def test_nuisance_tokens_learn_beside_the_person(people, models, basis):
    training = Training(people[:2], models, basis, FAST)
    tokens = training.loss.nuisance_tokens
    initial = tokens().detach().clone()
    training.update()
    moved = (tokens() - initial).flatten(1).norm(dim=1)
    assert len(moved) == 2 and bool((moved > 0).all())
    without = Training(people[:2], models, basis, FAST.changed(nuisance_tokens=False))
    assert without.loss.nuisance_tokens is None
    without.update()
    assert numbers(without.report({})).shape == numbers(training.report({})).shape
    assert not torch.equal(numbers(without.report({})), numbers(training.report({})))


@pytest.mark.parametrize("decay", [True, False])
def test_learning_rates_fall_together_if_they_are_to(decay, person, models, basis):
    training = Training([person], models, basis, FAST.changed(linear_decay=decay))
    rates = []
    while not training.finished():
        training.update()
        rates.append([group["lr"] for group in training.optimiser.param_groups])
    shares = torch.tensor(rates) / torch.tensor(rates[0])
    expected = [1, 0.775, 0.55, 0.325] if decay else [1.0] * 4
    assert torch.allclose(shares, torch.tensor(expected)[:, None].expand(4, 2))


# --- which coefficients are kept


def test_instant_is_the_initialisation_alone(person, models, basis, calibration):
    steps = run([person], models, basis, PRESETS["instant"], calibration=calibration)
    assert len(steps) == 1 and steps[0].step == 0
    face = person.faces[0].embedding[None]
    expected = initial_coefficients(face, calibration, basis)
    assert torch.allclose(numbers(steps[0]), expected, atol=1e-2)
    trained = run([person], models, basis, calibration=calibration)[-1]
    assert not torch.equal(numbers(steps[0]), numbers(trained))


def test_a_calibrated_training_moves_along_the_directions_alone(person, models, basis, calibration):
    steps = run([person], models, basis, FAST.changed(shrink=1.0), calibration=calibration)
    initial, found = (numbers(step).flatten() for step in (steps[0], steps[-1]))
    along = calibration.directions @ torch.linalg.pinv(calibration.directions)
    moved = found - initial
    assert moved.norm() > 0.1
    assert torch.allclose(along @ moved, moved, atol=2e-2)  # the file's half precision


def test_a_calibrated_training_ends_with_smaller_coefficients(person, models, basis, calibration):
    def coefficients(shrink, known):
        steps = run([person], models, basis, FAST.changed(shrink=shrink), calibration=known)
        return [numbers(step) for step in steps]

    whole, less = coefficients(1.0, calibration), coefficients(0.8, calibration)
    for step, (a, b) in enumerate(zip(whole, less, strict=True)):
        assert torch.allclose(a * (1 - 0.2 * step / FAST.steps), b, atol=2e-3)
    assert torch.equal(coefficients(0.8, None)[-1], coefficients(1.0, None)[-1])


def test_a_correction_is_added_more_with_every_step(person, models, basis, calibration):
    count = calibration.directions.shape[1]
    correction = torch.cat([-0.3 * torch.eye(count), torch.ones(count, 1)], 1)
    known = replace(calibration, correction=correction)
    along = torch.linalg.pinv(calibration.directions)

    def found(which):
        steps = run([person], models, basis, calibration=which)
        return [along @ numbers(step).flatten() for step in steps]

    plain, ours = found(calibration), found(known)
    for step, (a, b) in enumerate(zip(plain, ours, strict=True)):
        assert torch.allclose(a + step / FAST.steps * (1 - 0.3 * a), b, atol=2e-2)


def test_another_basis_calibration_is_refused(person, models, basis, calibration):
    other = replace(calibration, basis_id="another")
    with pytest.raises(BasisMismatch, match="another"):
        next(fit_identities([person], models, basis, FAST, calibration=other))


def test_the_average_starts_at_the_first_sample_and_the_papers_at_noise(person, models, basis):
    def after(steps=1, **changes):
        return numbers(run([person], models, basis, FAST.changed(steps=steps, **changes))[-1])[0]

    assert torch.equal(after(ema=0.99), after(ema=0.0))
    assert not torch.equal(after(steps=2, ema=0.99), after(steps=2, ema=0.0))
    noisy = after(norm="paper", ema=0.99) * basis.std  # after two images
    assert 0.8 < float(noisy[1].norm()) / basis.ranks[1] ** 0.5 < 1.2  # still the noise
    unit = after(norm="paper", ema=0.0) * basis.std
    assert float(unit[1].norm()) == pytest.approx(1, abs=1e-2)


# --- stop and resume


@pytest.mark.parametrize(
    ("preset", "dtype"), [("best", "float32"), ("best", "float16"), ("paper", "float32")]
)
def test_a_resumed_training_equals_an_uninterrupted_one(
    preset, dtype, people, models, half, basis, calibration, tmp_path
):
    models = half if dtype == "float16" else models
    config = PRESETS[preset].changed(steps=4, batch_size=2)
    setting = (people[:2], models, basis, config)
    whole = run(*setting, calibration=calibration)
    stopped_at(2, tmp_path / "run", *setting, calibration=calibration)
    # the calibration is gone by now, or another one
    rest = run(*setting, resume=tmp_path / "run")
    assert [step.step for step in rest] == [2, 3, 4]
    for ours, theirs in zip(rest, whole[2:], strict=True):
        assert torch.equal(numbers(ours), numbers(theirs))
    assert [step.losses for step in rest[1:]] == [step.losses for step in whole[3:]]
    assert rest[0].seconds > 0  # those of before count


def test_a_training_goes_on_from_a_checkpoint_in_memory_as_often_as_one_likes(
    people, models, basis, calibration
):
    setting = (people[:2], models, basis, FAST)
    whole = run(*setting, calibration=calibration)
    checkpoint = None
    for step in fit_identities(*setting, calibration=calibration):
        if step.step == 2:
            checkpoint = step.checkpoint()
            break
    for _ in range(2):  # the first one does not change what it started from
        rest = run(*setting, calibration=calibration, resume=checkpoint)
        assert [step.step for step in rest] == [2, 3, 4]
        assert torch.equal(numbers(rest[-1]), numbers(whole[-1]))
    tensors, metadata = checkpoint
    for damaged in (({}, metadata), (tensors, {}), ({**tensors, "kept": torch.ones(1)}, metadata)):
        with pytest.raises(ResumeMismatch, match="in memory"):
            next(fit_identities(*setting, calibration=calibration, resume=damaged))
    other = replace(FAST, seed=1)
    with pytest.raises(ResumeMismatch, match="another training"):
        next(fit_identities(*setting[:3], other, calibration=calibration, resume=checkpoint))


def test_a_resumed_training_keeps_the_correction_that_it_had(
    person, models, basis, calibration, tmp_path
):
    count = calibration.directions.shape[1]
    known = replace(calibration, correction=torch.ones(count, count + 1))
    stopped_at(2, tmp_path / "run", [person], models, basis, calibration=known)
    resumed = {"resume": tmp_path / "run", "calibration": calibration}
    rest = run([person], models, basis, **resumed)
    whole = run([person], models, basis, calibration=known)
    assert torch.equal(numbers(rest[-1]), numbers(whole[-1]))


def test_more_seconds_and_without_decay_more_steps_may_follow(person, models, basis, tmp_path):
    for decay in (False, True):
        config = FAST.changed(linear_decay=decay)
        stopped_at(2, tmp_path / "run", [person], models, basis, config)
        longer = replace(config, max_seconds=1e6)
        assert run([person], models, basis, longer, resume=tmp_path / "run")[-1].step == 4
        longer = replace(config, steps=5)
        if decay:
            with pytest.raises(ResumeMismatch, match="another training"):
                run([person], models, basis, longer, resume=tmp_path / "run")
        else:
            assert run([person], models, basis, longer, resume=tmp_path / "run")[-1].step == 5


def test_other_settings_cannot_resume(person, people, models, basis, tmp_path):
    stopped_at(0, tmp_path / "run", [person], models, basis)
    others = [
        ([person], models, basis, replace(FAST, seed=9)),
        ([person], models, basis, FAST.changed(ema=0.5)),
        (people[:2], models, basis, FAST),
        ([person], replace(models, id="another"), basis, FAST),
        ([person], models, replace(basis, id="another"), FAST),
    ]
    for setting in others:
        with pytest.raises(ResumeMismatch, match="another training"):
            next(fit_identities(*setting, resume=tmp_path / "run"))


def test_what_is_no_checkpoint_cannot_resume(person, models, basis, tmp_path):
    path = tmp_path / "run"
    stopped_at(1, path, [person], models, basis)
    whole = path.read_bytes()
    for content in (b"broken", whole[:-9], whole.replace(b'"run"', b'"ran"')):
        path.write_bytes(content)
        with pytest.raises(ResumeMismatch, match="no training checkpoint .* anew"):
            next(fit_identities([person], models, basis, FAST, resume=path))
    with pytest.raises(ResumeMismatch, match="anew"):
        next(fit_identities([person], models, basis, FAST, resume=tmp_path / "missing"))


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"kept": torch.zeros(2, 2, 3)}, {}),
        ({"kept": torch.zeros(1, 2, 37).long()}, {}),
        ({"kept": torch.full((1, 2, 37), torch.nan)}, {}),
        ({"nuisance_tokens": torch.zeros(1)}, {}),
        ({"generator": torch.zeros(3)}, {}),
        ({"generator": torch.zeros(5056, dtype=torch.uint8)}, {}),
        ({"mapper.linear.bias": torch.zeros(5)}, {}),
        ({"mapper.directions": torch.zeros(5, 2)}, {}),
        ({"optimizer.0.exp_avg": torch.zeros(5)}, {}),
        ({"optimizer.0.exp_avg": torch.tensor(1.0)}, {}),
        ({"optimizer.9.step": torch.tensor(1.0)}, {}),
        ({"optimizer.0.other": torch.tensor(1.0)}, {}),
        ({"optimizer": torch.tensor(1.0)}, {"run": "[" * 5000}),
        ({"optimizer.x": torch.tensor(1.0)}, {}),
        ({}, {"step": "-1"}),
        ({}, {"step": "1e9"}),
        ({}, {"seconds": "nan"}),
        ({}, {"scaler": "[1]"}),
        ({}, {"scaler": '{"scale": NaN}'}),
        ({}, {"run": "5"}),
        ({}, {"run": '[["ada"], 1, 2, 3]'}),
    ],
)
def test_a_checkpoint_of_a_stranger_is_checked(tensors, metadata, person, models, basis, tmp_path):
    path = tmp_path / "run"
    stopped_at(2, path, [person], models, basis)
    with safe_open(path, framework="pt") as file:
        old, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    assert "optimizer.0.exp_avg" in old and "nuisance_tokens" in old
    save_file(old | tensors, path, about | metadata)
    with pytest.raises(ResumeMismatch, match="no training checkpoint .* anew"):
        next(fit_identities([person], models, basis, FAST, resume=path))
    save_file(
        {"kept": old["kept"] * torch.nan} | old | {"kept": old["kept"] * torch.nan}, path, about
    )
    with pytest.raises(ResumeMismatch, match="not finite"):
        next(fit_identities([person], models, basis, FAST, resume=path))


def test_a_step_of_no_training_has_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="no training"):
        save_checkpoint(TrainStep(0, 1, {}, 0.0, None), tmp_path / "run")


# The metadata of checkpoints as version 0.1 wrote them, of trainings of 4 steps with batch size 2.
FORMAT_1 = {
    "best": """["celeb-training 1", ["ada", "bob"], "BASIS", "MODEL", {"preset": "best",
        "steps": 4, "batch_size": 2, "learning_rate": 0.002, "weight_decay": 0.01, "decay": true,
        "max_seconds": null, "seed": 0, "norm": "free", "calibrated": true,
        "calibrated_rate": 0.1, "ema": 0.97, "ema_from_noise": false, "shrink": 0.9, "views": 24,
        "flip": true, "jitter": 0.0, "smallest": 0.92, "canvas": "edge", "templates": "studio",
        "prompts": 1, "photo_words": true, "photo_rate": 0.1, "background": 0.2, "features": 3.0,
        "gradients": "way up", "stratified": true, "log_snr_min": -1.5, "log_snr_max": 1.5}]""",
    "paper": """["celeb-training 1", ["ada", "bob"], "BASIS", "MODEL", {"preset": "paper",
        "batch_size": 2, "learning_rate": 0.01, "weight_decay": 0.01, "decay": false,
        "max_seconds": null, "seed": 0, "norm": "paper", "calibrated": false,
        "calibrated_rate": 0.1, "ema": 0.99, "ema_from_noise": true, "shrink": 1.0, "views": 0,
        "flip": true, "jitter": 0.2, "smallest": 0.1, "canvas": "black", "templates": "paper",
        "prompts": 2, "photo_words": false, "photo_rate": 0.1, "background": 1.0,
        "features": 0.0, "gradients": "exact", "stratified": false, "log_snr_min": -Infinity,
        "log_snr_max": Infinity}]""",
}


@pytest.mark.parametrize(
    ("preset", "calibrated"), [("best", True), ("best", False), ("paper", False)]
)
def test_a_checkpoint_of_format_1_resumes(
    preset, calibrated, people, models, basis, calibration, tmp_path
):
    config = PRESETS[preset].changed(steps=4, batch_size=2)
    if preset == "best":  # as it was then
        config = config.changed(shrink=0.9, gradients="truncated")
    setting = (people[:2], models, basis, config)
    known = calibration if calibrated else None
    stopped_at(2, tmp_path / "new", *setting, calibration=known)
    with safe_open(tmp_path / "new", framework="pt") as file:
        names = set(file.keys())
        tensors, metadata = {name: file.get_tensor(name) for name in names}, file.metadata()
    if preset == "best":
        tensors["photo_words"] = tensors.pop("nuisance_tokens")
    if not calibrated:
        tensors["mapper.radius"] = torch.ones(2)  # every plain mapper had one
    old_run = FORMAT_1[preset].replace("BASIS", basis.id).replace("MODEL", models.id)
    metadata |= {"format": "celeb-training 1", "run": json.dumps(json.loads(old_run))}
    save_file(tensors, tmp_path / "old", metadata)
    rest = run(*setting, resume=tmp_path / "old")
    whole = run(*setting, calibration=known)
    assert [step.step for step in rest] == [2, 3, 4]
    assert torch.equal(numbers(rest[-1]), numbers(whole[-1]))
    for changes in ({"seed": 1}, {"learning_rate": 3e-3}):
        with pytest.raises(ResumeMismatch, match="another training"):
            run(*setting[:3], setting[3].changed(**changes), resume=tmp_path / "old")


# --- time


@pytest.fixture
def clock(monkeypatch):
    """Time that passes in the loss alone, 10 seconds of it in every step."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        "celeb_core.training_run.time", SimpleNamespace(perf_counter=lambda: clock.now)
    )
    backward = DenoisingLoss.backward

    def slow(*args):
        clock.now += 10
        return backward(*args)

    monkeypatch.setattr(DenoisingLoss, "backward", slow)
    return clock


def test_no_step_is_begun_that_would_pass_the_limit(clock, person, models, basis, tmp_path):
    config = replace(FAST, steps=1000, max_seconds=35)
    steps = run([person], models, basis, config)
    assert [step.seconds for step in steps] == [0, 10, 20, 30]
    assert [step.seconds_left for step in steps] == [None, 25, 15, 5]
    save_checkpoint(steps[-1], tmp_path / "run")
    more = run([person], models, basis, replace(config, max_seconds=41), resume=tmp_path / "run")
    assert [step.seconds for step in more] == [30, 40]


def test_the_seconds_that_are_left_are_those_of_the_steps(clock, person, models, basis):
    steps = run([person], models, basis)
    assert [step.seconds_left for step in steps] == [None, 30, 20, 10, 0]


# --- precision


def overflowing(training: Training, times: int) -> list[float]:
    """Make the first gradients infinite; returns the scales of the losses that were tried."""
    scales: list[float] = []

    def overflow(gradient: torch.Tensor) -> torch.Tensor:
        scales.append(training.scaler.get_scale())
        return gradient * float("inf") if len(scales) <= times else gradient

    next(training.mapper.parameters()).register_hook(overflow)
    return scales


def test_float16_survives_an_overflow(person, half, basis, tmp_path):
    training = Training([person], half, basis, FAST)
    scales = overflowing(training, times=2)
    initial = numbers(training.report({}))
    losses = training.update()
    assert scales == [65536.0, 32768.0, 16384.0] and np.isfinite(losses["ada"])
    after = training.report(losses)
    assert after.step == 1 and not torch.equal(numbers(after), initial)
    assert all(p.dtype == torch.float32 for p in training.mapper.parameters())
    assert all(p.isfinite().all() for p in training.mapper.parameters())
    save_checkpoint(after, tmp_path / "run")
    resumed = Training([person], half, basis, FAST)
    restore(resumed, tmp_path / "run")
    assert resumed.scaler.get_scale() == 16384.0


def test_a_loss_that_is_no_number_is_an_error(person, models, basis, monkeypatch):
    training = Training([person], models, basis, FAST)
    monkeypatch.setattr(training.loss, "backward", lambda *_: torch.tensor([float("nan")]))
    with pytest.raises(TrainingDiverged, match="at step 1. .* learning rate"):
        training.update()


def test_gradients_of_a_float16_unet_are_those_of_the_float32_one(person, models, half, basis):
    gradients = []
    for each in (models, half):
        training = Training([person], each, basis, FAST)
        training.update()
        weights = [*training.mapper.parameters(), *training.loss.nuisance_tokens.parameters()]
        gradients.append([weight.grad.flatten() for weight in weights])
    for full, ours in zip(*gradients, strict=True):
        assert torch.cosine_similarity(full, ours, dim=0) > 0.98
        assert 0.9 < float(ours.norm() / full.norm()) < 1.1  # the scale is taken out again


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"steps": -3}, "Steps is -3: give a whole number from 0"),
        ({"steps": 1e30}, "Steps is 1e\\+30"),
        ({"batch_size": 0}, "Batch size is 0"),
        ({"seed": 99999999999999999999}, "Seed is 99999999999999999999"),
        ({"seed": float("nan")}, "Seed is not a finite number"),
        ({"max_seconds": float("inf")}, "Max seconds is not a finite number"),
        ({"learning_rate": float("nan")}, "Learning rate is not a finite number"),
        ({"calibrated_learning_rate": -1.0}, "Calibrated learning rate is -1"),
        ({"views": 2.5}, "Views is 2.5"),
        ({"people_per_step": 0}, "People per step is 0"),
    ],
)
def test_numbers_out_of_their_range_are_refused(person, models, basis, wrong, says):
    with pytest.raises(SettingsError, match=says):
        next(fit_identities([person], models, basis, FAST.changed(**wrong)))


# --- some of the people in each step


SOME = FAST.changed(people_per_step=2, steps=6)


@pytest.fixture(scope="module")
def five(people):
    return [Person(f"p{number}", people[number % 3].faces) for number in range(5)]


def test_people_have_their_turns(five, models, basis, monkeypatch):
    sizes, predict = [], DenoisingLoss.predict
    monkeypatch.setattr(
        DenoisingLoss,
        "predict",
        lambda loss, *args: sizes.append(len(args[0])) or predict(loss, *args),
    )
    steps = run(five, models, basis, SOME)
    turns = [list(step.losses) for step in steps[1:]]
    assert all(len(step.people) == 5 for step in steps)
    for round_ in (turns[:2], turns[2:4], turns[4:]):  # nobody twice before it is the others' turn
        assert len({name for turn in round_ for name in turn}) == 4
    assert len({tuple(turn) for turn in turns}) > 2
    batch = AugmentedLatents(five, models, SOME, torch.Generator()).batch_size
    assert sizes == [2 * batch] * 6  # a step is of two people, however many there are
    assert steps[-1].people[0].settings["people_per_step"] == 2


def test_people_by_turns_resume_where_they_were(five, models, basis, calibration, tmp_path):
    for known in (None, calibration):
        whole = numbers(run(five, models, basis, SOME, calibration=known)[-1])
        stopped_at(3, tmp_path / "state", five, models, basis, SOME, calibration=known)
        rest = run(five, models, basis, SOME, calibration=known, resume=tmp_path / "state")
        assert [step.step for step in rest] == [3, 4, 5, 6]
        assert torch.equal(numbers(rest[-1]), whole)


def test_everybody_in_a_step_is_the_joint_training(people, models, basis):
    whole = numbers(run(people, models, basis)[-1])
    for count in (3, 10):
        config = FAST.changed(people_per_step=count)
        assert torch.equal(numbers(run(people, models, basis, config)[-1]), whole)


def test_nuisance_tokens_stay_while_it_is_the_turn_of_others(five, models, basis):
    training = Training(five, models, basis, SOME)
    training.update()
    before = training.loss.nuisance_tokens.offsets.detach().clone()
    first = set(training.picked)
    training.update()
    after, moved = training.loss.nuisance_tokens.offsets.detach(), set(training.picked)
    changed = (after != before).flatten(1).any(1).nonzero().flatten().tolist()
    assert set(changed) == moved and not first & moved
    # Their first step is as long as that of people who are alone.
    alone = Training(five[:1], models, basis, FAST)
    alone.update()
    assert torch.allclose(
        after[list(moved)].abs().amax(), alone.loss.nuisance_tokens.offsets.abs().amax(), rtol=0.2
    )
