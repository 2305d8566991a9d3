from __future__ import annotations

import json

import pytest
from conftest import celebrity_names
from PIL import Image
from ui_help import finish, make_page, until

from celeb_core import TrainConfig, fit
from ui.gallery import AS_DRAWN, NOTHING_SEEN
from ui.pictures import read_settings

A, B, C, D = celebrity_names()[:4]


class Visit:
    """The tab as one browser session sees it."""

    def __init__(self, page, session):
        self.session, self.workspace = session, page.shared.workspace(session)
        self.tab = page.interpolate

    def strip(self, a=A, b=B, lam=0.3, text="a photo of {}", count=3):
        return self.tab.strip.start(a, b, lam, text, count, 7, self.session)

    def square(self, corners=(A, B, C, D), text="a photo of {}", side=3):
        return self.tab.square.start(*corners, text, side, 7, self.session)

    def job(self, part):
        return part.results.job(self.session)

    def last(self, part):
        return finish(self.job(part))


@pytest.fixture(scope="module")
def page(studio, tmp_path_factory):
    page = make_page(studio, tmp_path_factory.mktemp("page"), apart=True)
    yield page
    page.shared.runner.close()


@pytest.fixture
def visit(page):
    return Visit(page, page.shared.new_session())


@pytest.fixture
def known(visit, studio, people):
    """Two untrained people in the library: the numbers are as good as any."""
    start = TrainConfig(steps=0)
    for identity in fit(people[:2], studio.models, studio.basis, start).values():
        visit.workspace.keep(identity)


def test_a_strip_goes_from_one_to_the_other_at_one_seed(visit):
    assert visit.strip() == ""
    job = visit.last(visit.tab.strip)
    assert [picture.caption for picture in job.pictures] == ["λ 0.00", "λ 0.50", "λ 1.00"]
    settings = [read_settings(picture.path) for picture in job.pictures]
    assert {s["seed"] for s in settings} == {7}
    assert [s["lambda"] for s in settings] == [0, 0.5, 1]
    assert settings[0]["from"] == A and settings[0]["prompt"] == "a photo of {}"


def test_one_picture_is_the_one_at_lambda(visit):
    visit.strip(count=1)
    assert [picture.caption for picture in visit.last(visit.tab.strip).pictures] == ["λ 0.30"]


def test_the_slider_shows_the_nearest_picture(visit):
    part = visit.tab.strip
    assert "value" not in part.nearest(0.5, visit.session)
    visit.strip()
    middle = str(visit.last(part).pictures[1].path)
    assert part.nearest(0.6, visit.session)["value"] == middle


def test_trained_people_can_be_mixed_too(visit, known):
    lists = visit.tab.refresh(*[None] * 6, visit.session)
    assert lists[0]["choices"][:2] == ["<ada>", "<bob>"]
    assert visit.strip(a="<ada>", b=A, count=2) == ""
    assert visit.last(visit.tab.strip).status == "done"


@pytest.mark.parametrize(
    ("change", "says"),
    [({"a": "<nobody>"}, "Nobody here"), ({"text": "a photo"}, "{}"), ({"b": None}, "two people")],
)
def test_what_is_wrong_with_a_strip_is_said(visit, change, says):
    problem = visit.strip(**change)
    assert says in problem.replace("&#123;&#125;", "{}")


def test_different_people_are_there_from_the_start_and_the_chosen_stay(visit):
    *lists, of_strip, of_square = visit.tab.refresh(*[None] * 6, visit.session)
    assert [update["value"] for update in lists] == [A, B, A, B, C, D]
    assert of_strip == of_square == ""  # "Choose two people" is said no longer
    lists = visit.tab.refresh(B, "gone", D, None, None, A, visit.session)[:6]
    assert [update["value"] for update in lists] == [B, A, D, B, C, A]


def test_a_square_has_the_people_at_its_corners(visit):
    assert visit.square() == ""
    job = visit.last(visit.tab.square)
    captions = [picture.caption for picture in job.pictures]
    assert [captions[place] for place in (0, 2, 6, 8)] == [A, B, C, D]
    assert captions[1] == f"{A} 50 %, {B} 50 %" and captions[4].count("25 %") == 4
    settings = [read_settings(picture.path) for picture in job.pictures]
    assert {s["seed"] for s in settings} == {7}
    assert settings[5]["weights"] == [0, 0.5, 0, 0.5] and settings[5]["corners"] == [A, B, C, D]


