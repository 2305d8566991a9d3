from __future__ import annotations

import asyncio
import logging

import gradio as gr
import pytest
from gradio.state_holder import StateHolder
from ui_help import make_page

from celeb_core import CelebError
from celeb_core.errors import QUOTED, SaveFailed
from ui.blocks import StudioBlocks
from ui.page import Page
from ui.widgets import Number, Slider

LABELLED = {"Steps": "from 1 to 100", "Seed": "from 0 to 9", "λ": "a number from 0 to 1.5"}
VALUES = [
    float("nan"),
    float("inf"),
    1e30,
    -1,
    "5",
    None,
    [1],
    {"a": 1},
    True,
    10**400,
    "x" * 10**6,
]


def asked(fn, *values):
    """What a browser gets from a page with three fields and one event, or the error's text."""
    with StudioBlocks() as page:
        steps = Slider(1, 100, 20, step=1, label="Steps")
        seed = Number(0, label="Seed", precision=0, minimum=0, maximum=9)
        lam = Slider(0, 1.5, 0.5, step=0.05, label="λ")
        who = gr.CheckboxGroup(["ada"], label="Who")
        box = gr.Textbox()
        gr.Button().click(fn, [steps, seed, lam, who, box], box)
    try:
        return asyncio.run(page.process_api(page.fns[0], list(values)))["data"][0]
    except gr.Error as error:
        return error.message


def test_values_that_fit_arrive():
    got = asked(lambda *values: repr(values), 7, 0, 0.35, ["ada"], "a")
    assert got == "(7, 0, 0.35, ['ada'], 'a')"
    assert asked(lambda *values: repr(values), 7.0, None, 1, [], "") == "(7, None, 1.0, [], '')"


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_numbers_that_no_widget_can_have_are_refused_by_the_label(index, value):
    if index == 1 and value is None:
        return  # an empty number field
    values = [7, 0, 0.35, [], ""]
    values[index] = value
    text = asked(lambda *_: "taken", *values)
    label, says = list(LABELLED.items())[index]
    assert text.startswith(f"{label} is ") and text.endswith(f"{says}.")
    assert len(text) < QUOTED + 90


@pytest.mark.parametrize("value", [5, [["ada"]], {"a": 1}, ["eve"], "x" * 10**6], ids=range(5))
def test_other_values_that_do_not_fit_are_refused_with_a_reason(value):
    text = asked(lambda *_: "taken", 7, 0, 0.35, value, "")
    assert "does not fit" in text or "not in the list of choices" in text
    assert len(text) <= 2 * QUOTED


def test_what_is_no_unicode_text_does_not_come_in():
    assert asked(lambda *values: values[-1], 7, 0, 0.35, [], "a\ud800b") == "ab"
    assert "choices" in asked(lambda *_: "taken", 7, 0, 0.35, ["\ud800"], "").encode().decode()


@pytest.mark.parametrize(
    "place", [None, "x", float("nan"), 1e30, -1, [1], [1, "x"], {"a": 1}], ids=range(8)
)
def test_the_place_of_a_click_is_a_number(place):
    def pick(event: gr.SelectData):
        return str(event.index)

    with StudioBlocks() as page:
        shown = gr.Gallery()
        shown.select(pick, None, gr.Textbox())
    (fn,) = page.fns.values()

    def clicked(data):
        event = gr.EventData(None, data)
        return asyncio.run(page.process_api(fn, [], event_data=event))["data"][0]

    assert clicked({"index": 3, "value": None}) == "3"
    if place == [1]:
        assert clicked({"index": place, "value": None}) == "[1]"
        return
    for data in ({"index": place, "value": None}, None, {}):
        with pytest.raises(gr.Error, match=r"does not fit|place of the click is"):
            clicked(data)


def test_a_session_is_a_text():
    with StudioBlocks() as page:
        session = gr.BrowserState("", storage_key="s", secret="s")
        gr.Button().click(lambda session: session, session, gr.Textbox())
    for wrong in (5, ["x"], {"a": 1}, True):
        with pytest.raises(gr.Error, match="does not fit"):
            asyncio.run(page.process_api(page.fns[0], [wrong]))
    assert asyncio.run(page.process_api(page.fns[0], ["x"]))["data"] == ["x"]


def test_errors_of_handlers_arrive_without_paths_and_options(caplog):
    def save(*_):
        raise SaveFailed("Could not write /srv/data/ada.png: full. <Free> some.", option="--out X")

    assert asked(save, 7, 0, 0.5, [], "") == "Could not write ada.png: full. &lt;Free&gt; some."
    with caplog.at_level(logging.ERROR):
        text = asked(lambda *_: {}["/srv/secret"], 7, 0, 0.5, [], "")
    assert "not your fault (KeyError)" in text and "secret" not in text
    assert "/srv/secret" in caplog.text


def test_what_is_rendered_depends_on_the_session_alone(studio, tmp_path):
    """A text of the page with paths in it would let a request have any file served."""
    blocks = Page(make_page(studio, tmp_path, isolated=True).shared).build()
    rendered = [fn for fn in blocks.fns.values() if fn.renderable]
    assert len(rendered) == 2
    assert all(each is blocks.session for fn in rendered for each in fn.inputs)


def test_every_event_of_the_page_says_that_a_session_is_lost(studio, tmp_path):
    page = Page(make_page(studio, tmp_path, isolated=True).shared)
    blocks = page.build()
    polls = [fn for fn in blocks.fns.values() if fn.fn == page.compose.results.poll]
    with pytest.raises(gr.Error, match="lost its session"):
        asyncio.run(blocks.process_api(polls[0], [None, "As generated", "no session"]))
    with pytest.raises(CelebError):
        page.compose.results.poll(None, "", "no session")


def test_the_state_of_closed_tabs_is_freed_after_a_while(studio, tmp_path):
    blocks = Page(make_page(studio, tmp_path).shared).build()
    holder, now = StateHolder(), 0.0
    holder.set_blocks(blocks)
    for tab in ("open", "closed", "back"):
        holder[tab].is_closed = tab != "open"

    def forget() -> set[str]:
        blocks.forget_closed_tabs(60, lambda: now)
        return set(holder.session_data)

    assert forget() == {"open", "closed", "back"}
    now = 59.0
    holder["back"].is_closed = False
    assert forget() == {"open", "closed", "back"}
    now = 61.0
    assert forget() == {"open", "back"}
    assert set(holder.time_last_used) == {"open", "back"}
