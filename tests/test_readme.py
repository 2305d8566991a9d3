"""What README and the other pages say is run, or parsed: Python, command lines, links."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from celeb_core.__main__ import main
from celeb_core.cli.options import build_parser
from celeb_core.types import TrainConfig, recipe

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands(*pages: Path) -> list[list[str]]:
    """The words of each command line of the pages."""
    lines = [
        shlex.split(line, comments=True)
        for page in pages
        for block in blocks(page, "bash")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [words for words in lines if words]


def program(words: list[str]) -> str:
    """“python” of “.venv/bin/python -m pip”."""
    return re.split(r"[/\\]", words[0])[-1].removesuffix("3")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch) -> Path:
    """A folder that looks like the checkout, where commands may write."""
    for name in ("docs", "assets", "app.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "identities", tmp_path / "identities")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


def test_there_is_something_to_test():
    assert blocks(README, "python")
    names = {program(words) for words in commands(README)}
    assert names >= {"make", "python", "celeb-basis"}


@pytest.mark.toonville
def test_the_python_runs_as_it_stands(desk, monkeypatch):
    fewer = partial(TrainConfig.changed, steps=2)  # to be sooner done
    monkeypatch.setattr("celeb_core.training_run.recipe", lambda *model: fewer(recipe(*model)))
    for block in blocks(README, "python"):
        exec(compile(block, "README.md", "exec"), {})
    (image,) = desk.glob("*.png")
    assert image.stat().st_size > 5000


LESS = {"train": ["--steps", "2"], "interpolate": ["--num-images", "2"]}  # to be sooner done


@pytest.mark.toonville
@pytest.mark.parametrize(
    "words",
    # evaluate takes minutes; tests/test_cli_commands.py runs it on a small set.
    [w for w in commands(README) if program(w) == "celeb-basis" and w[1] != "evaluate"],
    ids=" ".join,
)
def test_every_command_of_readme_runs(words, desk):
    assert main([*words[1:], *LESS.get(words[1], []), "--model", "toonville"]) == 0


@pytest.mark.parametrize(
    "words", [w for w in commands(*PAGES) if program(w) == "celeb-basis"], ids=" ".join
)
def test_every_command_of_the_pages_parses(words):
    assert callable(build_parser().parse_args(words[1:]).run)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_in_the_text_exist(page, capsys):
    for name, rest in re.findall(r"`celeb-basis ([a-z-]+)([^`]*)`", page.read_text("utf-8")):
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0, name
        described = capsys.readouterr().out
        for option in re.findall(r"--[a-z-]+", rest):
            assert f"{option} " in described or f"{option}]" in described, (name, option)


@pytest.mark.parametrize(
    "words", [w for w in commands(*PAGES) if program(w) == "python"], ids=" ".join
)
def test_what_python_is_to_run_exists(words):
    if words[1] == "-m":
        assert importlib.util.find_spec(words[2]), words[2]
    elif words[1] != "-c":
        assert (ROOT / words[1]).is_file(), words[1]


@pytest.mark.parametrize("words", [w for w in commands(*PAGES) if w[0] == "make"], ids=" ".join)
def test_make_knows_its_targets_and_calls_what_exists(words):
    command = ["make", "--dry-run", *words[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in re.findall(r"python (\S+\.py)", done.stdout):
        assert (ROOT / path).is_file()


def test_the_pip_lines_of_readme_are_what_make_does():
    makefile = (ROOT / "Makefile").read_text("utf-8").splitlines()
    for words in commands(README):
        if program(words) == "python" and words[1:3] == ["-m", "pip"]:
            wanted = ["--yes" if word == "-y" else word for word in words[3:]]
            assert any(all(word in row for word in wanted) for row in makefile), words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
        assert re.match("https?://", target) or (page.parent / target).exists(), target
