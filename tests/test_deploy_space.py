"""The Space: its front matter, its requirements, and that what is put together starts."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import SpaceHardware
from packaging.requirements import Requirement
from packaging.version import Version

from celeb_core.downloads import REVISIONS, STABLE_DIFFUSION, choose_weights
from celeb_core.errors import UsageError
from deploy import assemble_space
from deploy.assemble_space import assemble, main, requirements

ROOT = Path(__file__).parent.parent
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
LONGEST = 60  # characters of a short description: the hub refuses more


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("space")
    assemble(folder, preload=True)
    return folder


@pytest.fixture(scope="module")
def about(space: Path) -> dict[str, Any]:
    """The front matter."""
    empty, front_matter, page = (space / "README.md").read_text().split("---\n", 2)
    assert empty == "" and page.startswith("\n# Celeb Basis Studio")
    return yaml.safe_load(front_matter)


def packages(path: Path) -> dict[str, Requirement]:
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    found = [Requirement(line) for line in lines if line]
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def test_the_front_matter_is_what_the_hub_takes(about: dict[str, Any]) -> None:
    assert about["sdk"] == "gradio" and about["license"] == "mit"
    assert {about["colorFrom"], about["colorTo"]} <= {*COLOURS}
    assert about["suggested_hardware"] in [one.value for one in SpaceHardware]
    assert 0 < len(about["short_description"]) <= LONGEST
    assert not about["emoji"].isascii()


def test_the_readme_of_the_project_has_no_front_matter() -> None:
    assert (ROOT / "README.md").read_text().startswith("# ")


def test_the_app_is_where_the_front_matter_says(space: Path, about: dict[str, Any]) -> None:
    assert (space / about["app_file"]).is_file()


def test_the_versions_agree(space: Path, about: dict[str, Any]) -> None:
    needed = packages(space / "requirements.txt")
    assert needed["gradio"].specifier.contains(about["sdk_version"])
    assert f"gradio=={about['sdk_version']}\n" in (ROOT / "constraints.txt").read_text()
    # A string: 3.10 would be the number 3.1. ZeroGPU has 3.10 and 3.12.
    assert isinstance(about["python_version"], str)
    assert Version("3.11") <= Version(about["python_version"]) <= Version("3.12")
    assert "spaces" in needed


def test_the_space_needs_what_the_project_needs(space: Path) -> None:
    ours, theirs = (packages(one / "requirements.txt") for one in (ROOT, space))
    assert ours.keys() <= theirs.keys()
    (version,) = theirs["torch"].specifier
    assert version.operator == "==" and ours["torch"].specifier.contains(version.version)


def test_the_own_line_of_a_package_replaces_the_general_one() -> None:
    merged = requirements("# all\na>=1\nb>=2  # two\n", "\nb==2.5\nc\n")
    assert merged == "a>=1\nb==2.5\nc\n"


def test_the_files_that_are_preloaded_are_those_that_are_loaded(about: dict[str, Any]) -> None:
    assert about["models"] == [STABLE_DIFFUSION]
    (line,) = about["preload_from_hub"]
    hub_id, names, commit = line.split()
    assert (hub_id, commit) == (STABLE_DIFFUSION, REVISIONS[STABLE_DIFFUSION])
    files = names.split(",")
    for part in ("text_encoder", "unet", "vae", "safety_checker"):
        (weights,) = choose_weights(hub_id, part, files, half=True)
        assert weights in files and f"{part}/config.json" in files
    assert "feature_extractor/preprocessor_config.json" in files
    assert len(files) == 15  # as many as downloads of ours


def test_the_space_holds_what_the_page_needs_and_no_more(space: Path) -> None:
    assert {path.name for path in space.iterdir()} == {
        ".gitattributes", "LICENSE", "README.md", "app.py", "assets", "celeb_core", "identities",
        "packages.txt", "requirements.txt", "ui",
    }  # fmt: skip
    assert {path.name for path in (space / "identities").iterdir()} == {
        "ada.sample.safetensors", "bob.sample.safetensors", "cleo.sample.safetensors",
    }  # fmt: skip
    assert not [*space.rglob("__pycache__"), *space.rglob("*.pyi")]


def test_debians_packages_are_those_of_ci_and_of_the_container(space: Path) -> None:
    names = (space / "packages.txt").read_text().split()
    assert names
    for file in (".ci/run", "Dockerfile"):
        assert {*names} <= {*(ROOT / file).read_text().replace("\\", " ").split()}


def test_git_stores_large_files_apart(space: Path) -> None:
    apart = {line.split()[0] for line in (space / ".gitattributes").read_text().splitlines()}
    limit = 10 * 2**20  # bytes: the hub refuses larger ones
    large = [path for path in space.rglob("*") if path.stat().st_size > limit]
    assert large and all(f"*{path.suffix}" in apart for path in large)


def test_what_the_code_imports_of_the_project_is_in_the_space(space: Path) -> None:
    """To import it all takes seconds, which test_wheel spends on the same code."""
    checked = 0
    for path in space.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            for module in modules:
                if (ROOT / module.partition(".")[0]).is_dir():
                    file = space / module.replace(".", "/")
                    assert file.is_dir() or file.with_suffix(".py").is_file(), f"{path}: {module}"
                    checked += 1
    assert checked > 100


def test_it_can_be_put_together_again_and_nothing_else_is_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "space"
    assert main([str(folder)]) == 0
    (folder / ".git").mkdir()
    (folder / ".git" / "config").touch()
    (folder / "ui" / "old.py").touch()
    assert main([str(folder)]) == 0
    assert (folder / ".git" / "config").is_file() and not (folder / "ui" / "old.py").exists()
    assert "preload_from_hub" not in (folder / "README.md").read_text()


def test_a_folder_with_other_files_stays_as_it_is(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "app.py").touch()
    (tmp_path / "README.md").write_text("---\ntitle: Another Space\n")
    (tmp_path / "project").mkdir()
    monkeypatch.setattr(assemble_space, "ROOT", tmp_path / "project")
    for folder in (tmp_path, tmp_path / "project"):
        with pytest.raises(UsageError, match="Name a new folder"):
            assemble(folder)
    assert (tmp_path / "app.py").is_file()
