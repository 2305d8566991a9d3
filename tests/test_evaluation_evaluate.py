from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import portrait

from celeb_core.errors import FeatureMissing, UsageError
from celeb_core.evaluation import images as images_module
from celeb_core.evaluation import single as single_module
from celeb_core.evaluation.evaluate import EvaluationConfig, evaluate
from celeb_core.evaluation.tables import format_text
from celeb_core.evaluation.work import EvaluateWork, OnWorkers
from celeb_core.many.pools import Inline
from celeb_core.many.work import StudioOptions
from celeb_core.types import Identity, TrainStep

ROWS = ("celebrities", "instant", "trained", "unprepared", "paper")
KEYS = {"identity", "identity_edits", "prompt", "clip", "found", "seconds"}


def fit_identities(people, models, basis, config, calibration, recogniser):
    """A training of two steps that does nothing."""
    (person,) = people
    made = Identity(person.name, basis.std * 0, basis.id)
    yield TrainStep(0, 2, {}, 0.5, None)
    yield TrainStep(2, 2, {}, 1.5, 0.0, (made,))


@pytest.fixture
def quick(monkeypatch):
    """Nobody is trained, images are the portrait of somebody; what was asked for is listed."""
    asked: list[str] = []
    monkeypatch.setattr(single_module, "fit_identities", fit_identities)
    monkeypatch.setattr(single_module, "REFERENCES", 1)
    monkeypatch.setattr("celeb_core.evaluation.data.EDITS", ("{} on the beach", "{} in a hat"))

    def generate(prompts, models, basis, config, on_step):
        on_step(1, 2)
        asked.extend(f"{prompt.text} {config.seed + i}" for i, prompt in enumerate(prompts))
        return [portrait(255 - len(prompt.text) % 7) for prompt in prompts]

    monkeypatch.setattr(images_module, "generate_each", generate)
    return asked


def test_the_models_own_set_gives_exactly_the_agreed_keys(evaluated, quick):
    progress = []
    result = evaluate(evaluated, EvaluationConfig(count=2, seed=1), report=progress.append)
    for row in ROWS:
        assert set(result[row]) == KEYS
        assert all(isinstance(value, float) for value in result[row].values())
    assert set(result["pairs"]) == {"found", "rank1"} == set(result["pairs_with_celebrity"])
    assert set(result) == {*ROWS, "pairs", "pairs_with_celebrity", "judge", "notes"}
    assert result["celebrities"]["seconds"] == 0 and result["trained"]["seconds"] == 1.5
    assert not result["notes"]
    assert progress[0].total == progress[-1].total == progress[-1].done
    notes = list(dict.fromkeys(step.note for step in progress))
    assert notes[:2] == ["", "portraits (celebrities)"] and "“{} smiling” (paper)" in notes
    assert any(note.startswith("training p") and note.endswith("(unprepared)") for note in notes)
    assert {"step 1/2", "step 2/2"} <= {step.detail for step in progress}


def test_some_rows_only(evaluated, quick):
    result = evaluate(evaluated, EvaluationConfig(count=1, rows=("instant",)))
    assert set(result) == {"celebrities", "instant", "judge", "notes"}


def test_instant_needs_a_calibration(evaluated, quick):
    bare = replace(evaluated, calibration=None)
    result = evaluate(bare, EvaluationConfig(count=1, rows=("instant",)))
    assert "instant" not in result


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, shade in (("ada", 255), ("bob", 230), ("cleo", 200)):
        portrait(shade).save(folder / f"{name}.png")
    return folder


def test_groups_of_a_folder_of_photos_on_a_model_without_judge_and_clip(studio, quick, photos):
    config = EvaluationConfig((1, 2, 3), photos=photos, groups=2)
    progress = []
    result = evaluate(studio, config, report=progress.append)
    assert progress[0].total == progress[-1].total == progress[-1].done
    assert set(result["trained"]) == KEYS and "paper" not in result and "pairs" not in result
    assert result["trained"]["clip"] is None and result["trained"]["prompt"] is None
    rows = [(row["people"], row["who"], row["regions"]) for row in result["groups"]]
    assert len(set(rows)) == len(rows) == 2 * 3 * 3
    assert rows[0] == (2, "people", "off") and rows[-1] == (3, "mixed", "reversed")
    assert all(row["images"] == 4 for row in result["groups"])
    assert result["judge"] == studio.faces.id
    for note in ("one photo", "No independent judge", "No prompt score"):
        assert note in " ".join(result["notes"]) and note in format_text(result)
    # No face is generated beside the first one: half of two people are found, a third of three.
    found = {row["people"]: row["found"] for row in result["groups"]}
    assert found == pytest.approx({2: 1 / 2, 3: 1 / 3})


