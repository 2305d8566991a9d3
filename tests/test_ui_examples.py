"""The first visit: sample people, example images, a first prompt, the demo with a face."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest
from conftest import portrait
from ui_help import finish, make_page, opened_page, selected

from celeb_core import PRESETS, TrainConfig, fit, load_studio, save_identity
from celeb_core.errors import SaveFailed
from celeb_core.faces import find_face
from celeb_core.vocabulary import parse_vocabulary
from ui import demo, examples
from ui.demo_panel import Displayed
from ui.example_faces import enlist_example
from ui.images import read_settings, save_generated
from ui.limits import LimitReached, Limits
from ui.unknown_words import UnknownWords

PROMPT = "a photo of <ada> smiling"
FAST = PRESETS["fast"].changed(views=2, batch_size=2)


@pytest.fixture(scope="module")
def shown(measured_world, people, tmp_path_factory):
    """A studio whose model has examples, and the folder of its sample people."""
    folder = tmp_path_factory.mktemp("shown") / "tinyville"
    shutil.copytree(measured_world, folder)
    about = json.loads((folder / "studio.json").read_text())
    words = {"words": PROMPT.split(), "groups": {}, "requests": {}}
    (folder / "studio.json").write_text(json.dumps({**about, "vocabulary": words}))
    studio = load_studio(folder, device="cpu")
    made = fit(people[:2], studio.models, studio.basis, TrainConfig(steps=0))
    samples, shipped = folder.parent / "identities", folder / "examples"
    for name, shade in (("ada", 255), ("bob", 215)):
        path = save_identity(made[name], samples)
        path.rename(path.with_suffix(".sample.safetensors"))
        for part in ("photos", "portraits", "images"):
            (shipped / part).mkdir(parents=True, exist_ok=True)
        portrait(shade).save(shipped / "photos" / f"{name}.png")
    marker = SimpleNamespace(png=_png)
    for name, score in (("ada", 0.7), ("bob", 0.6)):
        save_generated(
            portrait(), shipped / "portraits" / f"{name}.png", {"identity": score}, marker
        )
    for number, text in enumerate((PROMPT, "<ada> and <bob>"), 1):
        about = {"prompt": text, "seed": 40 + number, "steps": 2, "width": 128, "height": 128}
        about |= {"scores": {"people": {"ada": 0.5}, "prompt": None}}
        save_generated(portrait(), shipped / "images" / f"{number}.png", about, marker)
    portrait().save(shipped / "strip.webp")
    return studio, samples


def _png(image, settings, text):
    from celeb_core.marks.provenance import Marker

    return Marker(b"test").png(image, settings, text)


@pytest.fixture
def page(shown, tmp_path, monkeypatch):
    studio, samples = shown
    monkeypatch.setattr(examples, "SAMPLES", samples)
    yield from opened_page(studio, tmp_path)


@pytest.fixture
def workspace(page):
    """With the sample people."""
    workspace = page.shared.workspace("")
    page.shared.shown_first.add_people(["ada", "bob"], workspace.library)
    return workspace


def test_sample_people_have_portraits_scores_and_a_reference(page, workspace):
    entries = {entry.identity.name: entry for entry in workspace.files.entries()}
    assert entries["ada"].score == 0.7 and workspace.portraits.find("bob")
    assert page.library.refresh("", "")[page.library.portraits_button]["visible"] is False
    photo = find_face(page.shared.shown_first.people["ada"].photo, page.shared.core.faces)
    person = workspace.people()["ada"]
    assert not workspace.needs_reference(person)
    assert workspace.reference(person).equal(photo.embedding)
    stranger = replace(person, coefficients=person.coefficients + 1)
    assert workspace.needs_reference(stranger) and workspace.reference(stranger) is None


def test_portraits_are_given_to_sample_people_alone(page, workspace):
    own = replace(
        workspace.people()["ada"], coefficients=workspace.people()["bob"].coefficients * 2
    )
    workspace.save_person(own)
    page.shared.shown_first.add_portraits(workspace.library)
    assert workspace.portraits.find("ada") is None and workspace.portraits.find("bob")


def test_a_model_without_examples_shows_none(studio, tmp_path):
    bare = make_page(studio, tmp_path)
    assert bare.shared.shown_first.images == [] and bare.shared.shown_first.people == {}
    assert bare.faces.example_images is None and not bare.faces.offers_demo
    assert bare.offer("") == ""
    assert not UnknownWords(bare.shared, "x").known


def test_a_damaged_example_is_left_out(shown, tmp_path, caplog):
    studio, _ = shown
    folder = shutil.copytree(studio.models.folder, tmp_path / "model")
    (folder / "examples" / "images" / "1.png").write_text("no image")
    found = examples.Examples(folder, studio.basis)
    assert [image.prompt for image in found.images] == ["<ada> and <bob>"]
    assert "1.png" in caplog.text and found.mixture("strip") and found.mixture("square") is None


def test_a_first_prompt_is_offered_and_gives_way_to_people(page, workspace):
    box = page.compose.box
    assert page.offer("") == PROMPT
    assert box.fill_in(["bob"], PROMPT) == "a photo of <bob>"
    assert box.fill_in(["bob"], f"{PROMPT}!") == f"{PROMPT}!"
    assert box.idea("{one} in space", PROMPT, "")[box.text] == "<ada> in space"
    workspace.delete("ada")
    assert page.offer("") == ""


def test_an_example_image_fills_in_its_settings_and_brings_its_people(page):
    compose, library = page.compose, page.library
    page.shared.workspace("").limits = Limits(people=1)
    assert "at most 1 people" in page.use_example("", selected(1))[compose.problem]  # two are in it
    page.shared.workspace("").limits = Limits()
    updates = page.use_example("", selected(1))
    assert updates[page.tabs].selected == "compose"
    assert updates[compose.box.text] == "<ada> and <bob>" and updates[compose.seed] == 42
    assert updates[compose.new_seed] is False
    assert json.loads(updates[compose.box.people]) == [["ada", True], ["bob", True]]
    assert library.open("", "")[library.picked] == "ada"
    assert "Example is" in page.use_example("", selected(9))[compose.problem]


def test_an_empty_library_offers_the_sample_people(page):
    library = page.library
    shown = library.open("", "")
    assert shown[library.samples_button]["visible"] and shown[library.picked] == ""
    page.shared.workspace("").limits = Limits(people=1)
    assert "at most 1 people" in library.add_samples("")[library.problem]
    page.shared.workspace("").limits = Limits()
    shown = library.add_samples("")
    assert shown[library.picked] == "ada" and not shown[library.samples_button]["visible"]


def test_words_that_the_model_does_not_know_are_named_once(page, workspace):
    box = UnknownWords(page.shared, "x")
    assert "does not know “horse”" in box.refresh("a photo of <ada> smiling, horse")
    assert box.refresh(PROMPT) == ""
    form = {"grid_people": [], "count": 1, "seed": 5, "new_seed": False, "strength": 1.0}
    form |= {"embed_settings": True, "steps": 1, "guidance_scale": 1.0, "session": ""}
    updates = page.compose.start(text="a photo of <ada>, (horse:1.2)", **form)
    assert "(word:1.3)" in updates[page.compose.problem]
    assert "horse”" not in updates[page.compose.problem]
    assert parse_vocabulary(None, "") is None


# --- the demo --------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """Two steps of training."""
    short = lambda *_: FAST.changed(steps=2)  # noqa: E731
    monkeypatch.setattr("ui.training_start.recipe", short)


def poll(page, displayed=None):
    return page.faces.demo.poll(displayed or Displayed(), "")


def test_the_demo_leads_from_a_face_to_an_image(page, quick):
    panel = page.faces.demo
    assert page.faces.offers_demo and panel.person("") == []
    assert set(poll(page)) == {panel.displayed}
    assert panel.start("") == ""
    job = finish(panel.job(""))
    assert job.status == "done", job.error
    images = finish(job.images)
    assert images.status == "done", images.error
    (image,) = images.images
    assert read_settings(image.path)["prompt"] == "a photo of <Ash> smiling"
    assert page.train.job("") is job and page.compose.results.job("") is images
    shown = poll(page)
    assert shown[panel.steps].count('class="done"') == 4 and "1,024 numbers" in shown[panel.steps]
    assert len(shown[panel.gallery]["value"]) == len(job.results) + 1
    assert shown[panel.use]["visible"] and not shown[panel.timer].active
    assert panel.gallery not in poll(page, shown[panel.displayed])
    opened = page.use_demo("", "")
    assert opened[page.compose.box.text] == "a photo of <Ash>"
    assert enlist_example(page.shared, page.shared.workspace("")).name == "Billie"


def test_a_demo_is_cancelled_and_resumed_up_to_the_image(page, monkeypatch):
    long = lambda *_: FAST.changed(steps=4000)  # noqa: E731
    monkeypatch.setattr("ui.training_start.recipe", long)
    panel = page.faces.demo
    assert panel.start("") == ""
    job = panel.job("")
    live = poll(page)
    assert live[panel.steps].count('class="now"') == 1 and live[panel.halt]["visible"]
    assert not live[panel.button]["interactive"] and live[panel.timer].active
    panel.cancel("")
    assert finish(job).status == "stopped" and job.images is None
    assert not poll(page)[panel.use]["visible"]
    again = job.again()
    assert isinstance(again, demo.DemoTraining) and again.prompt == job.prompt


def test_what_stops_a_demo_is_said(page, monkeypatch, quick):
    panel, workspace = page.faces.demo, page.shared.workspace("")
    workspace.limits = Limits(people=0)
    assert "at most 0 people" in panel.start("")
    workspace.limits = Limits()
    monkeypatch.setattr(page.shared, "examples", lambda: [])
    assert "All example faces are trained" in panel.start("")
    assert panel.job("") is None


def test_an_image_that_cannot_be_queued_leaves_the_person(page, monkeypatch, quick):
    def refused(*args, **kwargs):
        raise LimitReached("3 jobs of yours are waiting.")

    monkeypatch.setattr(demo, "start_images", refused)
    panel = page.faces.demo
    panel.start("")
    job = finish(panel.job(""))
    assert job.status == "done" and "Ash" in page.shared.workspace("").people()
    shown = poll(page)
    assert "3 jobs of yours" in shown[panel.steps] and shown[panel.use]["visible"]


def test_example_faces_of_people_with_photos_of_their_own_are_not_taken(page):
    workspace = page.shared.workspace("")
    photo = workspace.add_photo(portrait(), "x")
    workspace.enlist(photo, 0, "Ash", consent=True)
    listed = enlist_example(page.shared, workspace)
    assert listed.name == "Billie"
    assert enlist_example(page.shared, workspace) is listed  # not trained yet


def test_the_train_tab_takes_an_example_face(page, monkeypatch):
    form = page.train.form
    assert form.refresh([], "")[form.example]["visible"]
    shown = form.add_example([], "")
    (chosen,) = shown[form.chosen]["value"]
    assert page.shared.workspace("").trainees[chosen].name == "Ash"
    assert not shown[form.example]["visible"]

    def full(*args):
        raise SaveFailed("The disk is full.")

    monkeypatch.setattr("ui.train_form.enlist_example", full)
    assert "The disk is full" in form.add_example([], "")[form.problem]
    assert isinstance(page.train.first, gr.Column)
