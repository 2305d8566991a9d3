from __future__ import annotations

import re

import pytest
from gpu_process import use_process
from ui_help import fill_library, make_shared

from celeb_core import PRESETS, recipe
from ui.executor import InProcess
from ui.gpu_costs import MOST, WORK, cost_text, declared
from ui.page import Page
from ui.price import images_label, training_label

FORM = {
    "steps": 20, "guidance_scale": 3.0, "negative_prompt": "", "scheduler": "",
    "shape": "Automatic", "fast": False,
}  # fmt: skip


@pytest.fixture
def page(studio, tmp_path):
    """A page where GPU time is counted."""
    shared = make_shared(studio, tmp_path)
    use_process(shared, None)
    page = Page(shared)
    page.build()
    yield page
    shared.runner.close()


@pytest.fixture
def executor(page):
    return page.shared.executor


def seconds(label):
    return int(re.search(r"(?:about|at most) (\d+) s of GPU quota", label)[1])


def test_the_button_that_generates_says_what_all_images_cost(executor):
    def price(text, people=(), count=1, **form):
        return seconds(images_label(executor, text, people, count, **{**FORM, **form}))

    one = price("a photo")
    assert price("a photo", count=8) > 2 * one
    assert price("a photo\na photo", count=4) == price("a photo", ("<a>", "<b>"), 4)
    assert price("a photo", count=8, fast=True) < price("a photo", count=8)
    assert price("<a> with <b>", count=8) > price("<a>", count=8)  # it is wider
    for text, count in (("", 1), ("a photo", 0), ("a photo\n" * 50, 16)):
        assert images_label(executor, text, (), count, **FORM) == "Generate"


def test_all_attempts_at_images_of_several_people_are_in_the_price(executor):
    def label(text, people=(), **form):
        return images_label(executor, text, people, 4, **FORM, **form)

    both = "<a> with <b>"
    assert seconds(label(both, attempts=4)) > 3 * seconds(label(both))
    assert label(both, attempts=4).startswith("Generate · at most")
    assert label(both, attempts=1) == label(both)
    assert label("<a>", attempts=4) == label("<a>")
    assert label("<a> with {}", ["<b>"], attempts=4) == label(both, attempts=4)
    assert "at most" in label("<a> with Grezin", attempts=2)
    assert label(both, attempts=9) == "Generate"  # it is said when the button is pressed


def test_the_button_that_trains_says_what_the_recipe_costs(executor, calibration):
    fast, best = (recipe(name, calibration) for name in ("fast", "best"))
    label = training_label(executor, fast, 1)
    assert label.startswith("Train · about") and seconds(label) < seconds(
        training_label(executor, best, 1)
    )
    assert seconds(label) < seconds(training_label(executor, fast, 3))
    assert training_label(executor, PRESETS["instant"], 1) == "Train · no GPU quota"
    assert training_label(executor, None, 1) == "Train"


def test_a_training_that_goes_on_costs_what_is_left_of_it(executor):
    costs, config = executor.costs, PRESETS["best"]
    assert costs.training(config, 1, 50) < costs.training(config, 1, 10) < costs.training(config, 1)


def test_every_button_that_needs_the_gpu_has_a_price(page, people):
    results = [page.compose.results, page.interpolate.strip.results]
    assert all("of GPU quota an image" in one.go.value for one in results)
    assert all("of GPU quota" in label for label, _ in page.train.form.preset.choices)
    fill_library(page, people[:1])
    button = page.library.refresh("", "")[page.library.portraits_button]
    assert "of GPU quota" in button["value"]


def test_where_nothing_is_counted_no_button_has_a_price():
    executor = InProcess()
    assert images_label(executor, "a photo", (), 1, **FORM) == "Generate"
    assert training_label(executor, PRESETS["best"], 1) == "Train"


def test_a_call_never_declares_more_than_the_most():
    assert declared(WORK) == declared(1000.0) == MOST
    assert 0 < declared(0.1) < MOST
    assert cost_text(0) == "no GPU quota"