class Killed(BaseException):
    """What no code catches."""


@pytest.fixture
def on_workers(studio, monkeypatch):
    """The way to workers and back, with a worker that is this process and has this studio."""
    monkeypatch.setattr(StudioOptions, "load", lambda options, device: studio)
    return lambda: OnWorkers(EvaluateWork(StudioOptions()), Inline())


@pytest.mark.parametrize(("after", "workers_first"), [(14, False), (40, True)])
def test_a_killed_run_goes_on_here_or_on_workers_and_repeats_nothing(
    after, workers_first, studio, quick, photos, on_workers, tmp_path, monkeypatch
):
    executors = [on_workers(), None] if workers_first else [None, on_workers()]
    trained, generate = [], images_module.generate_each

    def killed(*arguments, **options):
        if len(quick) >= after:
            raise Killed
        return generate(*arguments, **options)

    def watched(people, *arguments, **options):
        trained.append(people[0].name)
        return fit_identities(people, *arguments, **options)

    monkeypatch.setattr(single_module, "fit_identities", watched)
    config = EvaluationConfig((1, 2), photos=photos, groups=1)
    whole = evaluate(studio, config, tmp_path / "whole")
    images, people = list(quick), list(trained)
    assert len(images) > 40 and len(people) == 3
    quick.clear()
    trained.clear()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(images_module, "generate_each", killed)
        evaluate(studio, config, tmp_path / "out", executor=executors[0])
    progress = []
    again = evaluate(studio, config, tmp_path / "out", progress.append, executors[1])
    assert progress[0].total == progress[-1].total == progress[-1].done
    assert sorted(quick) == sorted(images) and trained == people  # each once
    assert again == whole
    scores = tmp_path / "out" / "scores.jsonl"
    lines = scores.read_text().splitlines(keepends=True)
    scores.write_text("".join(line for line in lines if '"1/celebrities/edit-1/1"' not in line))
    quick.clear()
    assert evaluate(studio, config, tmp_path / "out") == whole
    assert len(quick) == 3 and len(scores.read_text().splitlines()) == len(lines)  # its batch
    done = len(quick)
    wider = evaluate(studio, replace(config, people=(1,), rows=("trained",)), tmp_path / "out")
    assert len(quick) == done and wider["trained"]["identity"] == whole["trained"]["identity"]


def test_a_run_with_other_settings_is_refused(studio, quick, photos, tmp_path):
    config = EvaluationConfig((2,), photos=photos, groups=1)
    evaluate(studio, config, tmp_path / "out")
    done = len(quick)
    for change in ({"seed": 1}, {"groups": 2}):
        (option,) = change
        with pytest.raises(UsageError, match=f"other settings .*{option}"):
            evaluate(studio, replace(config, **change), tmp_path / "out")
    portrait(190).save(photos / "ada.png")
    with pytest.raises(UsageError, match="photos: "):
        evaluate(studio, config, tmp_path / "out")
    assert len(quick) == done


def test_what_does_not_fit_together(studio, evaluated, photos):
    with pytest.raises(FeatureMissing, match="no evaluation set"):
        evaluate(studio)
    with pytest.raises(UsageError, match="Groups of 4 need 4 people .* there are 3"):
        evaluate(studio, EvaluationConfig((1, 4), photos=photos))
    with pytest.raises(UsageError, match="a judge of its own"):
        evaluate(evaluated, EvaluationConfig(judge="antelopev2"))
    with pytest.raises(UsageError, match="judge its own work"):
        pack = str(studio.models.folder / "faces")
        evaluate(studio, EvaluationConfig(photos=photos, judge=pack))
