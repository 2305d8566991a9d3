from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest
from conftest import portrait
from ui_help import fill_library, finish, make_page, selected

from celeb_core import TrainConfig, export_identity, fit, list_identities, save_identity
from celeb_core.identity import MAX_BYTES
from ui.portrait_job import PortraitJob
from ui.shelf import KEPT_FOR

SAID = 0
PICKED, PEOPLE, EMPTY, UNDO, DRAW, CHOOSE, DETAILS = range(1, 8)  # places after what is said
PORTRAIT, FACTS, NAME, EXPORT, OTHERS, USE = range(8, 14)
ODD = ['<b onload="x">', 'it\'s "quoted"', "مرحبا بالعالم", "{{1}} ${2}", "x" * 64]


@pytest.fixture
def page(studio, people, tmp_path):
    page = make_page(studio, tmp_path)
    fill_library(page, people[:2])
    yield page
    page.shared.runner.close()


def refresh(page, picked=""):
    return ["", *page.library.refresh(picked, "")]


def names(page):
    return [label.split(" · ")[0] for _, label in refresh(page)[PEOPLE]["value"]]


def give_portraits(page):
    page.library.draw("")
    job = page.shared.runner.latest("local", PortraitJob)
    assert finish(job).status == "done", job.error


def test_everybody_is_there_with_a_picture_once_it_is_drawn(page):
    shown = refresh(page)
    assert names(page) == ["ada", "bob"] and shown[DRAW]["visible"]
    give_portraits(page)
    _, timer, *rest = page.library.poll("", "")
    pictures = [path for path, _ in rest[PEOPLE - 1]["value"]]
    assert all(path.endswith(".png") and os.path.isfile(path) for path in pictures)
    assert not timer.active and not refresh(page)[DRAW]["visible"]


def test_a_card_says_how_alike_since_when_and_for_which_model(page):
    give_portraits(page)
    identity = page.shared.workspace("").people()["ada"]
    elsewhere = replace(identity, name="eve", basis_id="other", base_model="stable-diffusion")
    save_identity(elsewhere, page.shared.library)
    today = time.strftime("%b\u00a0%Y")
    ada, _, eve = (label for _, label in refresh(page)[PEOPLE]["value"])
    assert ada.startswith("ada · ") and ada.endswith(today) and "for " not in ada
    assert "eve · for stable-diffusion · " in eve


def test_nobody_can_be_clicked_where_nobody_is(page):
    assert refresh(page)[CHOOSE]["visible"] and not refresh(page, "ada")[CHOOSE]["visible"]
    for name in names(page):
        page.library.delete(name, "")
    assert refresh(page)[EMPTY]["visible"] and not refresh(page)[CHOOSE]["visible"]


def test_a_click_shows_all_that_is_known(page):
    shown = page.library.pick("", selected(1))
    assert shown[PICKED] == shown[NAME] == "bob" and shown[DETAILS]["visible"]
    for text in ("&lt;bob&gt;", "tinyville", "best", "no photo"):
        assert text in shown[FACTS]
    assert os.path.getsize(shown[EXPORT]["value"]) <= MAX_BYTES
    assert shown[OTHERS]["value"].endswith("bob.safetensors") and shown[USE]["visible"]
    assert shown[PORTRAIT]["value"] is None and not shown[PORTRAIT]["visible"]
    assert page.library.pick("", selected(7))[PICKED] == ""


def test_a_new_name_goes_to_the_file_the_picture_and_the_photos(page):
    workspace = page.shared.workspace("")
    workspace.enlist(workspace.add_photo(portrait(), "a"), 0, "ada", consent=True)
    give_portraits(page)
    shown = page.library.rename("ada", " eve ", "")
    assert "now called eve" in shown[SAID] and shown[PICKED] == "eve"
    assert names(page) == ["bob", "eve"]
    assert workspace.portrait("eve") and not workspace.portrait("ada")
    assert workspace.trainee("eve") and not workspace.trainee("ada")
    again = make_page(page.shared.core, page.shared.library.parent).shared.workspace("")
    assert again.trainee("eve")


@pytest.mark.parametrize(("name", "says"), [("bob", "taken"), ("", "empty"), ("a/b", "contains")])
def test_a_name_that_will_not_do_changes_nothing(page, name, says):
    said, *rest = page.library.rename("ada", name, "")
    assert says in said and "value" not in rest[PEOPLE - 1]
    assert names(page) == ["ada", "bob"]


