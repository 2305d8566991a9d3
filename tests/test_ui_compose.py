from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image, PngImagePlugin
from ui_help import fill_library, finish, make_page, opened_page, until

from celeb_core import load_studio
from celeb_core.marks.provenance import PARAMETERS, SETTINGS, Marker
from celeb_core.types import PersonPositions, PositionCurve
from ui.compose_job import MAX_IMAGES, ComposeJob
from ui.form import from_settings
from ui.gallery import AS_GENERATED, BEST, BY_IDENTITY, BY_PROMPT, NOTHING, arranged
from ui.history import about
from ui.ideas import choices, fill
from ui.images import read_settings, save_generated
from ui.jobs import SavedImage


@pytest.fixture
def page(studio, tmp_path):
    yield from opened_page(studio, tmp_path)


@pytest.fixture
def library(page, people):
    fill_library(page, people[:2])


def start(page, text, **form):
    """Two steps and seed 5 if nothing else is asked for -> what is wrong, and the seed."""
    usual = {
        "grid_people": [], "count": 1, "seed": 5, "new_seed": False, "strength": 1.0,
        "embed_settings": True, "steps": 2, "guidance_scale": 3.0, "session": "",
    }  # fmt: skip
    updates = page.compose.start(text=text, **{**usual, **form})
    return updates[page.compose.problem], updates.get(page.compose.seed)


def generate(page, text, **form):
    """The images of a job that is waited for."""
    problem, _ = start(page, text, **form)
    assert problem == ""
    return finish(page.compose.results.job("")).images


def poll(page, displayed=NOTHING, order=AS_GENERATED):
    return page.compose.results.poll(displayed, order, "")


ODD = [float("nan"), float("inf"), 1e30, {"a": 1}, [["a"]], b"x", 10**400, 5j]


def fields(page, updates):
    """The form's fields by name."""
    return {name: updates[field] for name, field in page.compose.fields.items() if field in updates}


def test_images_have_scores_and_hold_their_settings(page, library):
    problem, seed = start(page, "a photo of <ada> with <bob>", count=2)
    assert (problem, seed) == ("", 5)
    job = finish(page.compose.results.job(""))
    assert job.status == "done", job.error
    first, second = job.images
    assert first.caption.startswith("seed 5") and second.caption.startswith("seed 6")
    settings = read_settings(second.path)
    assert settings["prompt"] == "a photo of <ada> with <bob>"
    assert settings["seed"] == 6 and settings["steps"] == 2
    assert settings["people"] == ["ada", "bob"]
    assert "Steps: 2" in Image.open(second.path).text["parameters"]


def test_a_seed_is_the_same_image_again(page, library):
    second = generate(page, "a photo of <ada>", count=2, seed=5)[-1]
    (alone,) = generate(page, "a photo of <ada>", count=1, seed=6)
    assert Image.open(second.path).tobytes() == Image.open(alone.path).tobytes()


def test_polling_shows_images_by_path_and_offers_them_all(page, library):
    generate(page, "a photo of <ada>", count=2)
    results, shown = page.compose.results, poll(page)
    assert set(shown) <= set(results.outputs)
    rows = shown[results.gallery]["value"]
    assert len(rows) == 2 and all(Path(path).is_file() for path, _ in rows)
    assert len(zipfile.ZipFile(shown[results.download]["value"]).namelist()) == 2
    again = poll(page, shown[results.displayed])
    assert results.gallery not in again and results.download not in again
    sorted_anew = poll(page, shown[results.displayed], BY_PROMPT)
    assert results.gallery in sorted_anew and results.download not in sorted_anew


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Write a prompt"),
        ("a photo of <adda>", "Did you mean <ada>"),
        ("a photo of <ada> " + "smiling " * 90, "do not fit"),
    ],
)
def test_what_is_wrong_with_a_prompt_is_said_at_once(page, library, text, says):
    problem, _ = start(page, text)
    assert says in problem.replace("&lt;", "<").replace("&gt;", ">")
    assert page.compose.results.job("") is None


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize(
    ("field", "label"),
    [
        ("count", "Images per prompt"),
        ("seed", "Seed"),
        ("strength", "Identity strength"),
        ("steps", "Steps"),
        ("guidance_scale", "Guidance scale"),
        ("shape", "Aspect ratio"),
        ("scheduler", "Scheduler"),
        ("grid_people", "The grid of people"),
        ("negative_prompt", "Negative prompt"),
        ("text", "The prompt"),
    ],
)
def test_values_that_no_widget_can_have_are_named(page, library, field, label, value):
    problem, _ = start(page, **{"text": "a {}", "grid_people": ["<ada>"], field: value})
    assert f"{label} " in problem
    assert len(problem) < 800 and page.compose.results.job("") is None


