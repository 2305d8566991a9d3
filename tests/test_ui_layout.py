from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from PIL import Image

from celeb_core import RegionConfig, SampleConfig, parse_prompt
from celeb_core.errors import SettingsError
from celeb_core.faces import FoundFaces
from ui.form import Form
from ui.layout import (
    AUTOMATIC,
    BOXES,
    MOST_BOXES,
    OFF,
    boxes_around,
    describe_regions,
    from_region_settings,
    parse_boxes,
    plan,
    region_settings,
    with_boxes,
)

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
PEOPLE = {"ada": None, "bob": None}


def test_boxes_are_read_from_json_and_from_what_it_holds():
    for value in ('{"<ada>": [0.5, 0, 1, 1]}', {"ada": (0.5, 0, 1, 1)}, {"ada": [0.5, 0, 1, 1]}):
        assert parse_boxes(value) == {"ada": RIGHT}
    assert parse_boxes("") == parse_boxes(None) == parse_boxes(" \n") == parse_boxes({}) == {}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("{", "no JSON"),
        ("[" * 5000, "no JSON"),
        ('{"a": [NaN, 0, 1, 1]}', "no JSON"),
        ("x" * 30_000, "30,000 characters"),
        ("[1]", "an object of names"),
        (7, "The boxes are 7"),
        ({1: [0, 0, 1, 1]}, "an object of names"),
        ({"ada": 5}, "The box of “ada” is 5"),
        ({"ada": [0, 0, 1]}, "of 3 numbers"),
        ({"ada": "0,0,1,1"}, "give left, top, right, bottom"),
        ({"ada": [0, 0, 1, "1"]}, "bottom, is “1”"),
        ({"ada": [0, 0, 1, True]}, "bottom, is True"),
        ({"ada": [0, -0.1, 1, 1]}, "top, is -0.1"),
        ({"ada": [0, 0, 1.01, 1]}, "right, is 1.01"),
        ({"ada": [float("nan"), 0, 1, 1]}, "not a finite number"),
        ({"ada": [0.5, 0, 0.52, 1]}, "0.02 wide and 1 high"),
        ({"ada": [0.9, 0, 0.1, 1]}, "at least 0.05"),
        ({str(n): [0, 0, 1, 1] for n in range(MOST_BOXES + 1)}, "17 boxes"),
    ],
)
def test_what_is_no_box_is_refused(value, says):
    with pytest.raises(SettingsError, match="(?s)" + says.replace(".", r"\.")) as caught:
        parse_boxes(value)
    assert len(str(caught.value)) < 400


def test_a_prompt_gets_the_boxes_of_its_people(basis):
    celebrity = basis.names[0]
    prompt = parse_prompt(f"<ada> with {celebrity}", PEOPLE)
    boxes = {celebrity: LEFT, "ada": RIGHT, "bob": LEFT}
    assert with_boxes(prompt, boxes, basis.names).boxes == {"ada": RIGHT, celebrity: LEFT}
    assert with_boxes(prompt, {"{}": LEFT}, basis.names).boxes == {}
    assert with_boxes(prompt, {"{}": LEFT}, basis.names, "<ada>").boxes == {"ada": LEFT}
    named = {"{}": LEFT, "ada": RIGHT}
    assert with_boxes(prompt, named, basis.names, "<ada>").boxes == {"ada": RIGHT}


def shown(studio, *lines, grid=False, config=None, boxes=None):
    text = plan(studio, lines, grid, PEOPLE, config or SampleConfig(), boxes or {})
    if text is None:
        return None
    found = json.loads(text)
    return found["aspect"], {one["name"]: tuple(one["box"]) for one in found["people"]}


def test_the_canvas_shows_the_people_in_the_order_of_the_prompt(studio):
    aspect, people = shown(studio, "<bob> and <ada>")
    assert aspect == 1.5 and list(people) == ["bob", "ada"]
    assert people["bob"][2] <= people["ada"][0] + 1e-6  # left to right
    assert shown(studio, "<bob> and <ada>", boxes={"bob": RIGHT}) == (
        1.5, {"bob": people["bob"], "ada": people["bob"]},  # ada gives way; bob, if put back
    )  # fmt: skip
    config = SampleConfig(width=128, height=192)
    assert shown(studio, "<bob> and <ada>", config=config)[0] == pytest.approx(2 / 3, abs=0.01)


