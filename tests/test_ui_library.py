from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import celebrity_names, portrait
from PIL import Image
from ui_help import fill_library, finish, make_page, selected

from celeb_core import TrainConfig, export_identity, fit, list_identities, save_identity
from celeb_core.basis import person_embeddings
from celeb_core.identity import MAX_BYTES, file_name
from ui.jobs import Job
from ui.library_files import UNDO_SECONDS
from ui.portrait_job import PortraitJob

ODD = ['<b onload="x">', 'it\'s "quoted"', "مرحبا بالعالم", "{{1}} ${2}", "x" * 64]


@pytest.fixture
def page(studio, people, tmp_path):
    page = make_page(studio, tmp_path)
    fill_library(page, people[:2])
    yield page
    page.shared.runner.close()


@pytest.fixture
def library(page):
    return page.library


def names(page):
    people = page.library.refresh("", "")[page.library.people]
    return [label.split(" · ")[0] for _, label in people["value"]]


def give_portraits(page):
    page.library.generate("")
    job = page.shared.runner.latest("local", PortraitJob)
    assert finish(job).status == "done", job.error


def test_all_people_are_there_with_a_portrait_once_it_is_generated(page, library):
    assert names(page) == ["ada", "bob"]
    assert library.refresh("", "")[library.portraits_button]["visible"]
    give_portraits(page)
    polled = library.poll("", "")
    images = [path for path, _ in polled[library.people]["value"]]
    assert all(path.endswith(".webp") and os.path.isfile(path) for path in images)
    assert not polled[library.timer].active and polled[library.status] == ""
    assert not polled[library.portraits_button]["visible"]


def test_portraits_under_way_are_a_bar_and_leave_the_rest_alone(page, library):
    blocker = page.shared.runner.submit(Blocker("local"))
    library.generate("")
    polled = library.poll("ada", "")
    assert set(polled) == {library.status, library.timer}
    assert "Waiting, place 2: 1 job before this one" in polled[library.status]
    assert polled[library.timer].active
    page.shared.runner.stop(blocker)
    finish(page.shared.runner.latest("local", PortraitJob))


class Blocker(Job):
    def run(self):
        self.stop.wait(60)
        return "stopped"


def test_a_caption_has_score_date_and_the_model_of_strangers(page, library):
    give_portraits(page)
    identity = page.shared.workspace("").people()["ada"]
    elsewhere = replace(identity, name="eve", basis_id="other", base_model="stable-diffusion")
    save_identity(elsewhere, page.shared.library)
    page.shared.workspace("").portraits.save("bob", portrait(), {"identity": 0.617})
    today = time.strftime("%b\u00a0%Y")
    captions = library.refresh("", "")[library.people]["value"]
    ada, bob, eve = (label for _, label in captions)
    assert ada.startswith("ada · ") and ada.endswith(today) and "for " not in ada
    assert bob.startswith("bob · identity score\u00a00.62 · ")
    assert "eve · for stable-diffusion · " in eve


def test_nobody_can_be_clicked_where_nobody_is(page, library):
    assert library.refresh("", "")[library.choose]["visible"]
    assert not library.refresh("ada", "")[library.choose]["visible"]
    for name in names(page):
        library.delete(name, "")
    shown = library.refresh("", "")
    assert shown[library.empty]["visible"] and not shown[library.choose]["visible"]


def test_a_click_shows_all_that_is_known(page, library):
    shown = library.pick("", selected(1))
    assert shown[library.picked] == shown[library.name] == "bob"
    assert shown[library.details]["visible"] and shown[library.problem] == ""
    for text in ("&lt;bob&gt;", "tinyville", "best", "no photo", "not measured"):
        assert text in shown[library.facts]
    assert os.path.getsize(shown[library.export]["value"]) <= MAX_BYTES
    assert shown[library.embedding]["value"].endswith("bob.safetensors")
    assert shown[library.use_button]["visible"]
    assert shown[library.portrait]["value"] is None and not shown[library.portrait]["visible"]
    assert library.pick("", selected(7))[library.picked] == ""