def test_lcm_has_fewer_steps_than_others(page, library):
    assert "Steps of lcm is 60" in start(page, "a cat", steps=60, scheduler="lcm")[0]
    assert start(page, "a cat", steps=60, scheduler="lcm", fast=True)[0] == ""


def test_people_can_be_in_the_negative_prompt(page, library):
    (image,) = generate(page, "a photo of <ada>", negative_prompt="＜BOB＞, hat")
    settings = read_settings(image.path)
    assert settings["negative_prompt"] == "<bob>, hat" and settings["people"] == ["ada"]
    (request,) = page.compose.results.job("").requests
    assert list(request.people) == ["ada"] and "bob" not in settings["scores"]["people"]
    assert settings["width"] == 128  # not wide, as for two
    (plain,) = generate(page, "a photo of <ada>", negative_prompt="hat")
    assert Image.open(image.path).tobytes() != Image.open(plain.path).tobytes()
    problem, _ = start(page, "a cat\na photo of <ada>", negative_prompt="<eve>")
    assert "<p>Negative prompt: Nobody here is called" in problem


def test_what_is_written_otherwise_is_understood_and_stored_plainly(page, library):
    (image,) = generate(page, "&lt;ADA&gt; with ＜bob＞\u200b\0")
    settings = read_settings(image.path)
    assert settings["prompt"] == "<ada> with <bob>" and settings["people"] == ["ada", "bob"]


def test_a_hint_does_not_stop_the_generation(page, library):
    problem, seed = start(page, "ada, (smiling:1.2)\nBob BREAK <ada>, (smiling:1.2)")
    assert problem.count("<p>") == 3 and 'class="notice hint"' in problem and seed == 5
    assert finish(page.compose.results.job("")).status == "done"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x" * 20_000_000, "has 20,000,000 characters"),
        ("a cat\n" * 10_000, "10000 prompts with 1 images each"),
        ("x" * 20_000, "20,000 characters of 10,000"),
        ("<lora:film:1>", "lora files are not read"),
    ],
    ids=range(4),
)
def test_long_prompts_are_refused_and_not_shown(page, library, text, says):
    problem, _ = start(page, text)
    assert says in problem and len(problem) < 600
    problem, _ = start(page, "a cat", negative_prompt="x" * 1_000_000)
    assert "Negative prompt has 1,000,000 characters" in problem


PASTED = """a photo of <ada>,
smiling
Negative prompt: hat
Steps: 150, Sampler: Heun, CFG scale: 7, Seed: 7, Size: 512x768"""


def test_a_prompt_with_its_settings_is_taken_apart_when_asked(page, library):
    problem, _ = start(page, PASTED)
    assert "Take it apart" in problem and page.compose.results.job("") is None
    updates = page.compose.take_apart(PASTED)
    assert "no scheduler “Heun”" in updates[page.compose.problem].replace("There is ", "")
    assert fields(page, updates) == {
        "prompt": "a photo of <ada>, smiling", "negative_prompt": "hat", "steps": 100, "seed": 7,
        "guidance": 7.0, "shape": "Tall", "scheduler": "", "grid_people": [], "fast": False,
        "new_seed": False, "width": 0, "height": 0,
    }  # fmt: skip
    assert not fields(page, page.compose.take_apart("a cat"))
    assert fields(page, page.compose.take_apart("a\nNegative prompt: b"))["new_seed"] is True


def test_a_seed_is_a_new_one_when_asked_or_empty(page, library):
    seeds = {start(page, "a photo", seed=None)[1] for _ in range(3)}
    seeds |= {start(page, "a photo", new_seed=True)[1] for _ in range(3)}
    assert len(seeds) == 6


