from __future__ import annotations

import zipfile
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image, PngImagePlugin
from ui_help import fill_library, finish, make_page, until

from ui.drawing_job import batches
from ui.gallery import NOTHING_SEEN
from ui.pictures import read_settings, save_picture

STATUS, GALLERY, EMPTY, DOWNLOAD, TIMER, START, CANCEL = range(1, 8)


@pytest.fixture
def page(studio, tmp_path):
    page = make_page(studio, tmp_path)
    yield page
    page.shared.runner.close()


@pytest.fixture
def library(page, people):
    fill_library(page, people[:2])


def draw(page, text, count=1, seed=5, negative="", scheduler=""):
    return page.compose.start(text, negative, count, seed, 2, 3.0, scheduler, "")


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
    seen, *rest = page.compose.results.poll(NOTHING_SEEN, "")
    rows = rest[GALLERY - 1]["value"]
    assert len(rows) == 2 and all(Path(path).is_file() for path, _ in rows)
    archive = rest[DOWNLOAD - 1]["value"]
    assert len(zipfile.ZipFile(archive).namelist()) == 2
    again = page.compose.results.poll(seen, "")
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


def test_an_empty_seed_is_a_new_one_each_time(page, library):
    seeds = {draw(page, "a photo", seed=None)[1] for _ in range(3)}
    assert len(seeds) == 3
    finish(page.compose.results.job(""))


def test_cancelling_takes_effect_soon_and_keeps_what_is_there(page, library):
    page.compose.start("a photo of <ada>", "", 16, 0, 20, 3.0, "", "")
    job = page.compose.results.job("")
    until(lambda: job.pictures)
    page.compose.results.cancel("")
    finish(job, 2)
    assert job.status == "stopped" and 1 <= len(job.pictures) < 16
    assert job.pictures[0].path.is_file()


def test_people_are_listed_and_ideas_are_filled_in(page, library):
    assert [name for name, _ in page.compose.refresh("")] == ["ada", "bob"]
    assert page.compose.idea("{} shaking hands with {}", "") == "<ada> shaking hands with <bob>"
    assert page.compose.fill_in(["ada"], "") == "a photo of <ada>"
    assert page.compose.fill_in(["ada"], "mine") == "mine"


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
    assert fields == ["a photo of <ada>", "hat", 5, 2, 3.0]


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
    _, prompt, _, seed, steps, _ = page.compose.load(str(path))
    assert steps == 7 and prompt == gr.skip() and seed == gr.skip()
