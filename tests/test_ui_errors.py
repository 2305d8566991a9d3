from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import pytest

import celeb_core
from celeb_core.errors import (
    CelebError,
    EmbeddingUnusable,
    MemoryShort,
    PhotoUnreadable,
    PromptTooLong,
    UnknownName,
)
from ui.errors import explain, notice, safe
from ui.progress import duration


def test_paths_of_the_server_are_not_shown():
    error = PhotoUnreadable("/tmp/upload/ab12/me.jpg is no picture.")
    assert explain(error, "/tmp/upload/ab12/me.jpg", "me.jpg") == "“me.jpg” is no picture."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "Could not write /home/me/lib/ada.safetensors: full.",
            "Could not write ada.safetensors: full.",
        ),
        ("“/tmp/x/y.png” is no image (/tmp/x).", "“y.png” is no image (x)."),
        ("No pack at /srv/packs/, or C:\\Users\\me\\p.", "No pack at packs, or p."),
        (
            "See https://a.example/b/c, owner/model and 1/2.",
            "See https://a.example/b/c, owner/model and 1/2.",
        ),
        ("</b> is markup; a / b", "</b> is markup; a / b"),
    ],
)
def test_no_path_is_shown_whole(text, shown):
    assert explain(CelebError(text)) == shown


def test_a_page_does_not_name_options_and_a_command_line_does():
    for error in (MemoryShort("x"), EmbeddingUnusable("Far away.", option="--min-explained 0.5")):
        assert "--" not in explain(error) and "On the command line: --" in str(error)
    assert explain(CelebError("Wrong.").within("Prompt 2")) == "Prompt 2: Wrong."


def test_what_is_no_unicode_text_does_not_cost_the_message():
    assert explain(CelebError("Nobody is called \ud800.")) == "Nobody is called ?."


START = ("loading", "downloads", "basis", "checkpoint_file", "evaluation", "cli")
"""Whose errors come before there is a page, or on the command line only: as UsageErrors."""


def test_messages_that_a_page_may_show_name_no_options():
    core = Path(celeb_core.__file__).parent
    for path in core.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                parts = [leaf for argument in node.exc.args for leaf in ast.walk(argument)]
                texts = [str(leaf.value) for leaf in parts if isinstance(leaf, ast.Constant)]
                named = re.search(r"--[a-z]|celeb-basis [a-z]", " ".join(texts))
                early = {path.stem, path.parent.name} & {*START}
                early = early or getattr(node.exc.func, "id", "") == "UsageError"
                assert early or not named, f"{path.name}:{node.lineno}"


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


@pytest.mark.parametrize(
    "error",
    [
        CelebError("Nothing is there.", option="--host HOST"),
        PromptTooLong(90, 77, "and so on").within("Negative prompt"),
        UnknownName("adda", ["ada"]),
        MemoryShort("full"),
    ],
)
def test_an_error_of_another_process_is_the_same_here(error):
    same = pickle.loads(pickle.dumps(error))
    assert type(same) is type(error) and str(same) == str(error)
    assert vars(same) == vars(error)
