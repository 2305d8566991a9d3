from __future__ import annotations

import pytest
from conftest import portrait
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from ui_help import finish, make_page

from ui.doorway import Doorway

PAGE = "<body><gradio-app></gradio-app></body>"


def client(rung, look=str):
    routes = [Route(path, lambda request: HTMLResponse(PAGE)) for path in ("/", "/other")]
    doorway = Middleware(Doorway, ring=lambda: rung.append(1), look=look)
    return TestClient(Starlette(routes=routes, middleware=[doorway]))


def test_the_line_is_in_the_page_and_the_length_is_right():
    rung = []
    answer = client(rung, lambda: "<p>Training Zoë</p>").get("/")
    assert answer.text.index("Training Zoë") < answer.text.index("<gradio-app>")
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert rung == [1]


def test_without_a_line_and_elsewhere_the_page_is_as_it_was():
    rung = []
    assert client(rung).get("/").text == PAGE
    assert client(rung, lambda: "<p>x</p>").get("/other").text == PAGE
    assert rung == [1]


@pytest.mark.parametrize("apart", [False, True])
def test_a_training_is_said_at_home_only_and_while_it_runs(studio, tmp_path, apart):
    page = make_page(studio, tmp_path, apart=apart)
    session = page.shared.new_session()
    workspace = page.shared.workspace(session)
    assert page.first_look() == ""
    workspace.enlist(workspace.add_photo(portrait(), "<b>"), 0, "ada", consent=True)
    page.train.start(list(workspace.trainees), "fast", 2000, 0, session)
    try:
        assert ("ada" in page.first_look()) is not apart
    finally:
        page.train.stop(session)
        finish(page.train.job(session))
        page.shared.runner.close()
    assert page.first_look() == ""