def test_what_is_known_of_consent_is_shown(page, library):
    workspace = page.shared.workspace("")
    assert "Consent" not in library.refresh("ada", "")[library.facts]
    ada = workspace.people()["ada"]
    workspace.save_person(replace(ada, settings={"consent": "2026-11-30, stated by the user"}))
    assert "2026-11-30, stated by the user" in library.refresh("ada", "")[library.facts]


def test_a_new_name_goes_to_the_file_the_portrait_and_the_photos(page, library):
    workspace = page.shared.workspace("")
    workspace.enlist(workspace.add_photo(portrait(), "a"), 0, "ada", consent=True)
    give_portraits(page)
    shown = library.rename("ada", " eve ", "")
    assert "now called eve" in shown[library.problem] and shown[library.picked] == "eve"
    assert names(page) == ["bob", "eve"]
    assert workspace.portraits.find("eve") and not workspace.portraits.find("ada")
    assert workspace.trainee("eve") and not workspace.trainee("ada")
    again = make_page(page.shared.core, page.shared.library.parent).shared.workspace("")
    assert again.trainee("eve")


@pytest.mark.parametrize(
    ("name", "says"), [("bob", "taken"), ("", "0 characters"), ("a/b", "contains")]
)
def test_a_name_that_will_not_do_changes_nothing(page, library, name, says):
    shown = library.rename("ada", name, "")
    assert list(shown) == [library.problem] and says in shown[library.problem]
    assert names(page) == ["ada", "bob"]


def test_a_deleted_person_comes_back_with_the_portrait(page, library):
    give_portraits(page)
    before = page.shared.workspace("").people()["ada"].coefficients
    shown = library.delete("ada", "")
    assert "ada was deleted" in shown[library.problem] and names(page) == ["bob"]
    assert shown[library.undo_button]["value"] == "Undo: bring back ada"
    assert not shown[library.details]["visible"]
    shown = library.undo("")
    assert "ada is back" in shown[library.problem] and names(page) == ["ada", "bob"]
    after = page.shared.workspace("").people()["ada"].coefficients
    assert (before == after).all() and page.shared.workspace("").portraits.find("ada")
    assert not shown[library.undo_button]["visible"]
    assert "nobody to bring back" in library.undo("")[library.problem]


def test_undo_never_costs_another_person_of_the_same_name(page, library, people):
    library.delete("ada", "")
    fill_library(page, people[:1])
    assert "“ada” is taken again" in library.undo("")[library.problem]
    library.rename("ada", "new ada", "")
    library.undo("")
    assert names(page) == ["ada", "bob", "new ada"]


def test_a_person_who_is_trained_again_can_be_brought_back_too(page, library):
    workspace = page.shared.workspace("")
    old = workspace.people()["ada"]
    workspace.save_person(replace(old, coefficients=old.coefficients + 1))
    library.rename("ada", "newer", "")
    library.undo("")
    assert (workspace.people()["ada"].coefficients == old.coefficients).all()


def test_after_a_week_deleted_people_are_gone(page, library):
    library.delete("ada", "")
    (folder,) = (page.shared.library / ".studio" / "deleted").iterdir()
    long_ago = time.time() - UNDO_SECONDS - 1
    os.utime(folder, (long_ago, long_ago))
    assert not library.refresh("", "")[library.undo_button]["visible"]
    assert not folder.exists()


def test_a_person_comes_in_from_a_file_under_a_free_name(
    page, library, models, basis, person, tmp_path
):
    (ada,) = fit([person], models, basis, TrainConfig(steps=0)).values()
    path = save_identity(ada, tmp_path / "elsewhere")
    shown = library.add(str(path), "")
    assert "ada 2 is in the library" in shown[library.problem]
    assert shown[library.picked] == "ada 2"
    assert names(page) == ["ada", "ada 2", "bob"]


