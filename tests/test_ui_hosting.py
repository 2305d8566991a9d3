"""Options from the environment, and who has people of their own."""

from __future__ import annotations

import argparse
import asyncio
import os
from dataclasses import fields
from pathlib import Path

import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import app
from celeb_core.errors import UsageError
from ui import hosting
from ui.limits import MEGABYTE, PUBLIC, Limits


@pytest.fixture
def parsed(monkeypatch):
    """Parse options in an environment with nothing but these variables."""

    def call(*arguments: str, **environ: str) -> argparse.Namespace:
        for name in os.environ:
            if name.startswith(("CELEB_", "GRADIO_SERVER", "GRADIO_ROOT", "SPACE")):
                monkeypatch.delenv(name)
        for name, text in environ.items():
            monkeypatch.setenv(name, text)
        return app.parse(arguments)

    return call


def test_at_home_the_page_is_for_this_machine(parsed):
    options = parsed()
    assert (options.host, options.port, options.model) == ("127.0.0.1", None, "auto")
    assert not hosting.isolated(options, {})


def test_a_space_is_reached_from_outside(parsed):
    options = parsed(SPACE_ID="ada/studio")
    assert (options.host, options.port) == ("0.0.0.0", 7860)


@pytest.mark.parametrize(
    ("environ", "model"),
    [
        ({}, "auto"),
        ({"ACCELERATOR": "none"}, "auto"),
        ({"ACCELERATOR": "cpu-basic", "CELEB_FACE_PACK": "faces"}, "auto"),
        ({"ACCELERATOR": "t4-small"}, "auto"),
        ({"ACCELERATOR": "t4-small", "CELEB_FACE_PACK": "faces"}, "sd15"),
        ({"SPACES_ZERO_GPU": "true", "CELEB_GET_FACE_PACK": "auraface"}, "sd15"),
        ({"ACCELERATOR": "l4x1", "CELEB_FACE_PACK": "x", "CELEB_MODEL": "sdxl"}, "sdxl"),
        ({"CELEB_MODEL": "sdxl"}, "sdxl"),
    ],
)
def test_a_space_with_a_gpu_and_a_face_pack_has_stable_diffusion(environ, model, parsed):
    assert parsed(SPACE_ID="x", **environ).model == model


def test_a_gpu_at_home_changes_nothing(parsed):
    variables = {"ACCELERATOR": "t4-small", "CELEB_FACE_PACK": "faces", "SPACE_ID": ""}
    assert parsed(**variables).model == "auto"


def test_the_command_line_comes_before_the_environment(parsed):
    variables = {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": "7000"}
    variables |= {"GRADIO_ROOT_PATH": "/studio/", "CELEB_MODEL": "sd15"}
    options = parsed(**variables)
    assert (options.host, options.port) == ("0.0.0.0", 7000)
    assert (options.root_path, options.model) == ("/studio", "sd15")
    options = parsed("--port", "8000", "--model", "toonville", **variables)
    assert (options.port, options.model) == (8000, "toonville")


def test_our_variables_come_before_gradios(parsed):
    assert parsed(GRADIO_SERVER_PORT="7000", CELEB_PORT="7001").port == 7001


@pytest.mark.parametrize(
    ("text", "share"), [("1", True), ("Yes", True), ("0", False), ("false", False), ("", False)]
)
def test_a_flag_is_yes_or_no(text, share, parsed):
    assert parsed(CELEB_SHARE=text).share is share


def test_an_empty_variable_is_as_good_as_absent(parsed):
    options = parsed(CELEB_MODEL="", GRADIO_SERVER_PORT="")
    assert (options.model, options.port) == ("auto", None)


def test_a_variable_of_no_option_is_named(parsed, caplog):
    assert parsed(CELEB_MODLE="sd15").model == "auto"
    assert "CELEB_MODLE is no option" in caplog.text


def test_a_password_is_taken_and_not_printed(parsed, caplog):
    caplog.set_level("INFO")
    assert parsed(CELEB_AUTH="ada:secret").auth == [("ada", "secret")]
    assert "--auth" in caplog.text and "secret" not in caplog.text


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("CELEB_SHARE", "maybe", "CELEB_SHARE is “maybe”. Write 1"),
        ("GRADIO_SERVER_PORT", "http", "--port: “http” is no whole number"),
        ("CELEB_ROOT_PATH", "studio", "“studio” is no path. Write /studio"),
        ("CELEB_ROOT_PATH", "/a?b", "“/a?b” is no path"),
        ("CELEB_ROOT_PATH", "//evil.example", "is no path"),
    ],
)
def test_a_wrong_variable_is_a_message(variable, text, message, monkeypatch, capsys):
    monkeypatch.setenv(variable, text)
    try:
        code: int | str | None = app.main([])
    except SystemExit as end:
        code = end.code
    assert code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", ["/studio", "/a/b", "https://example.org", "https://example.org/studio"]
)
def test_a_root_path_is_a_path_or_an_address(path):
    assert hosting.root_path(path) == hosting.root_path(path + "/") == path