def test_a_deleted_person_comes_back_with_the_picture(page):
    give_portraits(page)
    before = page.shared.workspace("").people()["ada"].coefficients
    shown = page.library.delete("ada", "")
    assert "ada was deleted" in shown[SAID] and names(page) == ["bob"]
    assert shown[UNDO]["value"] == "Undo: bring back ada" and not shown[DETAILS]["visible"]
    shown = page.library.undo("")
    assert "ada is back" in shown[SAID] and names(page) == ["ada", "bob"]
    after = page.shared.workspace("").people()["ada"].coefficients
    assert (before == after).all() and page.shared.workspace("").portrait("ada")
    assert not shown[UNDO]["visible"]
    assert "nobody to bring back" in page.library.undo("")[SAID]


def test_undo_never_costs_somebody_of_the_same_name(page, people):
    page.library.delete("ada", "")
    fill_library(page, people[:1])
    assert "“ada” is taken again" in page.library.undo("")[SAID]
    page.library.rename("ada", "new ada", "")
    page.library.undo("")
    assert names(page) == ["ada", "bob", "new ada"]


def test_who_is_trained_again_can_be_brought_back_too(page, people):
    workspace = page.shared.workspace("")
    old = workspace.people()["ada"]
    workspace.keep(replace(old, coefficients=old.coefficients + 1))
    page.library.rename("ada", "newer", "")
    page.library.undo("")
    assert (workspace.people()["ada"].coefficients == old.coefficients).all()


def test_after_a_week_deleted_people_are_gone(page):
    page.library.delete("ada", "")
    (folder,) = (page.shared.library / ".studio" / "deleted").iterdir()
    long_ago = time.time() - KEPT_FOR - 1
    os.utime(folder, (long_ago, long_ago))
    assert not refresh(page)[UNDO]["visible"] and not folder.exists()


def test_a_person_comes_in_from_a_file_under_a_free_name(page, models, basis, person, tmp_path):
    (ada,) = fit([person], models, basis, TrainConfig(steps=0)).values()
    path = save_identity(ada, tmp_path / "elsewhere")
    shown = page.library.add(str(path), "")
    assert "ada 2 is in the library" in shown[SAID] and shown[PICKED] == "ada 2"
    assert names(page) == ["ada", "ada 2", "bob"]


def test_a_person_comes_in_from_another_tools_file(page, models, basis, person, tmp_path):
    (ada,) = fit([person], models, basis, TrainConfig(steps=0)).values()
    path = export_identity(ada, basis, models, tmp_path / "elsewhere", token="zoe")
    assert "zoe is in the library" in page.library.add(str(path), "")[SAID]


def test_a_file_that_is_no_person_is_named_and_nothing_changes(page, tmp_path):
    path = tmp_path / "odd.safetensors"
    path.write_text("no tensors")
    said = page.library.add(str(path), "")[SAID]
    assert "odd.safetensors" in said and str(tmp_path) not in said
    assert names(page) == ["ada", "bob"]


def test_people_of_another_model_are_shown_but_not_used(page, models, basis, person):
    (eve,) = fit([person], models, basis, TrainConfig(steps=0)).values()
    eve = replace(eve, name="eve", basis_id="another", base_model="somewhere/else")
    save_identity(eve, page.shared.library)
    shown = refresh(page, "eve")
    assert "somewhere/else" in shown[FACTS] and not shown[USE]["visible"]
    assert not shown[OTHERS]["visible"]


@pytest.mark.parametrize("name", ODD)
def test_names_are_text_wherever_the_library_writes_them(page, name):
    name = name.replace("<", "").replace(">", "").replace("/", "")
    shown = page.library.rename("ada", name, "")
    assert name in names(page)
    for html in (shown[SAID], shown[FACTS]):
        assert '"x"' not in html and "{{" not in html and "${" not in html
    page.library.delete(name, "")
    assert name not in list_identities(page.shared.library)
    page.library.undo("")
    assert name in names(page)


def test_the_way_to_compose_takes_the_person_along(page):
    assert page.use("ada", "", "")[1] == "a photo of <ada>"
    assert page.use("ada", "a photo of <bob> with", "")[1] == "a photo of <bob> with <ada>"
    assert page.use("bob", "a photo of <bob>", "")[1] == "a photo of <bob>"
