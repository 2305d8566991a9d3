from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import portrait

from celeb_core import evaluate_quick, load_studio
from celeb_core import evaluation as module
from celeb_core.errors import FeatureMissing
from celeb_core.evaluation import as_table, evaluate_interpolation, evaluate_joint, load_bench
from celeb_core.presets import PRESETS

ROWS = ("celebrities", "instant", "trained", "paper")


@pytest.fixture(scope="module")
def measured(measured_world):
    return load_studio(measured_world, device="cpu")


@pytest.fixture
def short(monkeypatch):
    quick = {name: replace(config, steps=min(config.steps, 2)) for name, config in PRESETS.items()}
    monkeypatch.setattr(module, "PRESETS", quick)


def test_other_seeds_draw_other_people(measured):
    first, again, other = (load_bench(measured, seed, 5) for seed in (0, 0, 1))
    assert first.index == again.index != other.index
    assert first.celebrities == again.celebrities != other.celebrities
    assert len(first.people) == 5


def test_photos_and_gallery_belong_together(measured):
    bench = load_bench(measured, 3, 4)
    for person, index in zip(bench.people, bench.index, strict=True):
        face = person.faces[0]
        picture = portrait(255 - 4 * index)
        assert float(bench.judge.embed(picture, [face])[0] @ bench.gallery[index]) > 0.999


def test_quick_gives_exactly_the_agreed_keys(measured, short):
    result = evaluate_quick(measured, seed=1, people=2)
    for row in ROWS:
        assert set(result[row]) == {"identity", "identity_edits", "prompt", "seconds"}
        assert all(isinstance(value, float) for value in result[row].values())
    assert set(result["pairs"]) == {"found", "rank1"}
    assert result["celebrities"]["seconds"] == 0 and result["instant"]["seconds"] < 1
    table = as_table(result)
    assert all(row in table for row in ROWS) and "pairs" in table


def test_some_rows_only(measured, short):
    result = evaluate_quick(measured, people=1, rows=["instant"])
    assert set(result) == {"celebrities", "instant"}
    table = as_table(result)
    assert "instant" in table and "paper" not in table and "pairs" not in table


def test_perfect_pictures_score_one(measured, short, monkeypatch):
    """A generator that draws the very photo of whoever is asked for."""
    bench = load_bench(measured, 0, 3)
    shades = {person.name: 255 - 4 * i for person, i in zip(bench.people, bench.index, strict=True)}

    def draw(studio, prompts, seed, same_seed=False):
        pictures = []
        for prompt in prompts:
            names = list(prompt.identities)
            picture = portrait(shades[names[0]]) if names else portrait(100)
            if len(names) == 2:
                picture = portrait(shades[names[0]], at=(0, 0))
                right = portrait(shades[names[1]], at=(2, 2))
                picture.paste(right.crop((64, 64, 128, 128)), (64, 64))
            pictures.append(picture)
        return pictures

    monkeypatch.setattr(module, "_draw", draw)
    result = evaluate_quick(measured, seed=0, people=3)
    assert result["trained"]["identity"] == pytest.approx(1, abs=1e-3)
    assert result["trained"]["identity_edits"] == pytest.approx(1, abs=1e-3)
    assert result["celebrities"]["identity"] == 0  # portrait(100) is too dark to be a face
    assert result["pairs"]["found"] == 1


def test_joint_and_interpolation_report_their_numbers(measured, short, monkeypatch):
    joint = evaluate_joint(measured, people=2)
    assert joint["times_one"] > 0 and "identity_joint" in joint

    def fading(studio, prompts, seed, same_seed=False):
        assert same_seed
        return [portrait(200 + 5 * i) for i in range(len(prompts))]

    monkeypatch.setattr(module, "_draw", fading)
    result = evaluate_interpolation(measured, pairs=2)
    assert result["faces"] == 1 and result["rank_correlation"] > 0.9


def test_models_without_an_evaluation_set(studio):
    with pytest.raises(FeatureMissing, match="toonville"):
        evaluate_quick(studio)
