from __future__ import annotations

import base64
import io
import json
import re
import time
import zipfile
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image, PngImagePlugin
from ui_help import fill_library, finish, make_page, until

from ui.compose import MAX_PICTURES, ComposeJob
from ui.drawing_job import batches
from ui.gallery import AS_DRAWN, BEST, BY_LIKENESS, BY_PROMPT, NOTHING_SEEN, Results, arranged
from ui.history import about
from ui.ideas import choices, fill
from ui.jobs import Drawn
from ui.pictures import read_settings, save_picture

STATUS, GALLERY, ORDER, EMPTY, DOWNLOAD, TIMER, START, CANCEL, DRAFTS, SHEET = range(1, 11)
SHAPE, FRESH = 9, -1  # places in what `load` and `reuse` give


@pytest.fixture
def page(studio, tmp_path):
    page = make_page(studio, tmp_path)
    yield page
    page.shared.runner.close()


@pytest.fixture
def library(page, people):
    fill_library(page, people[:2])


def draw(page, text, **form):
    """Two steps and seed 5 if nothing else is asked for -> what is wrong, and the seed."""
    usual = {"crowd": [], "count": 1, "seed": 5, "fresh": False, "strength": 1.0, "signed": True}
    form = {**usual, "steps": 2, "guidance": 3.0, "session": "", **form}
    return page.compose.start(text=text, **form)


def poll(page, seen=NOTHING_SEEN, order=AS_DRAWN):
    return page.compose.results.poll(seen, order, "")


def test_pictures_have_scores_and_know_their_settings(page, library):
    problem, seed = draw(page, "a photo of <ada> with <bob>", count=2)
    assert (problem, seed) == ("", 5)
    job = finish(page.compose.results.job(""))
    assert job.status == "done", job.error
    first, second = job.pictures
    assert first.caption.startswith("seed 5") and second.caption.startswith("seed 6")
    settings = read_settings(second.path)
    assert settings["prompt"] == "a photo of <ada> with <bob>"
    assert settings["seed"] == 6 and settings["steps"] == 2
    assert settings["people"] == ["ada", "bob"]
    assert "Steps: 2" in Image.open(second.path).text["parameters"]


def test_a_seed_is_the_same_picture_again(page, library):
    pictures = []
    for count, seed in ((2, 5), (1, 6)):
        draw(page, "a photo of <ada>", count=count, seed=seed)
        pictures.append(finish(page.compose.results.job("")).pictures[-1].path)
    assert Image.open(pictures[0]).tobytes() == Image.open(pictures[1]).tobytes()


def test_polling_shows_pictures_by_path_and_offers_them_all(page, library):
    draw(page, "a photo of <ada>", count=2)
    finish(page.compose.results.job(""))
    seen, *rest = poll(page)
    rows = rest[GALLERY - 1]["value"]
    assert len(rows) == 2 and all(Path(path).is_file() for path, _ in rows)
    archive = rest[DOWNLOAD - 1]["value"]
    assert len(zipfile.ZipFile(archive).namelist()) == 2
    again = poll(page, seen)
    assert "value" not in again[GALLERY]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Write a prompt"),
        ("a photo of <adda>", "Did you mean <ada>"),
        ("a photo of <ada> " + "smiling " * 90, "do not fit"),
    ],
)
def test_what_is_wrong_with_a_prompt_is_said_at_once(page, library, text, says):
    problem, _ = draw(page, text)
    assert says in problem.replace("&lt;", "<").replace("&gt;", ">")
    assert page.compose.results.job("") is None


def test_a_seed_is_a_new_one_when_asked_or_empty(page, library):
    seeds = {draw(page, "a photo", seed=None)[1] for _ in range(3)}
    seeds |= {draw(page, "a photo", fresh=True)[1] for _ in range(3)}
    assert len(seeds) == 6


def test_cancelling_takes_effect_soon_and_keeps_what_is_there(page, library):
    draw(page, "a photo of <ada>", count=16, steps=20)
    job = page.compose.results.job("")
    until(lambda: job.pictures)
    draw(page, "a photo of <bob>")
    page.compose.results.cancel("")
    finish(job, 2)
    after = finish(page.compose.results.job(""))
    assert after is not job and after.status == "done" and after.began - job.ended < 0.5
    assert job.status == "stopped" and 1 <= len(job.pictures) < 16
    assert job.pictures[0].path.is_file()


