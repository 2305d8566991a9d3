from __future__ import annotations

from celeb_core.errors import PhotoUnreadable
from ui.errors import explain, notice, safe
from ui.progress import duration


def test_paths_of_the_server_are_not_shown():
    error = PhotoUnreadable("/tmp/upload/ab12/me.jpg is no picture.")
    assert explain(error, "/tmp/upload/ab12/me.jpg", "me.jpg") == "“me.jpg” is no picture."


def test_bugs_are_logged_and_not_shown(caplog):
    shown = explain(KeyError("secret"))
    assert "secret" not in shown and "KeyError" in shown
    assert "secret" in caplog.text


def test_names_are_text_and_never_markup_or_template():
    shown = safe("<img src=x onerror=alert(1)> {{this}} ${1+1} \"'`")
    for raw in ("<", ">", '"', "{", "$", "`"):
        assert raw not in shown
    assert notice("<b>") == '<div class="notice error" role="alert"><p>&lt;b&gt;</p></div>'
    assert notice() == notice("") == ""


def test_durations_in_words():
    words = [duration(seconds) for seconds in (0.4, 59.4, 60, 95, 1200, 3700)]
    assert words == ["0 s", "59 s", "1 min", "1 min 35 s", "20 min", "1 h 1 min"]
