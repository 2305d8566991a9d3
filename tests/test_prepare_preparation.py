from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import celebrity_names, portrait

from celeb_core import PRESETS, load_calibration, recipe, save_calibration
from celeb_core.many.pools import Processes
from celeb_core.many.work import StudioOptions
from celeb_core.many.workers import Here, KeptPool, Workers
from celeb_core.prepare import calibration as calibration_module
from celeb_core.prepare import positions as positions_module
from celeb_core.prepare import preparation as module
from celeb_core.prepare import stand_ins as stand_ins_module
from celeb_core.prepare.positions import cost
from celeb_core.prepare.preparation import LEVELS, Level, planned_cost, prepare_model, spread
from celeb_core.types import TrainConfig

NAMES = tuple(celebrity_names()[:16])
SMALL = Level(names=16, sampling_steps=1, stand_ins=2, per_position=1, search=False)


def short_recipe(preset, calibration):
    return recipe(preset, calibration).changed(steps=1, batch_size=1, views=1)


GENERATING = (calibration_module, positions_module, stand_ins_module)


def generate_each(prompts, models, basis, config):
    return [portrait(255 - 9 * (len(prompt.text) % 9)) for prompt in prompts]


def with_few(studio):
    return replace(studio, basis=replace(studio.basis, names=NAMES))


class FewOptions(StudioOptions):
    """Of a worker process whose portraits show a face, as in `few`."""

    def load(self, device, require_faces=True):
        for one in GENERATING:
            one.generate_each = generate_each
        return with_few(super().load(device, require_faces))


@pytest.fixture(scope="module")
def few(studio):
    """A studio with few celebrities, whose portraits all show a face; trainings are short."""
    generated = []

    def counted(prompts, *rest):
        generated.extend(prompts)
        return generate_each(prompts, *rest)

    with pytest.MonkeyPatch.context() as patch:
        for module_that_generates in GENERATING:
            patch.setattr(module_that_generates, "generate_each", counted)
        patch.setitem(LEVELS, "quick", SMALL)
        patch.setattr(calibration_module, "TEXT_MIXTURES", 100)
        patch.setattr(module, "recipe", short_recipe)
        yield with_few(studio), generated


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The folder of `steps`."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def steps(few, work):
    """All steps of a preparation."""
    return list(prepare_model(few[0], work, made_by="Ada"))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_same(one, other):
    for part in ("face_embeddings", "down", "up", "bias", "directions"):
        assert torch.equal(getattr(one, part), getattr(other, part)), part
    assert one.settings == other.settings and one.framing == other.framing
    assert one.person_positions == other.person_positions
    timed = ("seconds", "date", "made_by")
    reports = [{k: v for k, v in dict(of.report).items() if k not in timed} for of in (one, other)]
    assert reports[0] == reports[1]


def test_a_model_is_prepared_and_trained_as_it_says(few, steps, tmp_path):
    studio, _ = few
    assert all(a.done <= b.done for a, b in zip(steps, steps[1:], strict=False))
    assert steps[-1].done == steps[-1].total and steps[-1].seconds_left == 0
    assert all(step.result is None for step in steps[:-1])
    result = steps[-1].result
    assert result is not None and len(result.names) == 16
    report = result.report
    assert (report["level"], report["made_by"]) == ("quick", "Ada")
    assert report["portraits"] == "16 of 16 with a face" and len(report["held_out"]) == 2
    assert set(report["held_out"]) < set(NAMES) and len(report["identity_over_by_name"]) == 2
    assert "result" in report["self_check"][-1]
    assert recipe("best", result).flat() == PRESETS["best"].changed(**result.settings).flat()
    assert result.person_positions.first.positions[0] == 1
    path = tmp_path / "calibration.safetensors"
    save_calibration(result, path)
    loaded = load_calibration([path], studio.faces.id, studio.basis.id)
    assert loaded is not None
    assert (dict(loaded.settings), dict(loaded.report)) == (result.settings, report)
    assert loaded.person_positions == result.person_positions


def test_a_killed_preparation_goes_on(few, tmp_path):
    studio, generated = few
    steps = prepare_model(studio, tmp_path)
    next(steps), next(steps)  # one batch of eight
    steps.close()
    generated.clear()
    *_, last = prepare_model(studio, tmp_path)
    portraits = [one for one in generated if one.text.count(" ") <= 5]
    first = last.result
    generated.clear()
    *_, again = prepare_model(studio, tmp_path)
    assert torch.equal(again.result.up, first.up) and len(portraits) > len(generated)
    files = {path.name for path in Path(tmp_path).iterdir()}
    assert sum(name.startswith("faces-") for name in files) == 2  # of eight portraits each


def test_processes_get_the_same_result(few, steps, tmp_path):
    (studio, _), folder = few, tmp_path / "two"
    shards = [Here(studio, (index, 2)) for index in (0, 1)]
    for _ in zip(*(prepare_model(studio, folder, makers=shard) for shard in shards), strict=False):
        pass
    *_, last = prepare_model(studio, folder, makers=shards[1])
    assert_same(last.result, steps[-1].result)


@pytest.mark.slow
def test_worker_processes_get_the_same_result_to_the_bit(
    few, steps, work, world, tmp_path, forking
):
    studio, generated = few
    assert torch.get_num_threads() == 1  # as workers have
    pool = KeptPool(Processes(["cpu", "cpu"]))
    generated.clear()
    try:
        *_, last = prepare_model(studio, tmp_path, makers=Workers(pool, FewOptions(str(world))))
    finally:
        pool.end()
    assert_same(last.result, steps[-1].result)
    assert contents(tmp_path) == contents(work)
    kinds = {name.split("-")[0] for name in contents(work)}
    assert kinds == {"faces", "positions", "person", "score"}
    stand_ins = 2 * 3  # of whom this process generates portraits, and the chosen ones by name
    assert len(generated) == stand_ins * 4 + 2 * 4


def test_settings_apply_to_what_is_calibrated_alone(calibration):
    settings = {"steps": 120, "shrink": 0.8, "min_log_snr": 0.5}
    own = replace(calibration, settings=settings)
    assert recipe("best", own).steps == 120 and recipe("fast", own).steps == 40
    assert recipe("instant", own).steps == 0 and recipe("fast", own).mapper.shrink == 0.8
    assert recipe("paper", own) == PRESETS["paper"]
    assert recipe("best", own).unusual() == settings
    started = replace(calibration, settings={"calibrated": False, "regression_batch": 6})
    assert recipe("best", started).flat() == recipe("best", None).changed(calibrated=False).flat()
    for preset in ("instant", "fast"):
        assert recipe(preset, started).flat() == PRESETS[preset].flat()


def test_names_are_spread_over_the_list():
    assert spread("abcdef", 3) == ("a", "c", "e") and spread("ab", 3) == ("a", "b")


def test_the_positions_of_people_take_a_tenth_of_the_quick_level(studio):
    plan = Level(names=300, sampling_steps=8, stand_ins=1, per_position=2, search=False)
    whole = replace(studio, basis=replace(studio.basis, names=("a",) * 300))
    without = planned_cost(replace(plan, per_position=0), whole)
    assert planned_cost(plan, whole) < 1.11 * without


def test_the_cost_is_counted_in_latents(few):
    studio, _ = few
    config = TrainConfig()
    trial = 2 * (config.steps * config.batch_size * 3 + 4 * 2)
    positions = round(cost(1)) * 2
    assert planned_cost(SMALL, studio) == 16 * 2 + trial + 2 * 6 * 350 + positions
    searched = planned_cost(replace(SMALL, search=True), studio)
    assert searched > 16 * 2 + 10 * trial