def test_people_are_listed_and_filled_in(page, library):
    assert [name for name, _ in json.loads(page.compose.box.refresh(""))] == ["ada", "bob"]
    assert page.compose.box.fill_in(["ada"], "") == "a photo of <ada>"
    assert page.compose.box.fill_in(["ada"], "mine") == "mine"


def test_only_seeds_that_count_up_are_drawn_together(page, library):
    draw(page, "a photo", count=6)
    orders = list(finish(page.compose.results.job("")).orders)
    assert [len(group) for group in batches(orders, alone=False)] == [4, 2]
    assert [len(group) for group in batches(orders, alone=True)] == [1] * 6
    same = [orders[0]] * 3
    assert [len(group) for group in batches(same, alone=False)] == [1, 1, 1]


def test_settings_come_back_from_a_picture(page, library):
    draw(page, "a photo of <ada>", negative="hat")
    (picture,) = finish(page.compose.results.job("")).pictures
    problem, *fields = page.compose.load(str(picture.path))
    assert "loaded" in problem
    assert fields == [
        "a photo of <ada>",
        "hat",
        5,
        2,
        3.0,
        1.0,
        0.0,
        "",
        "Square",
        [],
        False,
        False,
    ]


@pytest.mark.parametrize("text", [None, "no json", "[1]"])
def test_a_picture_without_settings_is_told(page, tmp_path, text):
    path, about = tmp_path / "any.png", PngImagePlugin.PngInfo()
    if text is not None:
        about.add_itxt("celeb-basis", text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=about)
    assert "no settings" in page.compose.load(str(path))[0]


def test_settings_of_a_wrong_kind_are_left_out(page, tmp_path):
    path = tmp_path / "odd.png"
    save_picture(Image.new("RGB", (8, 8)), path, {"prompt": 5, "seed": "x", "steps": 7})
    _, prompt, _, seed, steps, *_ = page.compose.load(str(path))
    assert steps == 7 and prompt == gr.skip() and seed == gr.skip()


def test_ideas_take_the_people_of_the_prompt_first_and_then_the_library(page, library):
    pair = "a photo of {one} and {two}"
    assert page.compose.box.idea(pair, "", "")[0] == "a photo of <ada> and <bob>"
    text, choice = page.compose.box.idea(pair, "<bob> at home", "")
    assert text == "<bob> at home\na photo of <bob> and <ada>" and choice is None
    famous = "a photo of {one} and {celebrity}"
    name = page.shared.core.basis.names[3]
    asked = page.compose.box.idea(famous, f"a photo of {name}", "")[0]
    assert asked.endswith(f"a photo of <ada> and {name}")


def test_one_idea_takes_the_place_of_another_but_never_of_own_words(page, library):
    first = page.compose.box.idea("a photo of {one} smiling", "mine", "")[0]
    assert first == "mine\na photo of <ada> smiling"
    assert page.compose.box.idea("a pencil sketch of {one}", first, "")[0].endswith(
        "mine\na pencil sketch of <ada>"
    )


def test_every_idea_is_a_prompt_that_fits(page, library):
    for _, template in choices():
        assert draw(page, fill(template, ["<ada>", "<bob>"], page.shared.core.basis.names))[0] == ""
        page.compose.results.cancel("")


def test_an_empty_library_fills_ideas_with_celebrities(page):
    first, second = page.shared.core.basis.names[:2]
    text, _ = page.compose.box.idea("a photo of {one} and {two}", "", "")
    assert text == f"a photo of {first} and {second}"


def test_several_prompts_are_drawn_one_after_the_other_and_labelled(page, library):
    draw(page, "a photo of <ada>\n\n  a photo of <bob> in space  ", count=2)
    captions = [d.caption for d in finish(page.compose.results.job("")).pictures]
    assert [c.split(" · ")[:2] for c in captions] == [
        ["1. a photo of <ada>", "seed 5"],
        ["1. a photo of <ada>", "seed 6"],
        ["2. a photo of <bob> in space", "seed 5"],
        ["2. a photo of <bob> in space", "seed 6"],
    ]


