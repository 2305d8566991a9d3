"""Put together what a Space of Hugging Face consists of: python -m deploy.assemble_space FOLDER."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from packaging.requirements import Requirement

from celeb_core.cli import option_values as value
from celeb_core.cli import program
from celeb_core.errors import UsageError, quote
from celeb_core.identity import SAMPLE_SUFFIX

ROOT = Path(__file__).resolve().parent.parent
OWN = ROOT / "deploy" / "space"  # files of the Space that the project has none of, or others
FOLDERS = ("assets", "celeb_core", "ui")
SKIPPED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.pyi", ".*")
FENCE = "---\n"  # before and after the front matter


def main(arguments: list[str] | None = None) -> int:
    """Write the files and say how to publish them; return the exit code."""
    options = program.Parser(description=__doc__)
    options.add_argument("folder", type=value.path, help="new, empty, or of an earlier run")
    options.add_argument(
        "--preload", action="store_true", help="the Space downloads Stable Diffusion 1.5 when built"
    )
    return program.run(lambda: _main(options.parse_args(arguments)))


def _main(options: argparse.Namespace) -> None:
    value.check_out_folder(options.folder)
    assemble(options.folder, preload=options.preload)
    size = sum(path.stat().st_size for path in options.folder.rglob("*"))
    print(f"{options.folder}: {size / 1e6:.0f} MB. docs/hosting.md says how to publish it.")


def assemble(folder: Path, preload: bool = False) -> None:
    """Write all files of the Space.

    Args:
        folder: It is made; what an earlier run left there is replaced. Its .git stays.
        preload: Stable Diffusion 1.5 is downloaded when the Space is built, not when it starts.

    Raises:
        UsageError: The folder holds something else.
    """
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if there - {".git", ".gitattributes"} and not _is_assembled(folder):
        raise UsageError(f"{quote(str(folder))} is not empty. Name a new folder.")
    if folder.resolve() == ROOT or folder.resolve() in ROOT.parents:
        raise UsageError(f"{quote(str(folder))} holds the project itself. Name a new folder.")
    for old in folder.iterdir() if folder.is_dir() else ():
        if old.is_dir() and old.name != ".git":
            shutil.rmtree(old)
        elif not old.is_dir():
            old.unlink()
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=SKIPPED)
    for name in ("app.py", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    (folder / "identities").mkdir()
    for sample in (ROOT / "identities").glob(f"*{SAMPLE_SUFFIX}"):
        shutil.copy(sample, folder / "identities")
    shutil.copy(OWN / "packages.txt", folder)
    shutil.copy(OWN / "gitattributes", folder / ".gitattributes")
    texts = [(one / "requirements.txt").read_text(encoding="utf-8") for one in (ROOT, OWN)]
    (folder / "requirements.txt").write_text(requirements(*texts), encoding="utf-8")
    readme = (OWN / "README.md").read_text(encoding="utf-8")
    more = (OWN / "preload.yaml").read_text(encoding="utf-8") if preload else ""
    _, front_matter, page = readme.split(FENCE, 2)
    readme = f"{FENCE}{front_matter}{more}{FENCE}{page}"
    (folder / "README.md").write_text(readme, encoding="utf-8")


def _is_assembled(folder: Path) -> bool:
    try:
        title = (OWN / "README.md").read_bytes().splitlines()[1]
        return title in (folder / "README.md").read_bytes().splitlines()[:2]
    except OSError:
        return False


def requirements(general: str, own: str) -> str:
    """Return the lines of both requirements files; of a package in both, that of `own`."""
    parsed = [
        (Requirement(line.partition("#")[0]), line)
        for text in (general, own)
        for line in text.splitlines()
        if line.partition("#")[0].strip()
    ]
    return "".join(f"{line}\n" for line in {one.name: line for one, line in parsed}.values())


if __name__ == "__main__":
    sys.exit(main())