def test_a_person_comes_in_from_another_tools_file(page, library, models, basis, person, tmp_path):
    (ada,) = fit([person], models, basis, TrainConfig(steps=0)).values()
    path = export_identity(ada, basis, models, tmp_path / "elsewhere", token="zoe")
    assert "zoe is in the library" in library.add(str(path), "")[library.problem]


@pytest.mark.parametrize("name", ["zoe.pt", "zoe.SAFETENSORS", "zoe"])
def test_what_a_file_is_its_content_says(name, page, library, models, basis, person, tmp_path):
    (ada,) = fit([person], models, basis, TrainConfig(steps=0)).values()
    path = save_identity(replace(ada, name="eve"), tmp_path / "elsewhere")
    path = path.rename(tmp_path / name)
    assert "eve is in the library" in library.add(str(path), "")[library.problem]
    path = export_identity(ada, basis, models, tmp_path / "elsewhere", "a1111")
    path = path.rename(tmp_path / name)
    assert "zoe is in the library" in library.add(str(path), "")[library.problem]


def test_a_damaged_identity_file_is_called_that(page, library, models, basis, person, tmp_path):
    (ada,) = fit([person], models, basis, TrainConfig(steps=0)).values()
    wrong = replace(ada, coefficients=torch.zeros(2, basis.p + 1))
    for cut in (0, 100):
        path = save_identity(wrong, tmp_path / "elsewhere")
        path.write_bytes(path.read_bytes()[: path.stat().st_size - cut])
        shown = library.add(str(path), "")
        assert "damaged" in shown[library.problem] and "embedding" not in shown[library.problem]
        assert names(page) == ["ada", "bob"]


def test_several_people_of_a_file_come_in_or_none(page, library, models, basis, tmp_path):
    stars = [person_embeddings(name, basis, models) for name in celebrity_names()[:3]]
    path = tmp_path / f"{'n' * 70}.pt"
    torch.save({"id_embeddings": stars}, path)
    shown = library.add(str(path), "")
    added = [f"{'n' * 60}-{number}" for number in (1, 2, 3)]
    assert shown[library.picked] == added[0] and names(page) == sorted(["ada", "bob", *added])
    torch.save({"id_embeddings": [*stars, stars[0] * torch.nan]}, path)
    assert "NaN" in library.add(str(path), "")[library.problem]
    torch.save({"id_embeddings": stars}, path)
    kept = page.shared.library / file_name(f"{'n' * 60} 2")
    kept.write_text("damaged")  # but not to be lost
    library.add(str(path), "")
    assert len(names(page)) == 8 and kept.read_text() == "damaged"


def test_a_file_that_is_no_person_is_named_and_nothing_changes(page, library, tmp_path):
    path = tmp_path / "odd.safetensors"
    path.write_text("no tensors")
    shown = library.add(str(path), "")
    assert list(shown) == [library.problem]
    assert "odd.safetensors" in shown[library.problem]
    assert str(tmp_path) not in shown[library.problem]
    assert names(page) == ["ada", "bob"]


def test_people_of_another_model_are_shown_but_not_used(page, library, models, basis, person):
    (eve,) = fit([person], models, basis, TrainConfig(steps=0)).values()
    eve = replace(eve, name="eve", basis_id="another", base_model="somewhere/else")
    save_identity(eve, page.shared.library)
    shown = library.refresh("eve", "")
    assert "somewhere/else" in shown[library.facts]
    assert not shown[library.use_button]["visible"]
    assert not shown[library.embedding]["visible"]


@pytest.mark.parametrize("name", ODD)
def test_names_are_text_wherever_the_library_writes_them(page, library, name):
    name = name.replace("<", "").replace(">", "").replace("/", "")
    shown = library.rename("ada", name, "")
    assert name in names(page)
    for html in (shown[library.problem], shown[library.facts]):
        assert '"x"' not in html and "{{" not in html and "${" not in html
    library.delete(name, "")
    assert name not in list_identities(page.shared.library)
    library.undo("")
    assert name in names(page)


