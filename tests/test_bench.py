"""The benchmark on a model of toy size: all variants run and the table has their ratios."""

from __future__ import annotations

import json
import math
import sys

import pytest

from bench import __main__ as command
from bench import training, variants, worker
from celeb_core import PRESETS, load_models, load_studio
from celeb_core.augmentation import AugmentedLatents
from celeb_core.evaluation.data import load_evaluation_set


@pytest.fixture
def toy(world, monkeypatch):
    def pipeline(dtype, *_, **__):
        loaded = load_models(world, device="cpu").pipeline
        loaded.unet.to(dtype)
        loaded.vae.to(dtype)
        loaded.set_progress_bar_config(disable=True)
        return loaded

    monkeypatch.setattr(variants, "random_pipeline", pipeline)
    names = (world / "names.txt").read_text(encoding="utf-8").splitlines()
    monkeypatch.setattr(variants, "NAMES", names)


@pytest.mark.parametrize(
    "name", ["ours", "ours+float32+full", "ours+vae", "ours+exact+checkpointing", "official"]
)
def test_every_variant_is_measured(toy, name):
    found = worker.measure(name, "cpu", batch=1, steps=2, image=False)
    assert len(found["steps"]) == 2 and all(seconds > 0 for seconds in found["steps"])
    assert 0 < found["loaded"] < 100 and found["peak"] > 0
    assert found["once_share"] == (0.05 if name.startswith("ours") else 0)


def test_an_image_is_measured_after_the_steps(toy):
    found = worker.measure("ours", "cpu", batch=1, steps=1, image=True)
    assert found["image"] > 0 and found["image_peak"] > 0


def test_a_photo_is_encoded_once_by_us_and_at_every_step_by_the_official_settings(toy, monkeypatch):
    encoded, encode = [], AugmentedLatents.encode

    def counted(self, *arguments):
        encoded.append(arguments)
        return encode(self, *arguments)

    monkeypatch.setattr(AugmentedLatents, "encode", counted)
    for name, times in (("ours", 1), ("ours+vae", 3), ("official", 3)):
        encoded.clear()
        worker.measure(name, "cpu", batch=1, steps=3, image=False)
        assert len(encoded) == times


def test_a_table_of_ratios(monkeypatch, tmp_path, capsys):
    asked = []

    def run_worker(name, options, image):
        asked.append((name, image))
        seconds, peak = (1.0, 3.0) if name == "ours" else (2.0, 6.0)
        row = {"variant": name, "about": "x", "steps": [seconds] * 2, "peak": peak}
        return row | ({"once": 2.0, "once_share": 0.05} if name == "ours" else {})

    monkeypatch.setattr(command, "run_worker", run_worker)
    path = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["bench", "--json", str(path)])
    assert command.main() == 0
    assert [image for _, image in asked] == [True, True, False, False, False, False]
    table = capsys.readouterr().out
    assert "0.55x (goal 0.55) | 0.50x (goal 0.6)" in table and "0.55x (goal 0.4)" in table
    rows = {row["variant"]: row for row in json.loads(path.read_text())["rows"]}
    assert math.isclose(rows["ours"]["with_share"], 1.1)
    asked.clear()
    monkeypatch.setattr(sys, "argv", ["bench", "--ingredients", "--rounds", "1"])
    assert command.main() == 0
    assert [name for name, _ in asked][:2] == ["ours", "ours+weights"]


def test_whole_trainings_are_compared_by_their_steps(measured_world, tmp_path, monkeypatch, capsys):
    scores = iter([0.5, 0.1, 0.3, 0.6])
    monkeypatch.setattr(
        training, "score_people", lambda *_: dict.fromkeys(training.SHOWN, next(scores))
    )
    monkeypatch.setattr(training, "SCORED_STEPS", (0, 1, 2, 3))
    measured = {
        "rows": [{"variant": "ours", "step": 1.0}, {"variant": "official", "step": 2.0}],
        "runs": {"ours": [{"once": 3.0}]},
    }
    (tmp_path / "full.json").write_text(json.dumps(measured))
    quick = PRESETS["best"].changed(steps=3, views=2, batch_size=2)
    monkeypatch.setitem(PRESETS, "best", quick)
    files = ["--full-size", str(tmp_path / "full.json"), "--json", str(tmp_path / "found.json")]
    people = ["--people", "2", "--official-steps", "2"]
    monkeypatch.setattr(sys, "argv", ["prog", "--model", str(measured_world), *people, *files])
    assert training.main() == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["reached"] == 2 and list(found["ours"]) == ["0", "1", "2"]
    # two encoded views and two steps of two images, over two steps of two images
    assert found["ratio"] == (3.0 * 2 + 2 * 2 * 1.0) / (2 * 2 * 2.0)
    assert "reached after 2 steps" in capsys.readouterr().out


def test_trainings_go_no_further_than_asked(measured_world, monkeypatch):
    studio = load_studio(measured_world, device="cpu")
    data = load_evaluation_set(studio, 0, 1)
    config = PRESETS["best"].changed(steps=9, views=2, batch_size=2)
    (person,) = data.people
    stops = training.train_until(studio, data, config, (0, 2))
    trained = [(steps, people[person.name].settings["trained"]) for steps, people in stops]
    assert trained == [(0, 0), (2, 2)]
