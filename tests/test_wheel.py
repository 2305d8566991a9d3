"""An installed wheel has all that the programs need: code, bundled model, sample people."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
CONTENT = (
    "celeb_core", "ui", "assets", "identities", "app.py", "pyproject.toml", "requirements.txt",
    "README.md", "LICENSE",
)  # fmt: skip
BUILD = """
import sys
from setuptools import build_meta

build_meta.build_wheel(sys.argv[1], {"--build-option": "--compression=stored"})  # seconds
"""

pytestmark = pytest.mark.toonville


def run(*command: str | Path, folder: Path, path: Path | None = None) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(path or "")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed into."""
    source, built, site = (tmp_path_factory.mktemp(name) for name in ("source", "built", "site"))
    for name in CONTENT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    run(sys.executable, "-c", BUILD, built, folder=source)
    (wheel,) = built.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile")
    run(*pip, "--target", site, wheel, folder=built)
    return site


CODE = """
import runpy, sys

try:
    sys.argv.pop(0)
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert end.code == 0
print(*{name.partition(".")[0] for name in sys.modules})

import app
from celeb_core.prepare import names

def launch(shared, options):
    print(app.__file__, len(shared.examples()), *shared.workspace("").people())

app.launch = launch
app.main(["--model", "toonville"])
print(names.__file__, names.html_report([], "Toonville", 0.5))
"""


@pytest.fixture(scope="module")
def printed(site: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """An empty folder, and what both programs print there: one process, as imports take seconds."""
    folder = tmp_path_factory.mktemp("empty")
    command = (site / "bin" / "celeb-basis", "generate", "<ada> on the beach", "--steps", "1")
    program = (sys.executable, "-c", CODE, *command, "--model", "toonville")
    return folder, run(*program, folder=folder, path=site).splitlines()


def test_an_empty_folder_is_enough_to_generate_a_sample_person(printed) -> None:
    folder, (image, *_) = printed
    assert Image.open(folder / image).size == (256, 256)


def test_the_command_line_does_not_load_the_page(printed) -> None:
    _, (_, loaded, *_) = printed
    assert "celeb_core" in loaded.split()
    assert not {*loaded.split()} & {"gradio", "ui", "app", "toonville", "bench"}


def test_the_page_has_its_script_its_samples_its_example_faces_and_its_template(
    site: Path, printed
) -> None:
    _, (_, _, page, report, *_) = printed
    file, *facts = page.split()
    assert Path(file).parent == site and facts == ["8", "ada", "bob", "cleo"]
    assert (site / "ui" / "agents.md").is_file()
    assert report.startswith(str(site)) and "Toonville knows 0 of 0 names" in "".join(printed[1])


def test_the_programs_are_there(site: Path) -> None:
    """What they call is what the tests above call; to import it once more takes seconds."""
    called = {}
    for program in ("celeb-basis", "celeb-basis-studio"):
        (line,) = re.findall(r"^from (.+) import main$", (site / "bin" / program).read_text(), re.M)
        called[program] = line
    assert called == {"celeb-basis": "celeb_core.__main__", "celeb-basis-studio": "app"}