def test_cancelling_takes_effect_after_a_step_and_keeps_what_is_there(page, library):
    start(page, "a photo of <ada>", count=16, steps=20)
    job = page.compose.results.job("")
    until(lambda: job.images)
    start(page, "a photo of <bob>")
    page.compose.results.cancel("")
    steps = job.done
    finish(job)
    assert job.status == "stopped" and job.done <= steps + 1
    assert 1 <= len(job.images) < 16 and job.images[0].path.is_file()
    after = finish(page.compose.results.job(""))
    assert after is not job and after.status == "done"


def test_people_are_listed_and_filled_in(page, library):
    assert [name for name, _ in json.loads(page.compose.box.refresh(""))] == ["ada", "bob"]
    assert page.compose.box.fill_in(["ada"], "") == "a photo of <ada>"
    assert page.compose.box.fill_in(["ada"], "mine") == "mine"


def test_settings_come_back_from_an_image(page, library):
    (image,) = generate(page, "a photo of <ada>", negative_prompt="hat")
    updates = page.compose.load(str(image.path), "")
    assert "loaded" in updates[page.compose.problem]
    assert fields(page, updates) == {
        "prompt": "a photo of <ada>",
        "negative_prompt": "hat",
        "seed": 5,
        "steps": 2,
        "guidance": 3.0,
        "strength": 1.0,
        "scheduler": "",
        "shape": "Square",
        "grid_people": [],
        "fast": False,
        "new_seed": False,
        "width": 0,
        "height": 0,
    }


@pytest.mark.parametrize("text", [None, "no json", "[1]"])
def test_an_image_without_settings_is_reported(page, tmp_path, text):
    path, metadata = tmp_path / "any.png", PngImagePlugin.PngInfo()
    if text is not None:
        metadata.add_itxt("celeb-basis", text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=metadata)
    updates = page.compose.load(str(path), "")
    assert "no settings" in updates[page.compose.problem] and not fields(page, updates)


def test_settings_come_back_from_an_image_of_a1111(page, tmp_path):
    path, metadata = tmp_path / "any.png", PngImagePlugin.PngInfo()
    text = (
        "a photo of <ada>\nNegative prompt: hat\nSteps: 7, Sampler: Euler a, CFG scale: 4, Seed: 9"
    )
    metadata.add_text("parameters", text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=metadata)
    loaded = fields(page, page.compose.load(str(path), ""))
    read = {"prompt": "a photo of <ada>", "negative_prompt": "hat", "steps": 7, "seed": 9}
    assert {**loaded, **read, "scheduler": "euler a", "guidance": 4.0} == loaded


def test_settings_of_a_wrong_kind_are_left_out(page, tmp_path):
    path = tmp_path / "odd.png"
    settings = {"prompt": 5, "seed": "x", "steps": 7, "guidance": float("nan"), "strength": True}
    settings |= {"scheduler": ["x"], "width": [1], "height": {}, "negative_prompt": "x" * 20_000}
    save_generated(Image.new("RGB", (16, 16)), path, settings, Marker(b"key"))
    loaded = fields(page, page.compose.load(str(path), ""))
    assert loaded["steps"] == 7 and loaded["shape"] == "Automatic" and loaded["scheduler"] == ""
    assert not {"prompt", "seed", "guidance", "strength", "negative_prompt"} & set(loaded)
    for seed in (-1, 2**32, 10**400, 1.5):
        assert "seed" not in from_settings({"seed": seed}, page.shared.core.models)
    wild = from_settings({"steps": 10**9, "guidance": -4.0}, page.shared.core.models)
    assert wild["steps"] == 100 and wild["guidance"] == 1.0


def test_ideas_take_the_people_of_the_prompt_first_and_then_the_library(page, library):
    pair, box = "a photo of {one} and {two}", page.compose.box
    assert box.idea(pair, "", "")[box.text] == "a photo of <ada> and <bob>"
    updates = box.idea(pair, "<bob> at home", "")
    assert updates[box.text] == "<bob> at home\na photo of <bob> and <ada>"
    assert updates[box.ideas] is None
    with_celebrity = "a photo of {one} and {celebrity}"
    name = page.shared.core.basis.names[3]
    text = box.idea(with_celebrity, f"a photo of {name}", "")[box.text]
    assert text.endswith(f"a photo of <ada> and {name}")
    assert box.text not in box.idea(None, "mine", "")