def test_a_grid_draws_everybody_in_every_prompt_from_every_seed(page, library):
    famous = page.shared.core.basis.names[0]
    draw(page, "a photo of {}\n{} with <bob>", crowd=["<ada>", famous], count=2, steps=1)
    job = finish(page.compose.results.job(""))
    assert [(d.settings["prompt"], d.settings["seed"]) for d in job.pictures] == [
        (prompt, seed)
        for who in ("<ada>", famous)
        for prompt in (f"a photo of {who}", f"{who} with <bob>")
        for seed in (5, 6)
    ]
    assert job.pictures[0].caption.startswith("ada · 1. a photo of … · seed 5")
    shown = poll(page)
    ((path, words),) = shown[SHEET]["value"]
    assert "<ada>" in words and "{} with <bob>" in words
    picture = Image.open(path)
    assert picture.width > 4 * 192 and picture.height > 2 * 128
    assert Path(path).name in zipfile.ZipFile(shown[DOWNLOAD]["value"]).namelist()


def test_a_cancelled_grid_shows_what_there_is(page, library):
    draw(page, "a photo of {}", crowd=["<ada>", "<bob>"], count=8, steps=20)
    job = page.compose.results.job("")
    until(lambda: job.pictures)
    page.compose.results.cancel("")
    assert finish(job).status == "stopped" and job.sheet.path.is_file()


def test_a_plain_drawing_has_no_grid(page, library):
    draw(page, "a photo of <ada>")
    assert finish(page.compose.results.job("")).sheet is None
    assert poll(page)[SHEET]["value"] == []


@pytest.mark.parametrize(
    ("text", "crowd", "says"),
    [
        ("a photo", ["<ada>"], "Write {} where the people of the grid go"),
        ("{} smiling\na photo", ["<ada>"], "Prompt 2: Write {}"),
        ("a photo of {}", [], "choose them under “Grid of people”"),
        ("a photo of {}", ["<gone>"], "Nobody here is called"),
        ("{}\n{} smiling", ["<ada>"] * 4, "2 prompts for 4 people with 16 pictures each are 128"),
    ],
)
def test_what_is_wrong_with_a_grid_is_said(page, library, text, crowd, says):
    problem, _ = draw(page, text, crowd=crowd, count=16)
    assert says in problem.replace("&#123;", "{").replace("&#125;", "}")
    assert page.compose.results.job("") is None


def test_who_can_be_in_a_grid_follows_the_library(page, library):
    listed = page.compose.crowds(["<ada>", "<gone>"], "")
    assert listed["choices"][:2] == ["<ada>", "<bob>"]
    assert page.shared.core.basis.names[0] in listed["choices"]
    assert listed["value"] == ["<ada>"]


def test_a_picture_is_seen_while_it_is_drawn(page, library):
    draw(page, "a photo of <ada>", steps=400)
    job = page.compose.results.job("")
    until(lambda: job.drafts)
    shown = poll(page)[DRAFTS]
    picture = base64.b64decode(re.search('base64,([^"]+)"', shown)[1])
    assert Image.open(io.BytesIO(picture)).size == (128, 128)
    page.compose.results.cancel("")
    finish(job)
    assert poll(page)[DRAFTS] == ""


def test_fast_mode_takes_half_the_steps(page, library):
    draw(page, "a photo of <ada>", fast=True, steps=5)
    (drawn,) = finish(page.compose.results.job("")).pictures
    assert read_settings(drawn.path)["steps"] == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a photo\na photo of <adda>", "Prompt 2: Nobody here"),
        ("a photo of <adda>\na photo", "Prompt 1: Nobody here"),
        ("a photo\n" * 7, "7 prompts with 16 pictures each are 112"),
    ],
)
def test_what_is_wrong_with_one_of_several_prompts_is_said(page, library, text, says):
    problem, _ = draw(page, text, count=16)
    assert says in problem and page.compose.results.job("") is None


def test_identity_strength_scales_the_person(page, library):
    pictures = {}
    for strength in (1.0, 0.5, 1.0):
        draw(page, "a photo of <ada>", strength=strength)
        drawn = finish(page.compose.results.job("")).pictures[0]
        again = pictures.setdefault(strength, Image.open(drawn.path).tobytes())
        assert again == Image.open(drawn.path).tobytes()
        assert read_settings(drawn.path)["strength"] == strength
    assert pictures[1.0] != pictures[0.5]


def test_people_come_in_as_late_as_asked(page, library):
    draw(page, "a photo of <ada>", delay=0.5)
    drawn = finish(page.compose.results.job("")).pictures[0]
    assert read_settings(drawn.path)["delay"] == 0.5
    assert "People come in after" in about(drawn.settings)
    assert "50% of the steps" in about(drawn.settings)
    assert page.compose.load(str(drawn.path))[SHAPE - 2] == 0.5
    draw(page, "a photo of <ada>")
    assert "People come in" not in about(finish(page.compose.results.job("")).pictures[0].settings)


