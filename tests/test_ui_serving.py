from __future__ import annotations

import threading

from ui_help import make_page, make_shared, request

from ui.guard import ISSUED
from ui.limits import PUBLIC
from ui.serving import TABS, Serving, guard, launch_options, tidying


def test_at_home_there_are_no_sessions_and_images_are_served_from_their_folders(studio, tmp_path):
    shared = make_shared(studio, tmp_path)
    options = launch_options(shared, Serving("127.0.0.1"))
    assert options["auth"] is None and options["root_path"] is None
    assert str(tmp_path / "images") in options["allowed_paths"]
    assert guard(shared, Serving("127.0.0.1")).sessions is None


def test_strangers_get_nothing_of_the_owner_and_a_share_link_its_name(studio, tmp_path, capsys):
    shared = make_shared(studio, tmp_path, isolated=True)
    shared.limits = PUBLIC
    serving = Serving("127.0.0.1", share=True)
    options = launch_options(shared, serving)
    assert options["allowed_paths"] == [] and options["max_file_size"] == PUBLIC.upload
    assert options["state_session_capacity"] == TABS
    ((name, password),) = options["auth"]
    assert capsys.readouterr().out.count(password) == 1  # printed once, and nowhere else
    middleware = guard(shared, serving)
    assert middleware.sessions is shared.sessions
    assert middleware.hosts.allows("abc.gradio.live")
    assert "amazonaws.com" in middleware.headers["content-security-policy"]


def test_a_space_may_be_embedded_by_its_site(studio, tmp_path):
    middleware = guard(make_shared(studio, tmp_path), Serving("0.0.0.0", space=True))
    assert middleware.hosts.allows("ada-studio.hf.space")
    assert "https://huggingface.co" in middleware.headers["content-security-policy"]


def test_the_first_visit_gets_a_session_and_the_next_keeps_it(studio, tmp_path):
    shared = make_shared(studio, tmp_path, isolated=True)
    first = request()
    session = shared.arrive(first)
    assert first.request.scope[ISSUED] == [session] and shared.sessions.is_ours(session)
    again = request(session)
    assert shared.arrive(again) == session and again.request.scope[ISSUED] == []


def test_a_bug_does_not_end_the_tidying(studio, tmp_path, monkeypatch, caplog):
    page = make_page(studio, tmp_path)
    calls, twice = [], threading.Event()

    def tidy() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("of ours")
        twice.set()

    monkeypatch.setattr(page.shared, "tidy", tidy)
    monkeypatch.setattr("ui.serving.TIDY_EVERY", 0.001)
    with tidying(page.shared, page.build()):
        assert twice.wait(20)
    assert "of ours" in caplog.text
