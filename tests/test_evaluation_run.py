from __future__ import annotations

import json

import pytest

from celeb_core.errors import SaveFailed, UsageError
from celeb_core.evaluation.run import Progress, Run
from celeb_core.identity import list_identities
from celeb_core.types import Identity


def test_what_is_finished_is_there_again(tmp_path):
    run = Run(tmp_path, {"seed": 0})
    run.keep({"a/0": {"identity": 0.5, "found": True}, "a/1": {}})
    run.keep({"a/2": {"embedding": [0.1, 0.2]}})
    again = Run(tmp_path, {"seed": 0}).records
    assert again == run.records == {
        "a/0": {"identity": 0.5, "found": True}, "a/1": {}, "a/2": {"embedding": [0.1, 0.2]},
    }  # fmt: skip


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_that_was_cut_off_is_no_part_and_does_not_spoil_the_next(tmp_path, cut):
    run = Run(tmp_path, {})
    run.keep({"a": {"identity": 0.5}})
    run.keep({"b": {"identity": 0.25}})
    path = tmp_path / "scores.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    run = Run(tmp_path, {})
    assert run.records == {"a": {"identity": 0.5}}
    run.keep({"c": {"identity": 1.0}})
    assert list(Run(tmp_path, {}).records) == ["a", "c"]


def test_damaged_lines_are_done_again(tmp_path):
    Run(tmp_path, {}).keep({"a": {"x": 1}})
    with open(tmp_path / "scores.jsonl", "a") as file:
        file.write('not JSON\n[]\n{"x": 2}\n\n')
    assert Run(tmp_path, {}).records == {"a": {"x": 1}}


def test_a_run_with_other_settings_is_refused_with_the_difference(tmp_path):
    before = {"seed": 0, "preset": "best", "who": ["ada"], "clip": None}
    Run(tmp_path, before)
    Run(tmp_path, before)
    with pytest.raises(UsageError) as caught:
        Run(tmp_path, before | {"seed": 1, "preset": "fast"})
    assert "seed: 0, now 1; preset: best, now fast" in str(caught.value)
    assert "who" not in str(caught.value)
    with pytest.raises(UsageError, match="clip: none, now openai/clip"):
        Run(tmp_path, before | {"clip": "openai/clip"})
    (tmp_path / "settings.json").write_text("[]")
    with pytest.raises(UsageError, match="cannot be read"):
        Run(tmp_path, before)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveFailed):
        Run(tmp_path / "file", {})
    run = Run(tmp_path / "run", {})
    (tmp_path / "run" / "scores.jsonl").mkdir()
    with pytest.raises(SaveFailed, match="what is finished is not repeated"):
        run.keep({"a": {}})


def test_people_are_kept_as_they_are_loaded_again(tmp_path, basis):
    person = Identity("Ada L.", basis.std * 0 + 1 / 3, basis.id)
    run = Run(tmp_path, {})
    assert run.load_person("trained", "Ada L.", basis) is None
    kept = run.keep_person("trained", person, 2.5, basis)
    again = Run(tmp_path, {})
    loaded = again.load_person("trained", "Ada L.", basis)
    assert loaded and (loaded.coefficients == kept.coefficients).all()
    assert again.records["trained/Ada L."] == {"seconds": 2.5}
    assert again.load_person("paper", "Ada L.", basis) is None
    assert list(list_identities(tmp_path / "identities" / "trained")) == ["Ada L."]
    for path in (tmp_path / "identities" / "trained").iterdir():
        path.write_bytes(b"damaged")
    assert again.load_person("trained", "Ada L.", basis) is None  # to be trained again


def test_in_memory_nothing_is_written_and_people_stay_exact(basis):
    run, person = Run(), Identity("ada", basis.std * 0 + 1 / 3, basis.id)
    assert run.keep_person("trained", person, 1.0, basis) is person
    assert run.load_person("trained", "ada", basis) is None


def test_progress(tmp_path):
    seen: list[Progress] = []
    run = Run(report=seen.append)
    run.plan(3)
    run.begin("training ada")
    run.say("step 1/2")
    run.advance()
    run.advance(2)
    assert seen[2:] == [
        Progress(0, 3, "training ada", "step 1/2"),
        Progress(1, 3, "training ada"),
        Progress(3, 3, "training ada"),
    ]
    assert json.dumps(vars(seen[-1]))
