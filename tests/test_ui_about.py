from __future__ import annotations

import re
import shutil
from dataclasses import replace

from conftest import portrait
from PIL import Image
from ui_help import make_page

import app
from celeb_core import __version__, load_studio, save_calibration
from celeb_core.face_packs import AURAFACE
from celeb_core.marks.provenance import Marker
from ui.about import TEXT, revision, rows
from ui.images import save_generated
from ui.widgets import facts


def test_it_says_what_runs_where_and_why(studio):
    told = rows(studio)
    assert told["Version"] == __version__
    assert "Tinyville" in told["Model"] and told["Device"].startswith("cpu")
    assert told["Why"] == "chosen with --model"
    assert re.match(r"\d+\.\d GB in use", told["Memory"])
    assert told["Celebrities"].startswith("40 names, the model's own list;")
    assert told["Precision"] == "float32, text encoders float32"
    assert told["Memory mode"] == "full"
    assert told["Calibration"] == "none: training starts from the average"
    assert told["Face pack"] == f"{studio.faces.id}, on CPU"
    assert told["Its licence"] == "that of the model"


def test_what_was_named_is_shown_to_the_owner(world, calibration, studio, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    pack = tmp_path / ".insightface" / "models" / "auraface"
    shutil.copytree(world / "faces", pack)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(studio.basis.names[:30]))
    core = load_studio(world, device="cpu", face_pack="auraface", names=names)
    made = replace(calibration, recogniser=core.faces.id, basis_id=core.basis.id)
    save_calibration(made, tmp_path / "mine.safetensors")
    path = tmp_path / "mine.safetensors"
    core = load_studio(world, device="cpu", face_pack="auraface", names=names, calibration=path)
    told = rows(core)
    assert told["Celebrities"].startswith("30 names, a list of your own;")
    assert told["Calibration"] == f"of 40 celebrities, named with --calibration: {path}"
    assert told["Its licence"] == AURAFACE
    assert str(tmp_path) not in str(rows(core, isolated=True))


def test_without_a_face_pack(faceless):
    told = rows(load_studio(faceless, device="cpu", require_faces=False))
    assert told["Face pack"] == "none yet: see the Faces tab" and "Its licence" not in told


def test_the_revision_of_a_model_of_the_hub(models, monkeypatch):
    path = f"/cache/snapshots/{'0123456789' * 4}/model_index.json"
    monkeypatch.setattr("ui.about.try_to_load_from_cache", lambda *_, **__: path)
    assert revision(models) == ""
    assert revision(replace(models, id="owner/name", folder=None)) == ", revision 012345678901"


def test_facts_are_text_and_never_markup_or_template():
    listed = facts({"<b>": "{{x}}"})
    assert "{" not in listed and "<b>" not in listed


def test_the_command_that_it_names_is_one():
    (command,) = re.findall(r"python app\.py (.*)", TEXT)
    options = app.parser().parse_args(command.split())
    assert options.model == "sd15"


def test_memory_is_looked_up_again(studio, tmp_path, monkeypatch):
    page = make_page(studio, tmp_path)
    first = page.about.refresh()[page.about.facts]
    assert "GB in use" in first

    class Grown:
        def memory_info(self):
            return type("info", (), {"rss": 123.4e9})

    monkeypatch.setattr("psutil.Process", Grown)
    assert "123.4 GB in use" in page.about.refresh()[page.about.facts]


def test_who_prepared_the_model_and_how_well(studio, calibration):
    report = {"level": "full", "date": "2026-11-30", "device": "cuda, torch.bfloat16"}
    report |= {"seconds": 2100, "made_by": "<Ada>", "identity_over_by_name": [0.954, 0.871]}
    prepared = replace(calibration, report=report, settings={"shrink": 0.9, "steps": 60})
    shown = rows(replace(studio, calibration=prepared))
    assert shown["Prepared"] == "full, 2026-11-30, on cuda, torch.bfloat16, 35 min, by <Ada>"
    assert shown["Self-check"].startswith("identity score over that by name: 0.95, 0.87")
    assert shown["Training settings"] == "shrink 0.9, steps 60"
    assert "Prepared" not in rows(replace(studio, calibration=calibration))


def uploaded(page, image, name="made.png", session=""):
    path = page.shared.files.cache / ("a" * 64) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path) if isinstance(image, Image.Image) else path.write_bytes(image)
    page.shared.uploads.add(session, path, path.stat().st_size)
    return path


def test_the_page_knows_what_it_has_made_and_claims_nothing_else(studio, tmp_path):
    page = make_page(studio, tmp_path)
    about = page.about.made_here
    path = uploaded(page, page.shared.marks.png(portrait(), {"prompt": "<ada>"}))
    said = about.check(str(path), "")[about.answer]
    assert "Made here" in said and "ada" not in said.replace("made", "")
    assert not path.exists()
    strangers = Marker(b"stranger").png(portrait(), None)
    assert "another installation" in about.check(str(uploaded(page, strangers)), "")[about.answer]
    said = about.check(str(uploaded(page, portrait(), "<b>.png")), "")[about.answer]
    assert "proves nothing" in said and "<b>" not in said
    said = about.check(str(uploaded(page, b"text", "notes.txt")), "")[about.answer]
    assert "notes.txt" in said and "no image" in said and str(tmp_path) not in said


def test_sessions_that_are_apart_have_one_mark_that_names_none(studio, tmp_path):
    page = make_page(studio, tmp_path, isolated=True)
    about = page.about.made_here
    one, two = (page.shared.new_session() for _ in range(2))
    target = tmp_path / "made.png"
    save_generated(portrait(), target, None, page.shared.workspace(one).marker)
    path = uploaded(page, target.read_bytes(), session=two)
    assert "Made here" in about.check(str(path), two)[about.answer]
    kept = tmp_path / "identities" / ".studio" / "mark.key"
    about.check(str(kept), two)
    about.check(str(target), two)  # a path is no upload
    assert kept.is_file() and target.is_file()


def test_it_says_whether_images_are_checked(studio, tmp_path):
    (tmp_path / "studio.json").write_text('{"needs_safety_check": false}')
    drawn = replace(studio.models, folder=tmp_path)
    assert "not checked" in rows(studio)["Safety"]
    assert "need none" in rows(replace(studio, models=drawn))["Safety"]
    assert "before they are saved" in rows(replace(studio, safety=lambda images: []))["Safety"]