def test_the_page_shows_the_square_with_its_names(visit):
    results = visit.tab.square.results
    visit.square(side=2)
    visit.last(visit.tab.square)
    seen = results.poll(("", "", -1, "", visit.session), "As drawn", visit.session)
    shown = dict(zip(results.watched, seen, strict=True))
    assert shown[results.gallery]["columns"] == 2 and len(shown[results.gallery]["value"]) == 4
    assert A in shown[results.above] and B in shown[results.above]
    assert C in shown[results.below] and D in shown[results.below]


def test_every_part_of_the_page_is_quiet_before_anything_is_drawn(visit):
    for part in (visit.tab.strip, visit.tab.square, visit.tab.animation, visit.tab.around):
        polled = part.results.poll(NOTHING_SEEN, AS_DRAWN, visit.session)
        assert len(polled) == len(part.results.watched) and polled[0] == NOTHING_SEEN


def test_a_square_can_be_downloaded_as_one_picture_too(visit):
    visit.square(side=2)
    job = visit.last(visit.tab.square)
    whole, one = (Image.open(path) for path in (job.sheet.path, job.pictures[0].path))
    assert whole.width > 2 * one.width and whole.height > 2 * one.height


def test_one_person_may_have_two_corners(visit):
    visit.square((A, A, B, A), side=2)
    assert [p.caption for p in visit.last(visit.tab.square).pictures] == [A, A, B, A]


@pytest.mark.parametrize(
    ("change", "says"),
    [({"corners": (A, B, None, D)}, "four people"), ({"text": "nobody"}, "person should be")],
)
def test_what_is_wrong_with_a_square_is_said(visit, change, says):
    assert says in visit.square(**change)


def test_a_square_is_cancelled_at_once(visit):
    part = visit.tab.square
    visit.square(side=7)
    until(lambda: visit.job(part).pictures)
    part.results.cancel(visit.session)
    job = visit.last(part)
    assert job.status == "stopped" and len(job.pictures) < 49


def test_the_map_shows_everybody_and_names_the_nearest(visit, known):
    listed, plot, near = visit.tab.map.refresh(None, visit.session)
    assert listed["value"] == "<ada>"
    rows = json.loads(plot["value"].plot)["data"]["values"]
    kinds = {row["name"]: row["kind"] for row in rows}
    assert len(rows) == len(celebrity_names()) + 2
    assert kinds["<ada>"] == "chosen" and kinds["<bob>"] == "your people"
    named = [name for name, kind in kinds.items() if kind == "nearest"]
    assert 0 < len(named) <= 5 and all(name in near for name in named)


def test_a_celebrity_on_the_map_is_not_their_own_neighbour(visit):
    plot, near = visit.tab.map.show(A, visit.session)
    rows = json.loads(plot["value"].plot)["data"]["values"]
    assert [row["name"] for row in rows if row["kind"] == "chosen"] == [A]
    assert len(rows) == len(celebrity_names())
    assert f"<dt><bdi>{A}</bdi>" not in near


def test_a_person_who_is_gone_is_said(visit):
    assert "Nobody here" in visit.tab.map.show("<gone>", visit.session)[1]
    assert "Choose a person" in visit.tab.map.show(None, visit.session)[1]


def test_a_component_is_drawn_on_both_sides_of_a_person(visit):
    assert visit.tab.around.strip(A, 3, "a photo of {}", 7, visit.session) == ""
    job = visit.last(visit.tab.around)
    assert [p.caption for p in job.pictures] == ["−2", "−1", "as is", "+1", "+2"]
    settings = [read_settings(picture.path) for picture in job.pictures]
    assert {s["seed"] for s in settings} == {7}
    assert [s["components"][2] for s in settings] == [-2, -1, 0, 1, 2]
    assert not any(any(s["components"][:2] + s["components"][3:]) for s in settings)


def test_the_sliders_are_drawn_beside_the_person(visit):
    around = visit.tab.around
    assert "Move a slider" in around.move(A, "a photo of {}", 7, visit.session, *[0] * 6)
    assert around.move(A, "a photo of {}", 7, visit.session, 1.5, 0, 0, 0, -2, 0) == ""
    job = visit.last(around)
    assert [p.caption for p in job.pictures] == ["as is", "at the sliders"]
    assert read_settings(job.pictures[1].path)["components"] == [1.5, 0, 0, 0, -2, 0]
    assert "Choose a person" in around.move("", "a photo of {}", 7, visit.session, *[1] * 6)
