from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import portrait

from celeb_core import evaluation as module
from celeb_core import load_studio
from celeb_core.errors import FeatureMissing
from celeb_core.evaluation import evaluate, format_table, load_evaluation_set
from celeb_core.types import recipe

ROWS = ("celebrities", "instant", "trained", "unprepared", "paper")


@pytest.fixture(scope="module")
def measured(measured_world, calibration):
    return replace(load_studio(measured_world, device="cpu"), calibration=calibration)


@pytest.fixture
def short(monkeypatch):
    def quick(preset, calibration):
        config = recipe(preset, calibration)
        return config.changed(steps=min(config.steps, 2), views=2, batch_size=2)

    monkeypatch.setattr(module, "recipe", quick)


def test_other_seeds_choose_other_people(measured):
    first, again, other = (load_evaluation_set(measured, seed, 5) for seed in (0, 0, 1))
    assert first.index == again.index != other.index
    assert first.celebrities == again.celebrities != other.celebrities
    assert len(first.people) == 5


def test_photos_and_gallery_belong_together(measured):
    data = load_evaluation_set(measured, 3, 4)
    for person, index in zip(data.people, data.index, strict=True):
        face = person.faces[0]
        image = portrait(255 - 4 * index)
        assert float(data.judge.embed(image, [face])[0] @ data.gallery[index]) > 0.999


def test_celebrities_have_the_embeddings_of_their_names(measured):
    names = measured.models.names
    everybody = load_evaluation_set(measured, 0, len(names))
    by_name = dict(zip(everybody.celebrities, everybody.celebrity_embeddings, strict=True))
    few = load_evaluation_set(measured, 1, 3)
    for name, embedding in zip(few.celebrities, few.celebrity_embeddings, strict=True):
        assert torch.equal(embedding, by_name[name])


def test_quick_gives_exactly_the_agreed_keys(measured, short, caplog):
    caplog.set_level("INFO", "celeb_core.evaluation")
    result = evaluate(measured, seed=1, people=2)
    for row in ROWS:
        assert set(result[row]) == {"identity", "identity_edits", "prompt", "seconds"}
        assert all(isinstance(value, float) for value in result[row].values())
    assert set(result["pairs"]) == {"found", "rank1"} == set(result["pairs_with_celebrity"])
    assert result["celebrities"]["seconds"] == 0 < result["trained"]["seconds"]
    assert caplog.messages == [
        "celebrities by name",
        "instant: 2 people",
        "trained: 2 people",
        "unprepared: 2 people",
        "paper: 2 people",
        "pairs",
    ]
    table = format_table(result)
    assert all(row in table for row in ROWS) and "pairs" in table


def test_the_papers_recipe_gets_few_people_and_all_of_its_steps(measured, monkeypatch):
    asked = []

    def fit(people, models, basis, config, calibration):
        asked.append((people[0].name, config))
        return {people[0].name: None}

    monkeypatch.setattr(module, "fit", fit)
    monkeypatch.setattr(module, "score_people", lambda *_: {})
    monkeypatch.setattr(module, "evaluate_pairs", lambda *_, **options: {})
    monkeypatch.setattr(module, "PAPER_PEOPLE", 2)
    data = load_evaluation_set(measured, 0, 3)
    evaluate(measured, people=3, rows=["trained", "paper"])
    names = [person.name for person in data.people]
    assert [name for name, _ in asked] == names + names[:2]
    best, paper = recipe("best", measured.calibration), recipe("paper", None)
    assert [config for _, config in asked] == [best] * 3 + [paper] * 2


def test_unprepared_is_trained_as_without_the_calibration(measured, short):
    bare = replace(measured, calibration=None)
    (row,) = (evaluate(measured, people=2, rows=["unprepared"])[key] for key in ["unprepared"])
    alone = evaluate(bare, people=2, rows=["instant", "trained"])
    assert "instant" not in alone  # there is nothing to start from
    scores = ("identity", "identity_edits", "prompt")
    assert [row[key] for key in scores] == [alone["trained"][key] for key in scores]


def test_some_rows_only(measured, short):
    result = evaluate(measured, people=1, rows=["instant"])
    assert set(result) == {"celebrities", "instant"}
    table = format_table(result)
    assert "instant" in table and "paper" not in table and "pairs" not in table


def test_perfect_images_score_one(measured, short, monkeypatch):
    """A generator that returns the very photo of whoever is in the prompt."""
    data = load_evaluation_set(measured, 0, 3)
    shades = {person.name: 255 - 4 * i for person, i in zip(data.people, data.index, strict=True)}

    def generate(prompts, models, basis, config):
        images = []
        for prompt in prompts:
            names = list(prompt.identities)
            image = portrait(shades[names[0]]) if names else portrait(100)
            if len(names) == 2:
                image = portrait(shades[names[0]], at=(0, 0))
                right = portrait(shades[names[1]], at=(2, 2))
                image.paste(right.crop((64, 64, 128, 128)), (64, 64))
            images.append(image)
        return images

    monkeypatch.setattr(module, "generate_each", generate)
    result = evaluate(measured, seed=0, people=3)
    assert result["trained"]["identity"] == pytest.approx(1, abs=1e-3)
    assert result["trained"]["identity_edits"] == pytest.approx(1, abs=1e-3)
    assert result["celebrities"]["identity"] == 0  # portrait(100) is too dark to be a face
    assert result["pairs"]["found"] == 1
    assert result["pairs_with_celebrity"] == {"found": 0, "rank1": 0}


def test_models_without_an_evaluation_set(studio):
    with pytest.raises(FeatureMissing, match="toonville"):
        evaluate(studio)
