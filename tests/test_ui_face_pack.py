from __future__ import annotations

import os
import shutil
import zipfile

import gradio as gr
import pytest
from conftest import portrait
from file_server import serving
from ui_help import finish, make_page

from celeb_core import load_studio
from celeb_core.face_packs import AURAFACE, PACKS, RESEARCH, Pack
from celeb_core.studio import with_faces
from ui.face_pack import FacePackJob, describe


@pytest.fixture
def bare(faceless):
    return load_studio(faceless, device="cpu", require_faces=False)


@pytest.fixture
def page(bare, tmp_path):
    page = make_page(bare, tmp_path)
    yield page
    page.shared.close()


@pytest.fixture
def pack(world, tmp_path):
    return str(shutil.copytree(world / "faces", tmp_path / "pack"))


def leaves(block):
    children = getattr(block, "children", None)
    return [leaf for child in children for leaf in leaves(child)] if children else [block]


def texts(block) -> str:
    shown = " ".join(leaf.value for leaf in leaves(block) if isinstance(leaf, gr.HTML))
    return shown.replace("&#x27;", "'")


def install(page, pack):
    """Press the button, and wait."""
    page.faces.pack.install(pack)
    return finish(page.faces.pack.job())


def test_both_packs_are_offered_with_their_licences_and_sizes(page):
    card = page.faces.pack.card
    for text in ("buffalo_l (non-commercial research only)", "AuraFace (Apache-2.0)"):
        assert text in texts(card)
    assert RESEARCH in texts(card) and AURAFACE in texts(card)
    labels = [leaf.value for leaf in leaves(card) if isinstance(leaf, gr.Button)]
    assert labels[:2] == ["Download buffalo_l (289 MB)", "Download AuraFace (278 MB)"]


def test_visitors_of_a_shared_page_can_install_nothing(bare, tmp_path):
    pack = make_page(bare, tmp_path, isolated=True).faces.pack
    assert {type(leaf) for leaf in leaves(pack.card)} == {gr.HTML}
    assert "celeb-basis pack auraface" in texts(pack.card) and RESEARCH in texts(pack.card)
    assert not hasattr(pack, "tick")


def test_where_there_is_a_face_pack_there_is_no_card(studio, tmp_path):
    assert not hasattr(make_page(studio, tmp_path).faces.pack, "card")


def test_a_folder_is_used_at_once(page, pack, tmp_path):
    faces, card = page.faces, page.faces.pack
    shown = card.refresh("")
    assert shown[card.card]["visible"] and not shown[card.area]["visible"]
    photo = tmp_path / "ada.png"
    portrait().save(photo)
    workspace = page.shared.workspace("")
    assert "celeb-basis pack buffalo_l" in faces.upload([str(photo)], "")[faces.problem]
    assert install(page, pack).status == "done"
    shown = card.refresh("")
    assert not shown[card.card]["visible"] and shown[card.area]["visible"]
    portrait().save(photo)
    chosen = faces.upload([str(photo)], "")
    assert chosen[faces.problem] == ""
    faces.use("ada", True, False, chosen[faces.view.choice], "")
    assert page.shared.workspace("") is workspace and workspace.trainee("ada")
    page.train.start(list(workspace.trainees), "fast", 1, 0, "")
    job = finish(page.train.job(""))
    assert job.status == "done" and job.people[0].recogniser == page.shared.core.faces.id


def test_people_to_be_trained_come_back_with_the_face_pack(bare, pack, tmp_path):
    before = make_page(with_faces(bare, pack), tmp_path).shared.workspace("")
    before.enlist(before.add_photo(portrait(), "ada"), 0, "ada", consent=True)
    page = make_page(bare, tmp_path)
    assert not page.shared.workspace("").trainees
    install(page, pack)
    assert list(page.shared.workspace("").trainees) == list(before.trainees)
    shown = page.faces.pack.refresh("")
    assert len(shown[page.faces.training.people]["value"]) == 1


def test_what_is_no_face_pack_is_explained(page, tmp_path):
    card = page.faces.pack
    assert "Write the path" in card.install(" ")[card.status] and card.job() is None
    assert install(page, str(tmp_path)).status == "failed"
    shown = card.refresh("")
    assert f"no face pack at {tmp_path}" in shown[card.status] and shown[card.card]["visible"]
    assert all(shown[button]["interactive"] for button in card.buttons)


def test_a_download_can_be_stopped_and_goes_on(page, world, tmp_path, monkeypatch):
    archive = tmp_path / "pack.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("more.bin", os.urandom(3_000_000))
        for name in ("det.onnx", "rec.onnx"):
            packed.write(world / "faces" / name, name)
    with serving() as server:
        server.files["pack.zip"] = archive.read_bytes()
        monkeypatch.setitem(PACKS, "buffalo_l", Pack(f"{server.url}/pack.zip", RESEARCH, 4))
        job = FacePackJob(owner="", shared=page.shared, pack="buffalo_l")
        job.stop.set()
        assert job.run() == "stopped"
        job.status = "stopped"
        assert describe(job) == "Stopped: the next download goes on from here"
        assert install(page, "buffalo_l").status == "done"
        assert [part for _, part in server.asked] == [None, f"bytes={1 << 20}-"]
    assert page.shared.core.faces.id.startswith("buffalo_l-")


def test_the_time_left_is_that_of_what_is_missing(page, monkeypatch):
    job = FacePackJob(owner="", shared=page.shared, pack="buffalo_l", note="Downloading")
    job.status, job.began = "running", 100.0
    monkeypatch.setattr("ui.face_pack.time.monotonic", lambda: 110.0)
    job.report(100_000_000, 300_000_000)  # of a download before this one
    assert describe(job) == "Downloading · 100 of 300 MB"
    job.report(150_000_000, 300_000_000)
    assert describe(job) == "Downloading · 150 of 300 MB · about 30 s left"
