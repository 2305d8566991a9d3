from __future__ import annotations

import json

import pytest
from conftest import celebrity_names
from PIL import Image
from ui_help import finish, opened_page, until

from celeb_core import TrainConfig, fit
from celeb_core.errors import SettingsError
from ui.gallery import AS_GENERATED, NOTHING
from ui.images import read_settings
from ui.square import bilinear_weights

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
    yield from opened_page(studio, tmp_path_factory.mktemp("page"), isolated=True)


@pytest.fixture
def visit(page):
    return Visit(page, page.shared.new_session())


@pytest.fixture
def known(visit, studio, people):
    """Two untrained people in the library: the numbers are as good as any."""
    untrained = TrainConfig(steps=0)
    for identity in fit(people[:2], studio.models, studio.basis, untrained).values():
        visit.workspace.save_person(identity)


def test_a_strip_goes_from_one_to_the_other_at_one_seed(visit):
    assert visit.strip() == ""
    job = visit.last(visit.tab.strip)
    assert [image.caption for image in job.images] == ["λ 0.00", "λ 0.50", "λ 1.00"]
    settings = [read_settings(image.path) for image in job.images]
    assert {s["seed"] for s in settings} == {7}
    assert [s["lambda"] for s in settings] == [0, 0.5, 1]
    assert settings[0]["from"] == A and settings[0]["prompt"] == "a photo of {}"


def test_one_image_is_the_one_at_lambda(visit):
    visit.strip(count=1)
    assert [image.caption for image in visit.last(visit.tab.strip).images] == ["λ 0.30"]


def test_the_slider_shows_the_nearest_image(visit):
    part = visit.tab.strip
    assert "value" not in part.nearest(0.5, visit.session)
    visit.strip()
    middle = str(visit.last(part).images[1].path)
    assert part.nearest(0.6, visit.session)["value"] == middle


def test_trained_people_can_be_mixed_too(visit, known):
    lists = visit.tab.refresh(*[None] * 6, visit.session)
    assert lists[visit.tab.strip.a]["choices"][:2] == ["<ada>", "<bob>"]
    assert visit.strip(a="<ada>", b=A, count=2) == ""
    assert visit.last(visit.tab.strip).status == "done"


@pytest.mark.parametrize(
    ("change", "says"),
    [({"a": "<nobody>"}, "Nobody here"), ({"text": "a photo"}, "{}"), ({"b": None}, "two people")],
)
def test_what_is_wrong_with_a_strip_is_said(visit, change, says):
    problem = visit.strip(**change)
    assert says in problem.replace("&#123;&#125;", "{}")


def test_different_people_are_there_at_first_and_the_chosen_stay(visit):
    tab = visit.tab
    updates = tab.refresh(*[None] * 6, visit.session)
    assert [updates[widget]["value"] for widget in tab.people] == [A, B, A, B, C, D]
    # "Choose two people" is no longer true.
    assert updates[tab.strip.problem] == updates[tab.square.problem] == ""
    updates = tab.refresh(B, "gone", D, None, None, A, visit.session)
    assert [updates[widget]["value"] for widget in tab.people] == [B, A, D, B, C, A]