def test_one_idea_replaces_another_but_never_what_the_user_wrote(page, library):
    box = page.compose.box
    first = box.idea("a photo of {one} smiling", "mine", "")[box.text]
    assert first == "mine\na photo of <ada> smiling"
    second = box.idea("a pencil sketch of {one}", first, "")[box.text]
    assert second == "mine\na pencil sketch of <ada>"


def test_every_idea_is_a_prompt_that_fits(page, library):
    for _, template in choices():
        text = fill(template, ["<ada>", "<bob>"], page.shared.core.basis.names)
        assert start(page, text)[0] == ""
        page.compose.results.cancel("")


def test_an_empty_library_fills_ideas_with_celebrities(page):
    first, second = page.shared.core.basis.names[:2]
    box = page.compose.box
    text = box.idea("a photo of {one} and {two}", "", "")[box.text]
    assert text == f"a photo of {first} and {second}"


def test_several_prompts_follow_each_other_and_are_labelled(page, library):
    images = generate(page, "a photo of <ada>\n\n  a photo of <bob> in space  ", count=2)
    captions = [image.caption for image in images]
    assert [c.split(" · ")[:2] for c in captions] == [
        ["1. a photo of <ada>", "seed 5"],
        ["1. a photo of <ada>", "seed 6"],
        ["2. a photo of <bob> in space", "seed 5"],
        ["2. a photo of <bob> in space", "seed 6"],
    ]


def test_a_grid_has_everyone_in_every_prompt_from_every_seed(page, library):
    people = ["<ada>", page.shared.core.basis.names[0]]
    images = generate(page, "a photo of {}\n{} with <bob>", grid_people=people, count=2, steps=1)
    assert [(image.settings["prompt"], image.settings["seed"]) for image in images] == [
        (prompt, seed)
        for who in people
        for prompt in (f"a photo of {who}", f"{who} with <bob>")
        for seed in (5, 6)
    ]
    assert images[0].caption.startswith("ada · 1. a photo of … · seed 5")
    shown, results = poll(page), page.compose.results
    ((path, caption),) = shown[results.sheet]["value"]
    assert "<ada>" in caption and "{} with <bob>" in caption
    sheet = Image.open(path)
    assert sheet.width > 4 * 192 and sheet.height > 2 * 128
    assert Path(path).name in zipfile.ZipFile(shown[results.download]["value"]).namelist()


def test_a_cancelled_grid_shows_what_there_is(page, library):
    start(page, "a photo of {}", grid_people=["<ada>", "<bob>"], count=8, steps=20)
    job = page.compose.results.job("")
    until(lambda: job.images)
    page.compose.results.cancel("")
    assert finish(job).status == "stopped" and job.sheet.path.is_file()


def test_without_people_of_a_grid_there_is_no_grid(page, library):
    generate(page, "a photo of <ada>")
    assert page.compose.results.job("").sheet is None
    assert poll(page)[page.compose.results.sheet]["value"] == []


@pytest.mark.parametrize(
    ("text", "grid_people", "says"),
    [
        ("a photo", ["<ada>"], "Write {} where the people of the grid go"),
        ("{} smiling\na photo", ["<ada>"], "Prompt 2: Write {}"),
        ("a photo of {}", [], "choose them under “Grid of people”"),
        ("a photo of {}", ["<gone>"], "Nobody here is called"),
        ("{}\n{} smiling", ["<ada>"] * 4, "2 prompts for 4 people with 16 images each are 128"),
    ],
)
def test_what_is_wrong_with_a_grid_is_said(page, library, text, grid_people, says):
    problem, _ = start(page, text, grid_people=grid_people, count=16)
    assert says in problem.replace("&#123;", "{").replace("&#125;", "}")
    assert page.compose.results.job("") is None


def test_who_can_be_in_a_grid_follows_the_library(page, library):
    listed = page.compose.refresh_grid(["<ada>", "<gone>"], "")
    assert listed["choices"][:2] == ["<ada>", "<bob>"]
    assert page.shared.core.basis.names[0] in listed["choices"]
    assert listed["value"] == ["<ada>"]


