from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch

from celeb_core import PRESETS, TrainConfig, TrainStep, recipe
from celeb_core.types import GROUPS, PromptEmbeds


def other(value):
    """A value of the same kind that is not this one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "?"
    return (value or 0) + 1 if value not in (math.inf, -math.inf) else 0.5


def test_every_field_of_a_config_is_found_by_a_name_of_its_own():
    config = TrainConfig()
    groups = [getattr(config, name) for name in GROUPS]
    names = [field.name for part in (config, *groups) for field in fields(part)]
    assert set(GROUPS) < set(names) and len(names) == len(set(names))
    assert set(config.flat()) == set(names) - set(GROUPS)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_config_is_made_from_its_flat_fields(preset):
    flat = PRESETS[preset].flat()
    assert flat["preset"] == preset
    assert TrainConfig().changed(**flat) == PRESETS[preset]
    assert PRESETS["paper"].changed(**flat) == PRESETS[preset]


@pytest.mark.parametrize("name", TrainConfig().flat())
def test_one_field_changes_and_no_other(name):
    before = PRESETS["paper"].flat()
    after = PRESETS["paper"].changed(**{name: other(before[name])}).flat()
    assert after == before | {name: other(before[name])} != before
    assert PRESETS["paper"].flat() == before


@pytest.mark.parametrize("name", ["weight_decay", "loss", "mapper", "stepz"])
def test_an_unknown_field_is_refused(name):
    with pytest.raises(TypeError, match=f"no field {name}"):
        TrainConfig().changed(steps=3, **{name: 0})


def test_what_differs_from_the_preset():
    assert all(config.unusual() == {} for config in PRESETS.values())
    changed = PRESETS["fast"].changed(steps=7, ema=0.5, seed=0, gradients="truncated")
    assert changed.unusual() == {"steps": 7, "ema": 0.5, "gradients": "truncated"}
    assert TrainConfig(preset="of my own", seed=3).unusual() == {"preset": "of my own", "seed": 3}


def test_without_a_calibration_a_preset_is_another_recipe(calibration):
    for name, config in PRESETS.items():
        assert recipe(name, calibration) == config
    assert recipe("paper", None) == PRESETS["paper"]
    for name in ("fast", "best"):
        config = recipe(name, None)
        assert config.unusual() == {"regression_batch": 6}
        assert config.steps == PRESETS[name].steps


@pytest.mark.parametrize("pooled", [True, False])
def test_a_function_is_mapped_over_embeds(pooled):
    embeds = PromptEmbeds(torch.randn(3, 7, 4), torch.randn(3, 2) if pooled else None)
    rows = torch.tensor([2, 0, 2])
    taken, zeros = embeds.map(lambda tensor: tensor[rows]), embeds.map(torch.zeros_like)
    assert torch.equal(taken.hidden_states, embeds.hidden_states[rows])
    assert zeros.hidden_states.shape == (3, 7, 4) and not zeros.hidden_states.any()
    if pooled:
        assert torch.equal(taken.pooled, embeds.pooled[rows])
        assert zeros.pooled.shape == (3, 2) and not zeros.pooled.any()
    else:
        assert taken.pooled is None and zeros.pooled is None


def test_the_loss_of_a_step_is_the_mean_over_the_people():
    assert TrainStep(1, 9, {"ada": 1.0, "bob": 2.0}, 0.5, None).loss == 1.5
    assert TrainStep(0, 9, {}, 0.0, None).loss != TrainStep(0, 9, {}, 0.0, None).loss  # nan