@pytest.mark.parametrize(
    ("arguments", "space", "apart"),
    [
        ([], "", False),
        (["--host", "localhost"], "", False),
        (["--host", "0.0.0.0"], "", True),
        (["--share"], "", True),
        (["--root-path", "/studio"], "", True),
        (["--host", "127.0.0.1"], "ada/studio", True),
        (["--host", "0.0.0.0", "--one-library"], "", False),
    ],
)
def test_strangers_are_apart(arguments, space, apart, parsed):
    environ = {"SPACE_ID": space}
    assert hosting.isolated(parsed(*arguments, **environ), environ) is apart


@pytest.mark.parametrize(("arguments", "space"), [(["--share"], ""), ([], "ada/studio")])
def test_the_world_never_shares_one_library(arguments, space, parsed):
    environ = {"SPACE_ID": space}
    with pytest.raises(UsageError, match="would see your people. Leave out --one-library"):
        hosting.isolated(parsed("--one-library", *arguments, **environ), environ)


def test_an_option_that_may_be_repeated_has_a_variable_of_many_words(parsed):
    options = parsed(CELEB_AUTH="ada:one bob:two", CELEB_LIMIT="jobs=5\nimages=none")
    assert options.auth == [("ada", "one"), ("bob", "two")]
    assert options.limit == ["jobs=5", "images=none"]


def test_the_page_may_be_called_by_the_names_that_it_is_served_under():
    assert hosting.names("https://example.org/studio", {}) == ["example.org"]
    assert hosting.names("/studio", {"SPACE_HOST": "ada-studio.hf.space"}) == [
        "ada-studio.hf.space"
    ]
    assert hosting.names(None, {}) == []


def test_a_spaces_proxies_are_believed_and_visitors_are_not():
    visitor, invented, proxy = "203.0.113.7", "198.51.100.1", "10.20.1.2"
    seen = []

    async def page(scope, receive, send):
        seen.append(scope["client"][0])

    for caller in (proxy, visitor):
        headers = [(b"x-forwarded-for", f"{invented}, {visitor}".encode())]
        scope = {"type": "http", "client": (caller, 1), "headers": headers}
        asyncio.run(ProxyHeadersMiddleware(page, hosting.SPACE_PROXIES)(scope, None, None))
    assert seen == [visitor, visitor]


def test_the_page_about_hosting_tells_every_limit():
    text = (Path(__file__).parent.parent / "docs" / "hosting.md").read_text(encoding="utf-8")
    for limit in fields(Limits):
        assert f"`{limit.name}`" in text
    for limit in ("jobs", "images", "seconds", "people", "photos", "requests", "absence"):
        assert f"| `{limit}` | {getattr(PUBLIC, limit):g} |" in text
    for limits in (("upload", "uploads", "all_uploads"), ("storage", "disk"), ("memory",)):
        shown = ", ".join(f"{getattr(PUBLIC, limit) // MEGABYTE}" for limit in limits)
        assert f"| {', '.join(f'`{limit}`' for limit in limits)} | {shown} MB |" in text
