from __future__ import annotations

import json

import gradio as gr
import pytest
from conftest import portrait
from ui_help import fill_library, finish, make_page

from ui.form import from_settings
from ui.images import read_settings
from ui.layout import AUTOMATIC, BOXES, OFF

RIGHT, LEFT = [0.5, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 1.0]


@pytest.fixture
def page(studio, people, tmp_path):
    page = make_page(studio, tmp_path)
    fill_library(page, people[:2])
    yield page
    page.shared.runner.close()


def start(page, text, **form):
    """What is wrong, and the requests of a job that is not waited for."""
    usual = {
        "grid_people": [], "count": 1, "seed": 5, "new_seed": False, "strength": 1.0,
        "embed_settings": True, "steps": 1, "guidance_scale": 1.0, "session": "",
    }  # fmt: skip
    updates = page.compose.start(text=text, **{**usual, **form})
    job = page.compose.results.job("")
    if job is not None:
        page.shared.runner.stop(job)
        finish(job)
    return updates[page.compose.problem], job.requests if job else []


def boxes(**people):
    return {"regions": BOXES, "boxes": json.dumps(people)}


def test_several_people_have_regions_unless_they_are_off(page):
    text = "<ada> and <bob>\n<ada> alone"
    problem, (pair, one) = start(page, text, region_strength=0.5)
    assert problem == "" and pair.config.regions.strength == 0.5 and pair.prompt.boxes == {}
    assert one.config.regions is None and "regions" not in one.settings
    _, (pair, _) = start(page, text, regions=OFF, boxes='{"ada": [0.5, 0, 1, 1]}')
    assert pair.config.regions is None and pair.prompt.boxes == {}
    assert pair.settings["regions"] == {"mode": OFF}


def test_boxes_are_those_of_the_people_of_each_prompt(page):
    text = "<ada> and <bob>\n<bob> and <bob>"
    problem, (pair, bob) = start(page, text, **boxes(ada=RIGHT, eve=LEFT))
    assert problem == "" and pair.prompt.boxes == {"ada": tuple(RIGHT)} and not bob.prompt.boxes
    _, (pair, _) = start(page, text, regions=AUTOMATIC, boxes=json.dumps({"ada": RIGHT}))
    assert not pair.prompt.boxes


def test_a_grid_has_a_box_for_whoever_it_is(page):
    celebrity = page.shared.core.basis.names[0]
    form = {"grid_people": ["<ada>", celebrity], **boxes(**{"{}": RIGHT})}
    _, (ada, other) = start(page, "{} and <bob>", **form)
    assert ada.prompt.boxes == {"ada": tuple(RIGHT)}
    assert other.prompt.boxes == {celebrity: tuple(RIGHT)}


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"regions": "x"}, "Regions is “x”: choose one of"),
        ({"region_strength": 2}, "Region strength is 2"),
        ({"self_attention_share": float("nan")}, "Share of steps is not a finite number"),
        ({"regions": BOXES, "boxes": "["}, "The boxes are no JSON"),
        (boxes(ada=[0, 0, 2, 1]), "right, is 2"),
        ({"regions": BOXES, "boxes": {"a": 1}}, "The box of “a” is 1"),
    ],
)
def test_values_that_no_widget_can_have_are_named(page, form, says):
    problem, requests = start(page, "<ada> and <bob>", **form)
    assert says in problem and not requests


def test_boxes_come_back_from_an_image(page):
    page.compose.start(
        text="<ada> and <bob>", grid_people=[], count=1, seed=5, new_seed=False, strength=1.0,
        embed_settings=True, steps=1, guidance_scale=1.0, session="", region_strength=0.5,
        **boxes(ada=RIGHT, bob=LEFT),
    )  # fmt: skip
    job = finish(page.compose.results.job(""))
    assert job.status == "done", job.error
    settings = read_settings(job.images[0].path)
    assert settings["regions"]["boxes"] == {"ada": RIGHT, "bob": LEFT}
    updates = page.compose.load(str(job.images[0].path), "")
    filled = {
        name: updates[field] for name, field in page.compose.fields.items() if field in updates
    }
    assert filled["regions"] == BOXES and filled["region_strength"] == 0.5
    assert json.loads(filled["boxes"]) == {"ada": RIGHT, "bob": LEFT}
    del settings["regions"]["boxes"]["ada"][0]
    assert from_settings(settings, page.shared.core.models)["regions"] == AUTOMATIC


def refresh(
    page, text, grid_people=(), shape="Automatic", regions=AUTOMATIC, boxes="", size=(None, None)
):
    panel = page.compose.layout
    answer = panel.refresh(text, list(grid_people), shape, *size, regions, boxes, "")
    return answer if isinstance(answer, dict) else json.loads(answer)


def test_the_canvas_follows_prompt_and_shape(page):
    plan = refresh(page, "<ada> and <bob>")
    assert [person["name"] for person in plan["people"]] == ["ada", "bob"]
    assert plan["aspect"] == 1.5 and refresh(page, "<ada> and <bob>", shape="Square")["aspect"] == 1
    drawn = json.dumps({"ada": RIGHT})
    assert refresh(page, "<ada> and <bob>", boxes=drawn) == plan
    assert refresh(page, "<ada> and <bob>", regions=BOXES, boxes=drawn)["people"][1]["box"] == LEFT
    assert refresh(page, "{} and <bob>", ["<ada>"])["people"][0]["name"] == "{}"
    assert refresh(page, "")["people"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": "<ada> and <b"},
        {"shape": "x"},
        {"grid_people": 5},
        {"boxes": "["},
        {"text": "a" * 10**6},
    ],
)
def test_the_canvas_stays_when_something_is_wrong(page, wrong):
    usual = {"text": "<ada> and <bob>", "grid_people": [], "shape": "Square", "boxes": ""}
    usual |= {"width": 0, "height": 0}
    answer = page.compose.layout.refresh(**{**usual, **wrong}, regions=BOXES, session="")
    assert answer == gr.skip()


def test_the_faces_of_an_upload_become_boxes(page, tmp_path):
    panel, path = page.compose.layout, tmp_path / "pair.png"
    photo = portrait(255, at=(2, 2))
    photo.paste(portrait(200, at=(0, 0)).crop((0, 0, 64, 64)), (0, 0))
    photo.save(path)
    updates = panel.from_image(str(path), "<bob> and <ada>", [], "Automatic", None, None, "")
    found = json.loads(updates[panel.boxes])
    assert updates[panel.regions] == BOXES and updates[panel.problem] == ""
    assert found["bob"][0] < found["ada"][0]
    for text, says in (
        ("<ada>", "two or more people first"),
        ("<ada> and <nobody>", "two or more people first"),
        ("<ada>, <bob>, " + page.shared.core.basis.names[0], "has 3 people, this image 2 faces"),
    ):
        updates = panel.from_image(str(path), text, [], "Automatic", None, None, "")
        assert says in updates[panel.problem] and panel.boxes not in updates
    path.write_text("no image")
    updates = panel.from_image(str(path), "<bob> and <ada>", [], "Automatic", None, None, "")
    assert "pair.png" in updates[panel.problem] and str(tmp_path) not in updates[panel.problem]
