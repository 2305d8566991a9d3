from __future__ import annotations

import json
import sys

import pytest
from conftest import portrait

from bench import claims as module
from bench.claims import evaluate_interpolation, evaluate_joint
from celeb_core import load_studio
from celeb_core.types import PRESETS


@pytest.fixture(scope="module")
def measured(measured_world):
    return load_studio(measured_world, device="cpu")


def test_joint_training_is_compared_with_trainings_one_by_one(measured, monkeypatch):
    quick = PRESETS["best"].changed(steps=2, views=2, batch_size=2)
    monkeypatch.setattr(module, "recipe", lambda preset, calibration: quick)
    joint = evaluate_joint(measured, people=2)
    assert joint["times_one"] == joint["seconds_joint"] / joint["seconds_single"] > 0
    scores = {"identity_single", "identity_joint", "identity_edits_single", "identity_edits_joint"}
    assert scores < set(joint)


def test_interpolation_is_ranked_by_the_judge_at_one_seed_per_pair(measured, monkeypatch):
    seeds = []

    def fading(prompt, models, basis, config):
        seeds.append(config.seed)
        return [portrait(200 + 5 * ((len(seeds) - 1) % 9))]

    monkeypatch.setattr(module, "generate", fading)
    result = evaluate_interpolation(measured, pairs=2)
    assert result["faces"] == 1 and result["rank_correlation"] > 0.9
    assert len(seeds) == 18 and len(set(seeds[:9])) == len(set(seeds[9:])) == 1


def test_command(world, measured_world, monkeypatch, capsys):
    for name in ("evaluate_joint", "evaluate_interpolation"):
        monkeypatch.setattr(module, name, lambda studio, seed, name=name: {name: seed})
    monkeypatch.setattr(sys, "argv", ["prog", "--model", str(measured_world), "--seed", "3"])
    assert module.main() == 0
    printed = json.loads(capsys.readouterr().out)
    joint, interpolation = {"evaluate_joint": 3}, {"evaluate_interpolation": 3}
    assert printed == {"joint": joint, "interpolation": interpolation}
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", ["prog", "--model", str(world)])
    assert module.main() == 1
    assert "no evaluation set" in capsys.readouterr().err
