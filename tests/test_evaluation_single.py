from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import portrait
from PIL import Image

from celeb_core.evaluation import images as images_module
from celeb_core.evaluation import single as module
from celeb_core.evaluation.data import load_evaluation_set
from celeb_core.evaluation.run import Run
from celeb_core.evaluation.single import find_celebrities, fit_each, row_config, score_people
from celeb_core.types import PRESETS, recipe


def test_new_people_have_the_agreed_scores(evaluated, short):
    data = load_evaluation_set(evaluated, 1, 2)
    identities, seconds = fit_each(evaluated, data.people, module.recipe("instant", None))
    assert list(identities) == [person.name for person in data.people] and seconds > 0
    for people in (None, identities):
        scores = score_people(evaluated, data, people)
        assert set(scores) == {"identity", "identity_edits", "prompt", "found", "clip"}
        assert all(isinstance(value, float) for value in scores.values())


def test_without_reader_and_clip_there_is_no_prompt_score(evaluated, monkeypatch):
    data = load_evaluation_set(evaluated, 1, 1)
    made = lambda prompts, *_, **__: [portrait() for _ in prompts]  # noqa: E731
    monkeypatch.setattr(images_module, "generate_each", made)
    scores = score_people(evaluated, replace(data, reader=None, clip=None))
    assert scores["prompt"] is None and scores["clip"] is None and scores["found"] == 1


def test_rows_are_presets_with_or_without_the_calibration(evaluated):
    bare = replace(evaluated, calibration=None)
    for row, preset in (("trained", "fast"), ("paper", "paper"), ("instant", "instant")):
        assert row_config(evaluated, row, "fast") == (
            evaluated,
            recipe(preset, evaluated.calibration),
        )
    without = row_config(evaluated, "unprepared", "fast")
    assert without and without[0].calibration is None and without[1] == recipe("best", None)
    assert row_config(bare, "instant", "best") is None  # there is nothing to start from


def test_the_papers_recipe_gets_few_people_and_all_of_its_steps(evaluated, monkeypatch):
    monkeypatch.setattr(module, "PAPER_PEOPLE", 2)
    data = load_evaluation_set(evaluated, 0, 3)
    assert module.part_of_row(data, "trained") is data
    few = module.part_of_row(data, "paper")
    assert (few.people, few.index) == (data.people[:2], data.index[:2])
    used = row_config(evaluated, "paper", "best")
    assert used and used[1].steps == PRESETS["paper"].steps


def perfect(data, missing: str = ""):
    """A generator that returns the very photo of whoever is in the prompt, but for one person."""
    shades = {person.name: 255 - 4 * i for person, i in zip(data.people, data.index, strict=True)}

    def generate(prompts, models, basis, config, on_step):
        images = []
        for prompt in prompts:
            names = list(prompt.identities)
            image = portrait(shades[names[0]]) if names else portrait(100)
            if len(names) == 2:
                image = portrait(shades[names[0]], at=(0, 0))
                right = portrait(shades[names[1]], at=(2, 2))
                image.paste(right.crop((64, 64, 128, 128)), (64, 64))
            images.append(Image.new("RGB", (128, 128)) if missing in names else image)
        return images

    return generate


def test_perfect_images_score_one(evaluated, short, monkeypatch):
    data = load_evaluation_set(evaluated, 0, 3)
    trained, _ = fit_each(evaluated, data.people, module.recipe("instant", evaluated.calibration))
    monkeypatch.setattr(images_module, "generate_each", perfect(data))
    scores = score_people(evaluated, data, trained)
    assert scores["identity"] == pytest.approx(1, abs=1e-3)
    assert scores["identity_edits"] == pytest.approx(1, abs=1e-3)
    assert scores["found"] == 1
    celebrities = score_people(evaluated, data)  # portrait(100) is too dark to be a face
    assert celebrities["identity"] == celebrities["found"] == 0
    assert module.evaluate_pairs(evaluated, data, trained)["found"] == 1
    mixed = module.evaluate_pairs(evaluated, data, trained, celebrity=True)
    assert mixed == {"found": 0, "rank1": 0}


def test_an_image_without_a_face_scores_zero(evaluated, short, monkeypatch):
    data = load_evaluation_set(evaluated, 0, 3)
    trained, _ = fit_each(evaluated, data.people, module.recipe("instant", evaluated.calibration))
    monkeypatch.setattr(images_module, "generate_each", perfect(data, data.people[1].name))
    scores = score_people(evaluated, data, trained)
    for key in ("identity", "identity_edits", "found"):
        assert scores[key] == pytest.approx(2 / 3, abs=1e-3)


def test_celebrities_are_compared_with_images_of_other_seeds(evaluated, monkeypatch):
    data = load_evaluation_set(evaluated, 0, 2)
    asked = []

    def generate(prompts, models, basis, config, on_step):
        asked.extend((prompt.text, config.seed + i) for i, prompt in enumerate(prompts))
        faceless = data.celebrities[1]
        return [portrait(90 if faceless in prompt.text else 255) for prompt in prompts]

    monkeypatch.setattr(images_module, "generate_each", generate)
    run = Run()
    found = find_celebrities(evaluated, replace(data, celebrity_embeddings=data.gallery[:0]), run)
    seen, faceless = found.celebrity_embeddings
    assert float(seen.norm()) == pytest.approx(1, abs=1e-5) and float(faceless.norm()) == 0
    references = set(asked)
    assert len(references) == 2 * module.REFERENCES
    asked.clear()
    score_people(evaluated, found, run=run)
    assert asked and not {seed for _, seed in asked} & {seed for _, seed in references}
    assert find_celebrities(evaluated, data, run) is data  # they are known
