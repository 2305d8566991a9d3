"""What README says is run: its Python, its command lines, its links."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.toonville


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder that looks like the checkout, where commands may write."""
    for name in ("docs", "assets", "requirements.txt", "app.py", "Makefile"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "identities", tmp_path / "identities")
    return tmp_path


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=400
    )


def test_the_python_runs_as_it_stands(desk: Path) -> None:
    (block,) = blocks("python")
    done = run([sys.executable, "-c", block], desk)
    assert done.returncode == 0, done.stderr
    assert (desk / "ada_guitar.png").stat().st_size > 5000


@pytest.mark.parametrize("line", [c for c in commands() if c.startswith("python -m celeb_core")])
def test_every_command_line_runs(line: str, desk: Path) -> None:
    arguments = [sys.executable, *shlex.split(line)[1:], "--model", "toonville"]
    if "evaluate" in arguments:
        arguments += ["--people", "1", "--rows", "instant"]  # the others take minutes
    done = run(arguments, desk)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", [c for c in commands() if c.startswith("make")])
def test_make_knows_its_targets_and_calls_what_exists(line: str) -> None:
    done = run(["make", "--dry-run", *shlex.split(line)[1:]], ROOT)
    assert done.returncode == 0, done.stderr
    for path in re.findall(r"python (\S+\.py)", done.stdout):
        assert (ROOT / path).is_file()


def test_the_pip_lines_are_what_make_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in commands():
        if " -m pip install " in line or " -m pip uninstall " in line:
            wanted = shlex.split(line.split(" -m pip ")[1])
            options = {"-y": "--yes"}
            words = [options.get(word, word) for word in wanted]
            assert any(all(word in row for word in words) for row in makefile.splitlines()), line


def test_every_link_and_picture_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).is_file(), target