def test_the_shape_is_as_asked(page, library):
    for shape, size in (("Tall", (128, 192)), ("Wide", (192, 128)), ("Automatic", (128, 128))):
        draw(page, "a photo of <ada>", shape=shape)
        drawn = finish(page.compose.results.job("")).pictures[0]
        assert Image.open(drawn.path).size == size
    assert page.compose.load(str(drawn.path))[SHAPE] == "Square"


def test_settings_stay_out_of_the_file_when_asked_but_can_be_reused(page, library):
    draw(page, "a photo of <ada>", seed=9, signed=False)
    (drawn,) = finish(page.compose.results.job("")).pictures
    assert Image.open(drawn.path).info == {}
    said, prompt, _, seed, *_ = page.compose.reuse(drawn.path.name, "")
    assert "taken" in said and (prompt, seed) == ("a photo of <ada>", 9)
    assert page.compose.reuse(drawn.path.name, "")[FRESH] is False
    assert page.compose.vary(drawn.path.name, "")[FRESH] is True
    assert "gone" in page.compose.reuse("other.png", "")[0]


def clicked(path):
    value = {"image": {"path": str(Path("/cache/of/gradio", Path(path).name))}}
    return gr.SelectData(None, {"index": 0, "value": value})


def test_a_click_on_a_picture_of_this_session_says_all_about_it(page, library):
    draw(page, "a photo of <ada>", negative="hat")
    (first,) = finish(page.compose.results.job("")).pictures
    assert page.compose.history.refresh("")[0]["value"] == []
    draw(page, "a photo of <bob>")
    finish(page.compose.results.job(""))
    assert page.compose.history.refresh("")[0]["value"] == [(str(first.path), first.caption)]
    name, panel, facts, file = page.compose.history.pick("", clicked(first.path))
    assert name == first.path.name and panel["visible"] and file == str(first.path)
    assert "a photo of &lt;ada&gt;" in facts and "hat" in facts
    assert page.compose.history.pick("", clicked("/etc/passwd"))[0] == ""


def test_scores_of_a_picture_are_told_person_by_person():
    told = about(scored("a", 0.5, 0.25).settings)
    assert "Likeness of ada</dt><dd>0.50" in told and "Fits the prompt</dt><dd>0.25" in told


def scored(path, likeness, fit, prompt="one"):
    people = {"ada": likeness} if likeness is not None else {}
    scores = {"people": people, "prompt": fit}
    return Drawn(Path(path), path, settings={"prompt": prompt, "scores": scores})


def test_the_best_pictures_come_first_when_asked():
    drawn = [scored("a", 0.2, 0.9), scored("b", 0.7, None), scored("c", None, 0.5)]

    def order(by):
        return [caption for _, caption in arranged(drawn, by)["value"]]

    assert order(AS_DRAWN) == ["a", "b", "c"]
    assert order(BY_LIKENESS) == ["b", "a", "c"]
    assert order(BY_PROMPT) == ["a", "c", "b"]


def test_only_the_best_picture_of_each_prompt_is_shown_when_asked():
    drawn = [
        scored("a", 0.2, 0.9), scored("b", 0.7, 0.1), scored("c", 0.7, 0.5, "two"),
        scored("d", 0.7, 0.6, "two"), scored("e", None, None, "three"),
    ]  # fmt: skip
    assert [caption for _, caption in arranged(drawn, BEST)["value"]] == ["b", "d", "e"]


def test_a_hundred_pictures_are_shown_at_once(page, tmp_path):
    path = tmp_path / "picture.png"
    Image.effect_noise((512, 512), 90).convert("RGB").save(path)
    drawn = [scored(str(path), 0.5, 0.5)] * MAX_PICTURES
    job = ComposeJob("local", core=page.shared.core, workspace=page.shared.workspace(""), orders=[])
    job.pictures, job.status = drawn, "running"
    results = Results(page.shared, ComposeJob, "hundred", sortable=True)
    results.job = lambda session: job
    with gr.Blocks():
        results.build_buttons("Draw")
        results.build_status("")
        results.build_gallery("large")
    began = time.perf_counter()
    shown = results.poll(NOTHING_SEEN, BY_LIKENESS, "")
    assert all(path == str(drawn[0].path) for path, _ in shown[GALLERY]["value"])
    assert time.perf_counter() - began < 0.1
