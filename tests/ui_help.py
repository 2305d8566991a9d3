"""What the tests of the page share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import fastapi
import gradio as gr
from gradio.routes import App
from PIL import Image

from celeb_core import Person, TrainConfig, fit
from ui.guard import ISSUED
from ui.jobs import Job
from ui.page import Page
from ui.sessions import HEADER
from ui.studio import Shared


def selected(index: Any) -> gr.SelectData:
    """A click into a gallery or an image."""
    return gr.SelectData(None, {"index": index, "value": None})


def request(session: str = "") -> gr.Request:
    """A request of a browser, as it is behind the guard."""
    headers = [(HEADER.encode(), session.encode())] if session else []
    scope = {"type": "http", "headers": headers, "client": ("192.0.2.1", 50000), ISSUED: []}
    return gr.Request(fastapi.Request(scope))


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for something that another thread does."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def finish(job: Job | None, seconds: float = 60.0) -> Job:
    """Wait for a job."""
    assert job is not None
    until(lambda: not job.live, seconds)
    return job


def make_shared(studio: Any, folder: Path, isolated: bool = False) -> Shared:
    """What a page needs, with an empty library of its own."""
    return Shared(studio, folder / "identities", isolated=isolated, temporary=folder / "temporary")


def make_page(studio: Any, folder: Path, isolated: bool = False) -> Page:
    """A page with an empty library of its own, laid out; it cannot be launched.

    What gradio makes to serve it, once per test, would take most of the time of all tests.
    """
    page = Page(make_shared(studio, folder, isolated))
    described = mock.patch.object(gr.Blocks, "get_config_file", return_value={})
    with described, mock.patch.object(App, "create_app"):
        page.build()
    return page


def opened_page(studio: Any, folder: Path, isolated: bool = False) -> Iterator[Page]:
    """A page for a fixture to yield; its jobs end with the test."""
    page = make_page(studio, folder, isolated)
    yield page
    page.shared.runner.close()


def fill_library(page: Page, people: Sequence[Person]) -> None:
    """Untrained people in the library: the numbers are as good as any."""
    core = page.shared.core
    for identity in fit(people, core.models, core.basis, TrainConfig(steps=0)).values():
        page.shared.workspace("").save_person(identity)


def train_and_generate(page: Page, photo: Image.Image) -> None:
    """Train a person on a photo for a step and generate an image of them."""
    try:
        workspace = page.shared.workspace("")
        workspace.enlist(workspace.add_photo(photo, "ada"), 0, "ada", consent=True)
        page.train.start(list(workspace.trainees), "fast", 1, 0, "")
        job = finish(page.train.job(""))
        assert job.status == "done", job.error
        form = {"grid_people": [], "count": 1, "seed": 5, "new_seed": False, "strength": 0.5}
        form |= {"embed_settings": True, "steps": 2, "guidance_scale": 3.0, "session": ""}
        page.compose.start(text="a photo of <ada>", **form)
        job = finish(page.compose.results.job(""))
        assert job.status == "done", job.error
        assert len(job.images) == 1
    finally:
        page.shared.close()
