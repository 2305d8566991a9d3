from __future__ import annotations

import pytest
from conftest import celebrity_names
from ui_help import fill_library, finish, make_page

from ui.pictures import read_settings

A, B = celebrity_names()[:2]


@pytest.fixture
def page(studio, tmp_path):
    page = make_page(studio, tmp_path)
    yield page
    page.shared.runner.close()


def strip(page, a=A, b=B, lam=0.3, text="a photo of {}", count=3):
    return page.interpolate.start(a, b, lam, text, count, 7, "")


def test_a_strip_goes_from_one_to_the_other_at_one_seed(page):
    assert strip(page) == ""
    job = finish(page.interpolate.results.job(""))
    assert [picture.caption for picture in job.pictures] == ["λ 0.00", "λ 0.50", "λ 1.00"]
    settings = [read_settings(picture.path) for picture in job.pictures]
    assert {s["seed"] for s in settings} == {7}
    assert [s["lambda"] for s in settings] == [0, 0.5, 1]
    assert settings[0]["from"] == A and settings[0]["prompt"] == "a photo of {}"


def test_one_picture_is_the_one_at_lambda(page):
    strip(page, count=1)
    job = finish(page.interpolate.results.job(""))
    assert [picture.caption for picture in job.pictures] == ["λ 0.30"]


def test_the_slider_shows_the_nearest_picture(page):
    assert "value" not in page.interpolate.nearest(0.5, "")
    strip(page)
    job = finish(page.interpolate.results.job(""))
    assert page.interpolate.nearest(0.6, "")["value"] == str(job.pictures[1].path)


def test_trained_people_can_be_mixed_too(page, people):
    fill_library(page, people[:2])
    assert page.interpolate.choices("")[:2] == ["<ada>", "<bob>"]
    assert strip(page, a="<ada>", b=A, count=2) == ""
    assert finish(page.interpolate.results.job("")).status == "done"


@pytest.mark.parametrize(
    ("change", "says"),
    [({"a": "<nobody>"}, "Nobody here"), ({"text": "a photo"}, "{}"), ({"b": None}, "two people")],
)
def test_what_is_wrong_is_said(page, change, says):
    problem = strip(page, **change)
    assert says in problem.replace("&#123;&#125;", "{}")


def test_two_different_people_are_there_from_the_start(page):
    a, b = page.interpolate.refresh(None, None, "")
    assert (a["value"], b["value"]) == (A, B)
    a, b = page.interpolate.refresh(B, "gone", "")
    assert (a["value"], b["value"]) == (B, A)
