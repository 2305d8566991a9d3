"""The options of the page: wrong ones are one message and exit code 2, before a model is loaded."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

import app
from ui import hosting


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Start the page with options that must be refused, and return the message."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("folder").mkdir()

    def loaded(*_, **__):
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(app, "load_studio", loaded)

    def call(*arguments: str) -> str:
        try:
            code: int | str | None = app.main(arguments)
        except SystemExit as end:
            code = end.code
        error = capsys.readouterr().err
        assert code == 2 and error.count("error: ") == 1 and "Traceback" not in error, error
        return error

    return call


@pytest.fixture
def served(studio, tmp_path, monkeypatch):
    """Start the page of the tiny model, and return what would be served."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app, "load_studio", lambda *_, **__: studio)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = []
    monkeypatch.setattr(app, "launch", lambda shared, options: found.append(shared))

    def call(*arguments: str):
        assert app.main(["--identities", "people", *arguments]) == 0
        return found[-1]

    return call


def test_images_of_strangers_are_checked_and_at_home_it_is_a_choice(served, capsys):
    assert served().core.safety is None
    assert served("--host", "0.0.0.0", "--safety", "off").core.safety is None
    for arguments in (["--host", "0.0.0.0"], ["--share"], ["--safety", "on"]):
        assert app.main(arguments) == 2  # the tiny model has no checker
        message = capsys.readouterr().err
        assert "Tinyville has no safety checker" in message and "--safety off" in message
    assert app.main(["--safety", "nowhere"]) == 1


def test_all_sessions_mark_their_images_with_one_key_of_the_owners(served, tmp_path):
    shared = served("--host", "0.0.0.0", "--safety", "off")
    one, two = (shared.workspace(shared.new_session()).marker for _ in range(2))
    assert one is two and (tmp_path / "people" / ".studio" / "mark.key").is_file()
    assert served().marks.key == one.key


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port", "0"), "no whole number from 1 to 65535"),
        (("--port", "-1"), "no whole number from 1 to 65535"),
        (("--port", "65536"), "no whole number from 1 to 65535"),
        (("--port", "http"), "no whole number from 1 to 65535"),
        (("--auth", "ada"), "write NAME:PASSWORD"),
        (("--auth", ":secret"), "write NAME:PASSWORD"),
        (("--auth", "ada:"), "write NAME:PASSWORD"),
        (("--host", ""), "it is empty"),
        (("--host", "x" * 300), "is no address of this machine"),
        (("--host", "192.0.2.1"), "--host 192.0.2.1 is no address of this machine"),
        (("--model", ""), "--model: it is empty"),
        (("--device", "tpu"), "“tpu” is no device"),
        (("--memory", "none"), "invalid choice"),
        (("--names", "nowhere"), "There is no file nowhere"),
        (("--names", "folder"), "folder is a folder"),
        (("--cache", "file"), "file is no folder"),
        (("--identities", "file"), "file is no folder"),
        (("--identities", "file/people"), "file is no folder"),
        (("--identities", ""), "it is empty"),
        (("--limit", "jobs=0"), "jobs=0 is no whole number above zero"),
        (("--limit", "coffee=3"), "There is no limit coffee"),
        (("--safety", ""), "it is empty"),
        (("--c2pa-cert", "file"), "together"),
        (("--c2pa-cert", "nowhere", "--c2pa-key", "file"), "There is no file nowhere"),
        (("--c2pa-cert", "file", "--c2pa-key", "file"), "cannot sign images"),
    ],
)
def test_wrong_usage_is_exit_code_two(arguments, message, refused):
    error = refused(*arguments)
    assert message in error and "secret" not in error


def test_a_taken_port_is_named(refused):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        error = refused("--port", str(port))
    assert f"Port {port} of 127.0.0.1 cannot be used" in error and "--port" in error
    hosting.check_address("127.0.0.1", port)  # free again


def test_every_host_of_this_machine_is_taken():
    for host in ("127.0.0.1", "localhost", "0.0.0.0"):
        hosting.check_address(host, None)


@pytest.fixture
def loaded(world, tmp_path, monkeypatch) -> list[str]:
    """Options of a page of the tiny world."""
    monkeypatch.chdir(tmp_path)
    return ["--model", str(world), "--device", "cpu", "--cache", "cache"]


def test_what_the_page_cannot_do_when_it_starts_is_a_message(loaded, monkeypatch, capsys):
    def launch(shared, options):
        raise OSError("Cannot find empty port in range: 7860-7959")

    monkeypatch.setattr(app, "launch", launch)
    assert app.main(loaded) == 1
    assert "error: The page cannot be served (Cannot find empty port" in capsys.readouterr().err


def test_interrupted_while_loading_is_exit_code_130(loaded, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "load_studio", interrupted)
    assert app.main(loaded) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")


def test_ray_is_needed_for_workers_alone(served, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    served()
    monkeypatch.setattr(app, "load_studio", None)  # it comes first
    assert app.main(["--workers", "auto"]) == 1
    message = capsys.readouterr().err
    assert "pip install 'celeb-basis-studio[ray]'" in message and "leave out --workers" in message


def test_with_workers_the_page_computes_on_the_cpu_and_they_load_the_same_model(
    studio, tmp_path, monkeypatch
):
    loaded, used = [], []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(app, "load_studio", lambda *_, **given: loaded.append(given) or studio)
    monkeypatch.setattr(app, "launch", lambda shared, options: None)
    monkeypatch.setattr(app.ray_executor, "connect", lambda *where: where)
    monkeypatch.setattr(app.ray_executor, "use_cluster", lambda *given: used.append(given))
    options = ["--workers", "ray://head:10001", "--dtype", "float16", "--vae", "tiny"]
    assert app.main(options) == 0
    ((shared, cluster, studio_options),) = used
    assert cluster == ("ray://head:10001", None) and shared.core is not None
    assert loaded[0]["device"] == "cpu" and loaded[0]["dtype"] is None
    assert studio_options.more["dtype"] == "float16" and studio_options.more["vae"] == "tiny"
