from __future__ import annotations

import pytest
from conftest import portrait
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from ui_help import finish, make_page

from ui.doorway import COOKIE, Doorway

PAGE = "<body><gradio-app></gradio-app></body>"


def client(rung, look=str):
    routes = [Route(path, lambda request: HTMLResponse(PAGE)) for path in ("/", "/other")]
    doorway = Middleware(Doorway, ring=lambda: rung.append(1), look=look)
    return TestClient(Starlette(routes=routes, middleware=[doorway]))


def test_the_line_is_in_the_page_and_the_length_is_right():
    rung = []
    answer = client(rung, lambda session: "<p>Training Zoë</p>").get("/")
    assert answer.text.index("Training Zoë") < answer.text.index("<gradio-app>")
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert rung == [1]


def test_without_a_line_and_elsewhere_the_page_is_as_it_was():
    rung = []
    assert client(rung).get("/").text == PAGE
    assert client(rung, lambda session: "<p>x</p>").get("/other").text == PAGE
    assert rung == [1]


def test_the_session_of_the_browser_is_known_at_the_door():
    asked = client([], lambda session: f"<p>of {session}</p>")
    asked.cookies.set(COOKIE, "abc")
    assert "<p>of abc</p>" in asked.get("/").text


@pytest.mark.parametrize("apart", [False, True])
def test_a_training_is_said_to_whom_it_concerns(studio, tmp_path, apart):
    page = make_page(studio, tmp_path, apart=apart)
    session = page.shared.new_session()
    workspace = page.shared.workspace(session)
    assert page.first_look(session) == ""
    workspace.enlist(workspace.add_photo(portrait(), "<b>"), 0, "ada", consent=True)
    page.train.start(list(workspace.trainees), "fast", 2000, 0, session)
    try:
        assert "ada" in page.first_look(session)
        assert ("ada" in page.first_look("")) is not apart
        assert ("ada" in page.first_look(page.shared.new_session())) is not apart
    finally:
        page.train.stop(session)
        finish(page.train.job(session))
        page.shared.runner.close()
    assert page.first_look(session) == ""