def test_an_image_is_shown_while_it_is_generated(page, library):
    start(page, "a photo of <ada>", steps=400)
    results = page.compose.results
    job = results.job("")
    until(lambda: job.previews)
    data = re.search('base64,([^"]+)"', poll(page)[results.previews])[1]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (128, 128)
    results.cancel("")
    finish(job)
    assert poll(page)[results.previews] == ""


def test_fast_mode_takes_half_the_steps(page, library):
    (image,) = generate(page, "a photo of <ada>", fast=True, steps=5)
    assert read_settings(image.path)["steps"] == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a photo\na photo of <adda>", "Prompt 2: Nobody here"),
        ("a photo of <adda>\na photo", "Prompt 1: Nobody here"),
        ("a photo\n" * 7, "7 prompts with 16 images each are 112"),
    ],
)
def test_what_is_wrong_with_one_of_several_prompts_is_said(page, library, text, says):
    problem, _ = start(page, text, count=16)
    assert says in problem and page.compose.results.job("") is None


def test_identity_strength_scales_the_person(page, library):
    pixels = {}
    for strength in (1.0, 0.5, 1.0):
        (image,) = generate(page, "a photo of <ada>", strength=strength)
        first = pixels.setdefault(strength, Image.open(image.path).tobytes())
        assert first == Image.open(image.path).tobytes()
        assert read_settings(image.path)["strength"] == strength
    assert pixels[1.0] != pixels[0.5]
    for text, usual, stored in (
        ("a photo of <ada:0.5>", 1.0, "a photo of <ada:0.5>"),
        ("a photo of <ada:.5>", 0.5, "a photo of <ada>"),
        ("a photo of <ada:1>", 0.5, "a photo of <ada:1>"),
    ):
        (image,) = generate(page, text, strength=usual)
        settings = read_settings(image.path)
        assert (settings["prompt"], settings["strength"]) == (stored, usual)
        same = 1.0 if ":1" in text else 0.5
        assert Image.open(image.path).tobytes() == pixels[same]
    problem, _ = start(page, "<ada:2>")
    assert "strength is 0 to 1.5" in problem


def test_late_people_are_moved_to_the_front(studio, calibration, people, tmp_path):
    curve = PositionCurve((1, 9), (1.0, 0.1), 4)
    limited = replace(calibration, person_positions=PersonPositions(curve, curve))
    page = make_page(replace(studio, calibration=limited), tmp_path)
    fill_library(page, people[:1])
    written, used = "red, blue, green, <ada:0.5> smiling", "<ada:0.5> smiling, red, blue, green"
    problem, _ = start(page, written)
    assert "was rearranged" in problem and "smiling, red, blue, green" in problem
    (image,) = finish(page.compose.results.job("")).images
    settings = read_settings(image.path)
    assert (settings["prompt"], settings["written"]) == (used, written)
    problem, _ = start(page, written, rearrange=False)
    assert "Write ada nearer to the beginning" in problem
    (image,) = finish(page.compose.results.job("")).images
    settings = read_settings(image.path)
    assert settings["prompt"] == written and "written" not in settings
    page.shared.runner.close()


def test_the_shape_is_as_asked(page, library):
    for shape, size in (("Tall", (128, 192)), ("Wide", (192, 128)), ("Automatic", (128, 128))):
        (image,) = generate(page, "a photo of <ada>", shape=shape)
        assert Image.open(image.path).size == size
    assert fields(page, page.compose.load(str(image.path), ""))["shape"] == "Square"
    (image,) = generate(page, "a photo of <ada>", shape="Wide", height=96)
    assert Image.open(image.path).size == (192, 96)
    loaded = fields(page, page.compose.load(str(image.path), ""))
    assert (loaded["shape"], loaded["width"], loaded["height"]) == ("Wide", 192, 96)
    large = {"width": 512, "height": 768, "model": "another one"}
    loaded = from_settings(large, page.shared.core.models)
    assert (loaded["shape"], loaded["width"], loaded["height"]) == ("Tall", 0, 0)
    assert "Width is 513" in start(page, "a photo of <ada>", width=4 * 128 + 1)[0]


