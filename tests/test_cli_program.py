from __future__ import annotations

import errno
import io
import logging
import os
import stat
from pathlib import Path

import pytest

from celeb_core.cli.program import cache_folder, run
from celeb_core.errors import PhotoError, UsageError


def raising(error: BaseException):
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (PhotoError("No face."), 1, "error: No face.\n"),
        (UsageError("No such port."), 2, "error: No such port.\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (OSError(errno.ENOSPC, "No space left"), 1, "error: No space left. Free some"),
    ],
)
def test_an_error_is_a_message_and_an_exit_code(error, code, message, capsys):
    assert run(raising(error)) == code
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError(errno.EACCES, "a bug")])
def test_bugs_are_not_caught(error):
    with pytest.raises(type(error), match="a bug"):
        run(raising(error))


def test_a_command_that_is_done_is_exit_code_zero():
    assert run(lambda: None) == 0


@pytest.mark.parametrize("text", ["“ada”", "“ada”" * 100_000], ids=["at the end", "meanwhile"])
def test_a_reader_who_goes_is_no_error(text, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    out = open(writer, "w", encoding="utf-8")
    monkeypatch.setattr("sys.stdout", out)
    assert run(lambda: print(text)) == 141
    out.close()  # as Python does when it exits
    assert capsys.readouterr().err == ""


def test_a_terminal_that_lacks_characters_shows_others(monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(out, encoding="ascii", errors="strict"))
    assert run(lambda: print("“ada\udcff”")) == 0
    assert out.getvalue() == b"?ada??\n"


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """The system's temporary folder; HOME is set back afterwards."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary"


def homeless(monkeypatch) -> None:
    """HOME is not set, and the user is not in the system's list."""

    def unknown(id):
        raise KeyError(id)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)


def test_without_a_home_there_is_a_private_one(temporary, monkeypatch, caplog):
    homeless(monkeypatch)
    assert run(lambda: None) == 0
    home = Path.home()
    assert home.parent == temporary and stat.S_IMODE(home.stat().st_mode) == 0o700
    assert cache_folder().is_relative_to(home)
    assert "There is no home folder" in caplog.text and str(home) in caplog.text


def test_a_home_that_cannot_be_made_is_none(temporary, monkeypatch):
    (temporary / "file").write_text("")
    monkeypatch.setenv("HOME", str(temporary / "file" / "home"))
    assert run(lambda: None) == 0
    assert Path.home().parent == temporary


def test_a_home_stays(tmp_path, temporary):
    assert run(lambda: None) == 0
    assert Path.home() == tmp_path and not list(temporary.iterdir())


def test_a_cache_folder_of_somebody_else_is_not_used(temporary, monkeypatch, caplog):
    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refused)
    with caplog.at_level(logging.WARNING):
        assert cache_folder().parent == temporary
    assert "Permission denied" in caplog.text
