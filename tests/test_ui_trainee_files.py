from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from conftest import portrait
from PIL import Image
from ui_help import make_page, make_shared

from celeb_core.errors import SaveFailed
from ui.trainee_files import UNLISTED
from ui.training_job import interrupted

ODD_RECORDS = {
    "a list": "[]",
    "a number": "5",
    "brackets": "[" * 100_000,
    "nothing": "",
    "bytes": "\x00\x01",
    "no faces": '{"name": "eve", "faces": []}',
    "a face that is no point": '{"name": "eve", "faces": [5]}',
    "text for a point": '{"name": "eve", "faces": [["a", "b"]]}',
    "a point at infinity": '{"name": "eve", "faces": [[NaN, 1e999]]}',
    "no name": '{"faces": [[64, 64]]}',
    "a name that is a list": '{"name": [], "faces": [[64, 64]]}',
    "a photo that is missing": '{"name": "eve", "faces": [[64, 64], [64, 64]]}',
}


@pytest.fixture
def shared(studio, tmp_path):
    shared = make_shared(studio, tmp_path)
    yield shared
    shared.close()


def enlist(shared, name="ada"):
    workspace = shared.workspace("")
    return workspace.enlist(workspace.add_photo(portrait(), "photo.png"), 0, name, consent=True)


def reopened(studio, shared):
    """The workspace as the next start finds it."""
    return make_shared(studio, shared.library.parent).workspace("")


def people_folder(shared) -> Path:
    return shared.library / ".studio" / "people"


@pytest.mark.parametrize("record", ODD_RECORDS.values(), ids=ODD_RECORDS)
def test_an_odd_record_is_skipped_with_a_line_and_the_others_are_there(
    studio, shared, record, caplog
):
    ada = enlist(shared)
    odd = people_folder(shared) / "0123"
    odd.mkdir()
    portrait().save(odd / "1.png")
    (odd / "person.json").write_text(record, encoding="utf-8")
    assert list(reopened(studio, shared).trainees) == [ada.id]
    assert len([line for line in caplog.messages if "skipped" in line]) == 1
    assert (odd / "person.json").exists()  # what cannot be read is not thrown away


def test_other_things_where_people_should_be_do_not_matter(studio, shared):
    ada = enlist(shared)
    folder = people_folder(shared)
    (folder / "a file").write_bytes(b"")
    (folder / "link").symlink_to(folder / "nowhere")
    (folder / "deep" / "person.json").mkdir(parents=True)
    bomb = folder / "bomb"
    bomb.mkdir()
    Image.new("1", (16_000, 16_000)).save(bomb / "1.png")
    (bomb / "person.json").write_text('{"name": "eve", "faces": [[64, 64]]}', encoding="utf-8")
    assert list(reopened(studio, shared).trainees) == [ada.id]
    (shared.library / ".studio" / "jobs").write_bytes(b"no folder")
    assert list(reopened(studio, shared).trainees) == [ada.id]


def test_a_removed_person_is_gone_from_disk_and_from_what_is_served(studio, shared):
    ada = enlist(shared)
    workspace = shared.workspace("")
    shown = Path(workspace.face_file(ada))
    assert shown.is_file()
    job = workspace.listed.job("job")
    job.mkdir(parents=True)
    (job / "state.safetensors").write_bytes(b"latents of the photo")
    (job / "job.json").write_text(json.dumps({"trainees": [ada.id]}), encoding="utf-8")
    workspace.dismiss(ada.id)
    assert not shown.exists() and not job.exists()
    assert list(people_folder(shared).iterdir()) == []
    assert workspace.trainees == {} and reopened(studio, shared).trainees == {}


def test_photos_that_cannot_be_deleted_stay_in_the_list(shared, monkeypatch):
    ada = enlist(shared)
    workspace = shared.workspace("")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", refuse)
        with pytest.raises(SaveFailed, match="Permission denied"):
            workspace.dismiss(ada.id)
    assert list(workspace.trainees) == [ada.id]
    workspace.dismiss(ada.id)


def test_a_listed_photo_is_not_turned_again(studio, shared, monkeypatch):
    ada = enlist(shared)
    monkeypatch.setattr("celeb_core.faces.quarter_turns", lambda photo, detect: 2)
    (listed,) = reopened(studio, shared).trainees.values()
    assert listed.faces[0].box == ada.faces[0].box
    assert listed.faces[0].embedding.equal(ada.faces[0].embedding)


def test_a_photo_without_a_record_is_deleted_after_a_while(studio, shared):
    ada = enlist(shared)
    fresh, old = people_folder(shared) / "fresh", people_folder(shared) / "old"
    for folder in (fresh, old):
        folder.mkdir()
        portrait().save(folder / "1.png")
    long_ago = time.time() - UNLISTED - 1
    os.utime(old, (long_ago, long_ago))
    os.utime(people_folder(shared) / ada.id, (long_ago, long_ago))
    assert list(reopened(studio, shared).trainees) == [ada.id]
    assert fresh.exists() and not old.exists()


@pytest.mark.parametrize("record", ["[]", "{", '{"trainees": 5}', '{"trainees": [[]]}'])
def test_an_odd_record_of_a_training_is_no_training(studio, shared, record):
    workspace = shared.workspace("")
    folder = workspace.listed.job("odd")
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(record, encoding="utf-8")
    assert interrupted(studio, workspace, shared.estimates, shared.executor) is None
    workspace.dismiss(enlist(shared).id)  # it is looked through


def test_a_training_of_another_app_that_runs_is_left_to_it(studio, shared, monkeypatch):
    ada = enlist(shared)
    workspace = shared.workspace("")
    folder = workspace.listed.job("theirs")
    folder.mkdir(parents=True)
    record = {"trainees": [ada.id], "config": {}, "losses": [], "process": "1-1"}
    (folder / "job.json").write_text(json.dumps(record), encoding="utf-8")
    job = interrupted(studio, workspace, shared.estimates, shared.executor)
    assert job is not None and job.id == "theirs"  # process 1-1 is none
    monkeypatch.setattr("ui.training_job.is_alive", lambda process: process == "1-1")
    assert interrupted(studio, workspace, shared.estimates, shared.executor) is None


@pytest.mark.parametrize("stored", ["[]", "5", "[" * 9999, '{"x": 5}', '{"x": {"sampling": "a"}}'])
def test_odd_estimates_are_measured_again(studio, tmp_path, stored):
    folder = tmp_path / "identities" / ".studio"
    folder.mkdir(parents=True)
    key = f"{studio.models.id} on {studio.models.device}"
    (folder / "time_estimates.json").write_text(stored.replace("x", key), encoding="utf-8")
    page = make_page(studio, tmp_path)
    assert not page.shared.estimates.measured
    page.shared.estimates.measure()
    assert make_shared(studio, tmp_path).estimates.measured