def test_settings_stay_out_of_the_file_when_asked_but_can_be_reused(page, library):
    (image,) = generate(page, "a photo of <ada>", seed=9, embed_settings=False)
    assert not {PARAMETERS, SETTINGS} & set(Image.open(image.path).info)
    updates = page.compose.reuse(image.path.name, "")
    reused = fields(page, updates)
    assert "taken" in updates[page.compose.problem]
    assert (reused["prompt"], reused["seed"]) == ("a photo of <ada>", 9)
    assert reused["new_seed"] is False
    assert fields(page, page.compose.vary(image.path.name, ""))["new_seed"] is True
    assert "gone" in page.compose.reuse("other.png", "")[page.compose.problem]


def clicked(path):
    value = {"image": {"path": str(Path("/cache/of/gradio", Path(path).name))}}
    return gr.SelectData(None, {"index": 0, "value": value})


def test_a_click_on_an_image_of_this_session_says_all_about_it(page, library):
    history = page.compose.history
    (first,) = generate(page, "a photo of <ada>", negative_prompt="hat")
    assert history.refresh("")[history.earlier]["value"] == []
    generate(page, "a photo of <bob>")
    earlier = history.refresh("")[history.earlier]["value"]
    assert earlier == [(str(first.path), first.caption)]
    shown = history.pick("", clicked(first.path))
    assert shown[history.picked] == first.path.name and shown[history.panel]["visible"]
    assert shown[history.save] == str(first.path)
    assert "a photo of &lt;ada&gt;" in shown[history.facts] and "hat" in shown[history.facts]
    other = history.pick("", clicked("/etc/passwd"))
    assert other[history.picked] == "" and history.save not in other


def test_scores_of_an_image_are_told_person_by_person():
    text = about(scored("a", 0.5, 0.25).settings)
    assert "Identity score of ada</dt><dd>0.50" in text and "Prompt score</dt><dd>0.25" in text


def scored(path, identity, fit, prompt="one"):
    people = {"ada": identity} if identity is not None else {}
    scores = {"people": people, "prompt": fit}
    return SavedImage(Path(path), path, settings={"prompt": prompt, "scores": scores})


def test_the_best_images_come_first_when_asked():
    images = [scored("a", 0.2, 0.9), scored("b", 0.7, None), scored("c", None, 0.5)]

    def order(by):
        return [caption for _, caption in arranged(images, by)["value"]]

    assert order(AS_GENERATED) == ["a", "b", "c"]
    assert order(BY_IDENTITY) == ["b", "a", "c"]
    assert order(BY_PROMPT) == ["a", "c", "b"]


def test_only_the_best_image_of_each_prompt_is_shown_when_asked():
    images = [
        scored("a", 0.2, 0.9), scored("b", 0.7, 0.1), scored("c", 0.7, 0.5, "two"),
        scored("d", 0.7, 0.6, "two"), scored("e", None, None, "three"),
    ]  # fmt: skip
    assert [caption for _, caption in arranged(images, BEST)["value"]] == ["b", "d", "e"]


def test_polling_reads_no_image(page, monkeypatch):
    job = ComposeJob(
        owner="local",
        core=page.shared.core,
        workspace=page.shared.workspace(""),
        executor=page.shared.executor,
        requests=[],
    )
    job.images, job.status = [scored("not there.png", 0.5, 0.5)] * MAX_IMAGES, "running"
    monkeypatch.setattr(page.shared.runner, "latest", lambda owner, kind: job)
    shown = poll(page, order=BY_IDENTITY)[page.compose.results.gallery]
    assert [path for path, _ in shown["value"]] == ["not there.png"] * MAX_IMAGES


def test_without_a_face_pack_images_are_generated_and_not_scored(faceless, person, tmp_path):
    page = make_page(load_studio(faceless, device="cpu", require_faces=False), tmp_path)
    fill_library(page, [person])
    form = {"grid_people": [], "count": 1, "seed": 0, "new_seed": False, "strength": 1.0}
    form |= {"embed_settings": True, "steps": 1, "guidance_scale": 2.0}
    for text, caption in (("a photo of <ada>", "seed 0 · not scored"), ("a house", "seed 0")):
        page.compose.start(text, session="", **form)
        job = finish(page.compose.results.job(""))
        assert job.status == "done" and [image.caption for image in job.images] == [caption]
