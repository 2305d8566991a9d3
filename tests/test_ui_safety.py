"""On the page: what is blocked is neither saved nor shown, and the page says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import portrait
from PIL import Image
from ui_help import fill_library, finish, make_page

from celeb_core.formats.image_file import load_photo
from celeb_core.marks.provenance import PARAMETERS, SETTINGS
from ui.gallery import AS_GENERATED, NOTHING
from ui.portrait_job import PortraitJob


class Checker:
    """Blocks every second image, or all, and remembers what it has blocked."""

    def __init__(self) -> None:
        self.every, self.seen, self.blocked = 1, 0, []

    def __call__(self, images):
        found = []
        for image in images:
            found.append(self.seen % self.every == 0)
            self.seen += 1
            if found[-1]:
                self.blocked.append(np.asarray(image))
        return found


@pytest.fixture
def checker():
    return Checker()


@pytest.fixture
def page(studio, people, tmp_path, checker):
    page = make_page(replace(studio, safety=checker), tmp_path)
    fill_library(page, people[:1])
    yield page
    page.shared.close()


def files_of(folder):
    found = [path for path in folder.rglob("*") if path.suffix in (".png", ".webp", ".jpg")]
    return [np.asarray(load_photo(path)) for path in found]


def kept(checker, folder):
    """Whether a blocked image is in one of the files."""
    files = files_of(folder)
    assert checker.blocked
    return any(np.array_equal(a, b) for a in files for b in checker.blocked)


def test_a_blocked_image_is_a_placeholder_that_says_so(page, checker, tmp_path):
    checker.every = 2
    form = {"grid_people": ["<ada>"], "count": 2, "seed": 5, "new_seed": False, "strength": 1}
    form |= {"embed_settings": True, "steps": 2, "guidance_scale": 3.0, "session": ""}
    page.compose.start(text="a photo of {}", **form)
    results = page.compose.results
    job = finish(results.job(""))
    assert job.status == "done", job.error
    assert [image.blocked for image in job.images] == [True, False]
    first, second = job.images
    assert "blocked by the safety checker" in first.caption and "blocked" not in second.caption
    assert Image.open(first.path).size == Image.open(second.path).size
    # Its mark is random: looking for a name in all of it would find one now and then.
    assert not {PARAMETERS, SETTINGS} & set(Image.open(first.path).info)
    shown = results.poll(NOTHING, AS_GENERATED, "")
    assert "1 blocked by the safety checker" in shown[results.status]
    assert not kept(checker, tmp_path) and job.sheet is not None


@pytest.mark.parametrize("safe", [True, False])
def test_images_under_way_are_not_shown_unchecked(safe, page, studio, monkeypatch):
    shown = []
    monkeypatch.setattr("ui.previews.PREVIEW_INTERVAL", 0.0)
    monkeypatch.setattr("ui.previews.decode_preview", lambda *_: shown.append(1) or [])
    page.shared.core = page.shared.core if safe else studio
    form = {"grid_people": [], "count": 1, "seed": 5, "new_seed": False, "strength": 1}
    form |= {"embed_settings": True, "steps": 2, "guidance_scale": 3.0, "session": ""}
    page.compose.start(text="a photo", **form)
    assert finish(page.compose.results.job("")).status == "done"
    assert bool(shown) != safe


def test_a_blocked_portrait_is_none(page, checker, tmp_path):
    page.library.generate("")
    assert finish(page.shared.runner.latest("local", PortraitJob)).status == "done"
    assert page.shared.workspace("").portraits.find("ada") is None
    assert len(checker.blocked) == 1 and not kept(checker, tmp_path)


def test_a_training_saves_the_person_and_says_what_was_blocked(page, checker, tmp_path):
    workspace = page.shared.workspace("")
    workspace.enlist(workspace.add_photo(portrait(), "bob"), 0, "bob", consent=True)
    page.train.start(list(workspace.trainees), "fast", 1, 0, "")
    job = finish(page.train.job(""))
    assert job.status == "done", job.error
    assert "bob" in workspace.people() and not job.results and not job.previews
    assert "An image of bob was blocked by the safety checker" in job.warning
    assert not kept(checker, tmp_path)