def test_weights_of_a_square_are_bilinear():
    corners = [bilinear_weights(x, y) for y in (0, 1) for x in (0, 1)]
    assert corners == [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    assert bilinear_weights(0.5, 0.5) == (0.25,) * 4
    assert bilinear_weights(1, 0.25) == (0, 0.75, 0, 0.25)


def test_a_square_has_the_people_at_its_corners(visit):
    assert visit.square() == ""
    job = visit.last(visit.tab.square)
    captions = [image.caption for image in job.images]
    assert [captions[corner] for corner in (0, 2, 6, 8)] == [A, B, C, D]
    assert captions[1] == f"{A} 50 %, {B} 50 %" and captions[4].count("25 %") == 4
    settings = [read_settings(image.path) for image in job.images]
    assert {s["seed"] for s in settings} == {7}
    assert settings[5]["weights"] == [0, 0.5, 0, 0.5] and settings[5]["corners"] == [A, B, C, D]


def test_the_page_shows_the_square_with_its_names(visit):
    results = visit.tab.square.results
    visit.square(side=2)
    visit.last(visit.tab.square)
    shown = results.poll(NOTHING, AS_GENERATED, visit.session)
    assert set(shown) <= set(results.outputs)
    assert shown[results.gallery]["columns"] == 2 and len(shown[results.gallery]["value"]) == 4
    assert A in shown[results.above] and B in shown[results.above]
    assert C in shown[results.below] and D in shown[results.below]
    assert not shown[results.sheet]["visible"]


def test_every_part_of_the_page_is_quiet_before_anything_is_generated(visit):
    for part in (visit.tab.strip, visit.tab.square, visit.tab.animation, visit.tab.components):
        results = part.results
        assert results.poll(NOTHING, AS_GENERATED, visit.session) == {results.displayed: NOTHING}


def test_a_square_can_be_downloaded_as_one_image_too(visit):
    visit.square(side=2)
    job = visit.last(visit.tab.square)
    whole, one = (Image.open(path) for path in (job.sheet.path, job.images[0].path))
    assert whole.width > 2 * one.width and whole.height > 2 * one.height


def test_one_person_may_have_two_corners(visit):
    visit.square((A, A, B, A), side=2)
    assert [p.caption for p in visit.last(visit.tab.square).images] == [A, A, B, A]


@pytest.mark.parametrize(
    ("change", "says"),
    [({"corners": (A, B, None, D)}, "four people"), ({"text": "nobody"}, "person should be")],
)
def test_what_is_wrong_with_a_square_is_said(visit, change, says):
    assert says in visit.square(**change)


def test_a_square_is_cancelled_at_once(visit):
    part = visit.tab.square
    visit.square(side=7)
    until(lambda: visit.job(part).images)
    part.results.cancel(visit.session)
    job = visit.last(part)
    assert job.status == "stopped" and len(job.images) < 49


def test_the_map_shows_all_and_names_the_nearest(visit, known):
    panel = visit.tab.map
    shown = panel.refresh(None, visit.session)
    assert shown[panel.person]["value"] == "<ada>"
    rows = json.loads(shown[panel.plot]["value"].plot)["data"]["values"]
    kinds = {row["name"]: row["kind"] for row in rows}
    assert len(rows) == len(celebrity_names()) + 2
    assert kinds["<ada>"] == "chosen" and kinds["<bob>"] == "your people"
    named = [name for name, kind in kinds.items() if kind == "nearest"]
    assert 0 < len(named) <= 5 and all(name in shown[panel.near] for name in named)
    labels = {row["label"] for row in rows} - {""}
    assert {"<ada>", "<bob>"} < labels and len(labels) <= 6  # and the outermost celebrities


def test_a_celebrity_on_the_map_is_not_their_own_neighbour(visit):
    panel = visit.tab.map
    shown = panel.show(A, visit.session)
    rows = json.loads(shown[panel.plot]["value"].plot)["data"]["values"]
    assert [row["name"] for row in rows if row["kind"] == "chosen"] == [A]
    assert len(rows) == len(celebrity_names())
    assert f"<dt><bdi>{A}</bdi>" not in shown[panel.near]


def test_a_person_who_is_gone_is_said(visit):
    panel = visit.tab.map
    for person, problem in (("<gone>", "Nobody here"), (None, "Choose a person")):
        updates = panel.show(person, visit.session)
        assert problem in updates[panel.near] and panel.plot not in updates


def test_a_component_is_generated_on_both_sides_of_a_person(visit):
    assert visit.tab.components.start_strip(A, 3, "a photo of {}", 7, visit.session) == ""
    job = visit.last(visit.tab.components)
    assert [p.caption for p in job.images] == ["−2", "−1", "as is", "+1", "+2"]
    settings = [read_settings(image.path) for image in job.images]
    assert {s["seed"] for s in settings} == {7}
    assert [s["components"][2] for s in settings] == [-2, -1, 0, 1, 2]
    assert not any(any(s["components"][:2] + s["components"][3:]) for s in settings)
    results = visit.tab.components.results
    shown = results.poll(NOTHING, AS_GENERATED, visit.session)
    assert set(shown) <= set(results.outputs)
    assert shown[results.go]["interactive"] and shown[results.second]["interactive"]


def test_the_sliders_are_generated_beside_the_person(visit):
    part = visit.tab.components
    assert "Move a slider" in part.start_move(A, "a photo of {}", 7, visit.session, *[0] * 6)
    assert part.start_move(A, "a photo of {}", 7, visit.session, 1.5, 0, 0, 0, -2, 0) == ""
    job = visit.last(part)
    assert [p.caption for p in job.images] == ["as is", "at the sliders"]
    assert read_settings(job.images[1].path)["components"] == [1.5, 0, 0, 0, -2, 0]
    assert "Choose a person" in part.start_move("", "a photo of {}", 7, visit.session, *[1] * 6)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (lambda tab, s: tab.strip.start(A, B, float("nan"), "{}", 3, 7, s), "Mixture λ is not a"),
        (lambda tab, s: tab.strip.start(A, B, 0.5, "{}", 1e30, 7, s), "Images is 1e+30"),
        (lambda tab, s: tab.strip.start(A, B, 0.5, "{}", "3", 7, s), "Images is “3”"),
        (lambda tab, s: tab.strip.start(A, B, 0.5, "{}", 2, float("inf"), s), "Seed is not a"),
        (lambda tab, s: tab.strip.start(A, B, 0.5, "{}" * 10**6, 2, 7, s), "2,000,000 characters"),
        (lambda tab, s: tab.strip.start([A], B, 0.5, "{}", 2, 7, s), "The person is of a wrong"),
        (lambda tab, s: tab.strip.start("<", B, 0.5, "{}", 2, 7, s), "Nobody here is called"),
        (lambda tab, s: tab.strip.start("x" * 10**7, B, 0.5, "{}", 2, 7, s), "characters"),
        (lambda tab, s: tab.square.start(A, A, A, A, "{}", 1, 7, s), "Images per side is 1"),
        (lambda tab, s: tab.square.start(A, A, A, A, "{}", 400, 7, s), "Images per side is 400"),
        (lambda tab, s: tab.components.start_move(A, "{}", 7, s, float("nan")), "Component 1 is"),
        (lambda tab, s: tab.components.start_move(A, "{}", 7, s, 0, 1e30), "Component 2 is 1e+30"),
        (lambda tab, s: tab.components.start_strip(A, None, "{}", 7, s), "Component is empty"),
        (
            lambda tab, s: tab.components.start_strip(A, 10**9, "{}", 7, s),
            "Component is 1000000000",
        ),
    ],
)
def test_values_that_no_widget_can_have_are_named(visit, start, says):
    problem = start(visit.tab, visit.session)
    assert says in problem and len(problem) < 600
    parts = (visit.tab.strip, visit.tab.square, visit.tab.components)
    assert all(visit.job(part) is None for part in parts)


def test_a_prompt_is_stored_as_it_was_read(visit):
    assert visit.strip(text="a \ud800photo\0of\n{}", count=1) == ""
    (image,) = visit.last(visit.tab.strip).images
    assert read_settings(image.path)["prompt"] == "a photo of {}"


def test_the_slider_of_a_strip_is_checked_too(visit):
    with pytest.raises(SettingsError, match="Mixture λ is of a wrong kind"):
        visit.tab.strip.nearest([0.5], visit.session)