def test_the_canvas_shows_celebrities_and_the_people_of_several_prompts(studio):
    celebrity = studio.basis.names[0]
    _, people = shown(studio, "<ada> alone", f"<bob> and {celebrity}", "<ada> and <bob>")
    assert set(people) == {"ada", "bob", celebrity}
    _, people = shown(studio, "{} and <bob>", grid=True)
    assert list(people) == ["{}", "bob"]


def test_the_canvas_knows_the_strengths_of_the_prompt(studio):
    text = f"<ada:0.7> and <bob> with {studio.basis.names[0]}"
    found = json.loads(plan(studio, [text], False, PEOPLE, SampleConfig(), {}))
    assert [person["strength"] for person in found["people"]] == [0.7, 1.0, None]


def test_the_canvas_stays_as_it_is_while_a_name_is_being_written(studio):
    assert shown(studio, "<ada> and <bo") is None
    assert shown(studio, "<ada> and <nobody>") is None
    assert shown(studio) == shown(studio, "<ada>") == (1.5, {})
    assert list(shown(studio, "<ada> and <bo", "<ada> and <bob>")[1]) == ["ada", "bob"]


def found(*boxes, size=(300, 200)):
    return FoundFaces(Image.new("RGB", size), [SimpleNamespace(box=box) for box in boxes])


def test_the_faces_of_an_image_become_boxes_left_to_right():
    photo = found((30, 40, 70, 80), (150, 50, 152, 52), (220, 60, 260, 100))
    boxes = boxes_around(photo, ["ada", "bob"])
    assert list(boxes) == ["ada", "bob"]  # of the largest faces
    for name, (left, top, right, bottom) in (
        ("ada", (30, 40, 70, 80)),
        ("bob", (220, 60, 260, 100)),
    ):
        box = boxes[name]
        assert 0 <= box[0] < left / 300 and right / 300 < box[2] <= 1
        assert 0 <= box[1] < top / 200 and bottom / 200 < box[3] <= 1
        assert box[3] - bottom / 200 > top / 200 - box[1]  # more of the shoulders
    assert parse_boxes(boxes) == boxes
    edge = boxes_around(found((299, 199, 300, 200)), ["ada"])
    assert parse_boxes(edge) == edge
    with pytest.raises(SettingsError, match="has 2 people, this image 1 face"):
        boxes_around(found((30, 40, 70, 80)), ["ada", "bob"])


def test_settings_of_an_image_come_back(basis):
    prompt = with_boxes(parse_prompt("<ada> and <bob>", PEOPLE), {"ada": RIGHT}, basis.names)
    stored = json.loads(json.dumps(region_settings(RegionConfig(0.5, 0.2), prompt)))
    fields = from_region_settings({"regions": stored})
    form = Form(steps=1, guidance_scale=1, **fields)
    assert form.regions == BOXES and form.layout() == {"ada": RIGHT}
    assert (form.region_strength, form.self_attention_share) == (0.5, 0.2)
    assert from_region_settings({"regions": region_settings(None, prompt)}) == {"regions": OFF}
    automatic = region_settings(RegionConfig(), parse_prompt("<ada> and <bob>", PEOPLE))
    assert from_region_settings({"regions": automatic})["regions"] == AUTOMATIC


def test_settings_are_told_in_words(basis):
    prompt = parse_prompt("<ada> and <bob>", PEOPLE)
    assert describe_regions(region_settings(None, prompt)) == "off"
    assert describe_regions(region_settings(RegionConfig(), prompt)) == "automatic, strength 1"
    placed = with_boxes(prompt, {"bob": LEFT, "ada": RIGHT}, basis.names)
    words = describe_regions(region_settings(RegionConfig(0.5), placed))
    assert words == "boxes of ada, bob, strength 0.5"


def test_damaged_settings_are_left_out():
    for stored in (5, [], {}, {"mode": "x"}, {"mode": ["off"]}, {"mode": {}}, "off"):
        assert from_region_settings({"regions": stored}) == {}
    damaged = {"mode": BOXES, "boxes": {"ada": [1]}, "strength": 7, "self_attention_share": "x"}
    assert from_region_settings({"regions": damaged}) == {"regions": AUTOMATIC}


def test_images_from_before_there_were_regions_had_none():
    pair, one = {"people": {"ada": 0.5, "bob": 0.5}}, {"people": {"ada": 0.5}}
    assert from_region_settings({"scores": pair}) == {"regions": OFF}
    for settings in ({"scores": one}, {"scores": {}}, {"scores": 5}, {}):
        assert from_region_settings(settings) == {}