def test_the_button_to_compose_takes_the_person_along(page):
    text = page.compose.box.text
    assert page.use_person("ada", "", "")[text] == "a photo of <ada>"
    prompt = page.use_person("ada", "a photo of <bob> with", "")[text]
    assert prompt == "a photo of <bob> with <ada>"
    assert page.use_person("bob", "a photo of <bob>", "")[text] == "a photo of <bob>"


def odd_entries(library: Path) -> None:
    """What a folder of people should not hold."""
    (library / "link.safetensors").symlink_to(library / "nowhere.safetensors")
    (library / "folder.safetensors").mkdir()
    (library / "empty.safetensors").write_bytes(b"")
    (library / "text.safetensors").write_text("hello", encoding="utf-8")
    os.mkfifo(library / "pipe.safetensors")
    (library / ".studio").mkdir(exist_ok=True)
    (library / ".studio" / "deleted").write_bytes(b"no folder")


def test_odd_entries_of_the_folder_are_skipped(page, library, caplog):
    odd_entries(page.shared.library)
    assert names(page) == ["ada", "bob"]
    assert library.refresh("ada", "")[library.details]["visible"]
    for name in ("link", "folder", "empty", "text", "pipe"):
        assert any(f"{name}.safetensors" in line for line in caplog.messages)


def test_a_portrait_that_is_a_bomb_is_not_shown(page, library, caplog):
    bomb = page.shared.library / "ada.png"
    Image.new("1", (20_000, 20_000)).save(bomb)
    shown = library.refresh("ada", "")
    assert shown[library.portrait]["visible"] is False
    assert isinstance(shown[library.people]["value"][0][0], Image.Image)  # a silhouette
    assert any("ada.png" in line for line in caplog.messages)
    bomb.unlink()
    os.symlink("nowhere", bomb)
    assert library.refresh("ada", "")[library.portrait]["visible"] is False


def test_a_deleted_portrait_is_served_no_more(page, library):
    give_portraits(page)
    shown = Path(library.refresh("ada", "")[library.people]["value"][0][0])
    assert shown.is_file()
    library.delete("ada", "")
    assert not shown.exists()
    library.undo("")
    again = Path(library.refresh("ada", "")[library.people]["value"][0][0])
    library.rename("ada", "eve", "")
    assert not again.exists()


def test_an_entry_that_vanishes_while_it_is_listed_is_left_out(page, library, monkeypatch):
    files = page.shared.workspace("").files

    def vanish(name):
        raise FileNotFoundError(2, "No such file or directory")

    with monkeypatch.context() as patch:
        patch.setattr(files, "file", vanish)
        assert names(page) == []
    assert names(page) == ["ada", "bob"]


def test_a_folder_that_cannot_be_changed_is_told(page, library, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        assert "Permission denied" in library.delete("ada", "")[library.problem]
    assert names(page) == ["ada", "bob"]
    library.delete("ada", "")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        assert "Permission denied" in library.undo("")[library.problem]
    library.undo("")
    assert names(page) == ["ada", "bob"]


def test_two_apps_on_one_folder_lose_nobody(studio, people, tmp_path):
    """Both replace, rename and list at once; whoever was there is there in the end."""
    first, second = make_page(studio, tmp_path), make_page(studio, tmp_path)
    fill_library(first, people)
    before = list_identities(tmp_path / "identities")
    failures: list[BaseException] = []

    def work(page, mine):
        workspace = page.shared.workspace("")
        try:
            for _ in range(15):
                workspace.save_person(workspace.people()[mine])
                page.library.refresh(mine, "")
                workspace.rename(workspace.rename(mine, f"{mine} 2"), mine)
        except BaseException as error:
            failures.append(error)

    pairs = ((first, "ada"), (second, "bob"))
    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    after = list_identities(tmp_path / "identities")
    assert set(after) == set(before)
    assert all(after[name].coefficients.equal(before[name].coefficients) for name in before)
