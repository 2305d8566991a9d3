from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import portrait
from PIL import Image
from test_faces import two_faces
from ui_help import fill_library, finish, make_page

from ui.forget import Forgotten, forget, is_named
from ui.images import save_generated
from ui.jobs import Job

FORM = {"grid_people": [], "count": 1, "seed": 5, "new_seed": False, "strength": 1, "steps": 1}
FORM |= {"embed_settings": True, "guidance_scale": 3.0, "session": ""}


@pytest.fixture
def page(studio, people, tmp_path):
    page = make_page(studio, tmp_path)
    fill_library(page, people[:2])
    yield page
    page.shared.close()


@pytest.fixture
def workspace(page):
    return page.shared.workspace("")


def generate(page, text, **form):
    page.compose.start(text=text, **FORM | form)
    job = finish(page.compose.results.job(""))
    assert job.status == "done", job.error
    return job


def traces(name, tmp_path):
    """Files with the name in their own names or contents, whatever they are."""
    found = []
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != "mark.key":
            if name.encode() in path.read_bytes() or name in path.name:
                found.append(path)
    return found


def test_all_there_is_of_a_person_is_deleted_and_counted(page, workspace, people, tmp_path):
    fill_library(page, [replace(people[0], name="zoey")])
    fill_library(page, [replace(people[0], name="zoey")])  # one copy goes to the bin
    workspace.enlist(workspace.add_photo(portrait(), "x"), 0, "zoey", consent=True)
    cut_short = workspace.listed.job("ab" * 16)
    cut_short.mkdir(parents=True)
    record = {"trainees": [workspace.trainee("zoey").id]}
    (cut_short / "job.json").write_text(json.dumps(record))
    generate(page, "a photo of <zoey>")
    generate(page, "<zoey> and <bob>")
    generate(page, "a photo of {}", grid_people=["<zoey>", "<bob>"])
    generate(page, "<zoey>", embed_settings=False)
    bobs = generate(page, "a photo of <bob>").images[0].path
    workspace.portraits.save("zoey", portrait(), {"prompt": "<zoey>"})
    shown = workspace.portraits.find("zoey")
    served = page.shared.files.cache / "outputs" / "hash"
    served.mkdir(parents=True)
    shutil.copy(workspace.files.file("zoey"), served)
    shutil.copy(bobs, served)

    library = page.library
    said = library.forget("zoey", "")[library.problem]
    for text in ("2 person files", "1 photo,", "1 unfinished training", "6 generated images"):
        assert text in said, said
    assert "2 images of them named others" in said  # the grid is the second one
    assert not traces("zoey", tmp_path) and not shown.exists() and not cut_short.exists()
    assert bobs.is_file() and [path.name for path in served.iterdir()] == [bobs.name]
    assert set(workspace.people()) == {"ada", "bob"} and not workspace.trainees
    assert [job.requests[0].prompt.text for job in page.shared.runner.jobs("local")] == [
        "a photo of <bob>"
    ]
    assert not workspace.files.deleted()
    again = forget(workspace, page.shared.runner, "zoey")
    assert again == Forgotten() and again.sentences == ["Deleted for good: nothing."]


def test_it_is_asked_before(page, workspace):
    library = page.library
    asked = library.ask("ada")
    assert asked[library.asking]["visible"]
    for text in ("ada", "also those with other people", "downloaded before"):
        assert text in asked[library.warning]
    assert not library.refresh("ada", "")[library.asking]["visible"]
    assert "ada" in workspace.people()


def test_a_photo_that_shows_others_too_leaves_the_faces_tab(page, workspace):
    photo = workspace.add_photo(two_faces(), "us")
    other = workspace.add_photo(portrait(190), "x")
    workspace.enlist(photo, 0, "eve", consent=True)
    assert photo.id in workspace.photos
    assert forget(workspace, page.shared.runner, "eve").photos == 2
    assert set(workspace.photos) == {other.id}


def test_a_job_under_way_is_not_cut(page, workspace):
    class Blocker(Job):
        def run(self):
            self.stop.wait(60)
            return "stopped"

    blocker = page.shared.runner.submit(Blocker("local"))
    page.compose.start(text="a photo of <ada>", **FORM)
    said = page.library.forget("ada", "")[page.library.problem]
    assert "waiting or under way" in said and "ada" in workspace.people()
    job = page.compose.results.job("")
    page.shared.runner.stop(job)
    page.shared.runner.stop(blocker)
    page.library.forget("ada", "")
    assert "ada" not in workspace.people()


def test_images_of_nobody_knows_whom_stay_and_are_said_to(page, workspace):
    path = save_generated(portrait(), workspace.images / "old.png", None, workspace.marker)
    gone = forget(workspace, page.shared.runner, "ada")
    assert gone.unnamed == 1 and path.is_file()
    assert "1 generated image without settings stayed" in gone.sentences[-1]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"prompt": "a photo of <ada> in space"}, True),
        ({"prompt": "a photo", "people": ["ada"]}, True),
        ({"people": ["<ada>", "Taylor Swift"]}, True),
        ({"prompt": "a photo of {}", "from": "<ada>", "to": "Taylor Swift"}, True),
        ({"corners": ["a", "b", "c", "<ada>"]}, True),
        ({"person": "<ada>"}, True),
        ({"prompt": "ada", "people": ["bob"]}, False),
        ({"prompt": "<adam>", "model": "ada", "negative_prompt": 5}, False),
        ({"from": "ada", "to": None, "people": "ada", "corners": {}}, False),
        ({}, False),
    ],
)
def test_whom_the_settings_of_an_image_name(settings, named):
    assert is_named("ada", settings) == named


def test_of_a_mixture_only_its_ends_are_people():
    settings = {"prompt": "a photo of {}", "from": "<bob>", "people": ["mix"]}
    assert not is_named("mix", settings) and is_named("bob", settings)


def test_nobody_else_of_the_page_loses_anything(studio, people, tmp_path):
    page = make_page(studio, tmp_path, isolated=True)
    one, two = (page.shared.workspace(page.shared.new_session()) for _ in range(2))
    paths: list[Path] = []
    for workspace in (one, two):
        path = workspace.images / "a.png"
        paths.append(save_generated(portrait(), path, {"people": ["ada"]}, workspace.marker))
        workspace.enlist(workspace.add_photo(portrait(), "x"), 0, "ada", consent=True)
    forget(one, page.shared.runner, "ada")
    assert [path.is_file() for path in paths] == [False, True]
    assert two.trainee("ada") and not one.trainee("ada")
    assert Image.open(paths[1]).size == (128, 128)
    page.shared.close()
