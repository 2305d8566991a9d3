"""A library folder may hold anything: the page opens, and the people who can be read are there.

A few folders are a part of every test run; 500 of them: --full -s, which prints a line.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
from pathlib import Path

import gradio as gr
import pytest
from conftest import portrait
from fuzzing import mutations
from PIL import Image
from test_robustness import MEGABYTES, SECONDS, Figures, peak
from ui_help import make_shared

from celeb_core import save_identity
from celeb_core.types import Identity
from ui.library import LibraryTab
from ui.studio import Shared
from ui.training_job import interrupted

NAMES = ("ada", "x", "ada.sample", "é", "a b", ".hidden", "-", "x" * 200, "con", "\udcff\udcfe")
SUFFIXES = (".safetensors", ".sample.safetensors", ".png", ".json", ".tmp", ".PT", "")
PLACES = (".", ".studio", ".studio/people", ".studio/people/1", ".studio/jobs", ".studio/jobs/1")
PLACES += (".studio/deleted", ".studio/deleted/1700000000000000000")
USUAL = ("person.json", "job.json", "state.safetensors", "time_estimates.json", "1.png")
RECORDS: tuple[object, ...] = (
    {"name": "eve", "faces": [[64, 64]]}, {"name": 5, "faces": {}}, {"trainees": ["1"]}, [], 5, "",
    None, {"trainees": 5, "config": [], "losses": {}}, {"trainees": ["1"], "config": {"steps": -1}},
    {"tinyville on cpu": {"sampling": -1}}, {"x": {"y": [1]}},
)  # fmt: skip


def entry(path: Path, chance: random.Random, contents: list[bytes]) -> None:
    """Make one odd entry of any kind."""
    kind = chance.randrange(7)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        path.symlink_to(chance.choice(["nowhere", path.name, "/dev/zero", "..", "/proc/self/mem"]))
    elif kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        path.write_text("[" * chance.choice([1, 20, 100_000]), encoding="utf-8")
    elif kind == 4:
        path.write_text(json.dumps(chance.choice(RECORDS)), encoding="utf-8")
    else:
        path.write_bytes(chance.choice(contents))


def odd_folder(folder: Path, chance: random.Random, contents: list[bytes]) -> None:
    """Make a library folder with a dozen odd entries where the app looks."""
    for place in PLACES:
        if chance.random() < 0.6 and not (folder / place).exists():
            (folder / place).mkdir(parents=True)
    for _ in range(12):
        name = chance.choice([*USUAL, chance.choice(NAMES) + chance.choice(SUFFIXES)])
        path = folder / chance.choice(PLACES) / name
        if path.parent.is_dir() and not os.path.lexists(path):
            entry(path, chance, contents)


def open_page(shared: Shared) -> list[str]:
    """Do what a page that opens does, and what its buttons do; return the people of the library."""
    library = LibraryTab(shared)
    library.build(gr.Textbox(visible=False))
    workspace = shared.workspace("")
    entries = workspace.files.entries()
    for one in entries:
        library.refresh(one.identity.name, "")
    interrupted(shared.core, workspace, shared.estimates, shared.executor)
    for trainee in list(workspace.trainees):
        workspace.dismiss(trainee)
    for one in entries:
        workspace.delete(one.identity.name)
    if workspace.files.deleted():
        workspace.files.restore()
    return [one.identity.name for one in entries]


def person(name, basis) -> Identity:
    return Identity(name, basis.std.new_full((basis.k, basis.p), 0.5), basis.id)


@pytest.fixture
def contents(basis, tmp_path) -> list[bytes]:
    """Mutated files of people and portraits, and an image of 400 million pixels."""
    portrait().save(tmp_path / "x.png")
    files = [save_identity(person("eve", basis), tmp_path), tmp_path / "x.png"]
    seeds = [file.read_bytes() for file in files]
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    bomb = (tmp_path / "bomb.png").read_bytes()
    chance = random.Random(0)
    mutated = [next(mutations(seed, seeds, chance)) for seed in seeds for _ in range(20)]
    return [*seeds, bomb, bomb, *mutated]


def test_folders_with_odd_entries(request, studio, tmp_path, contents, caplog):
    caplog.set_level(logging.CRITICAL)  # a line for each odd entry
    figures, before = Figures(), peak()
    for seed in range(500 if request.config.getoption("--full") else 8):
        place = tmp_path / str(seed)
        odd_folder(place / "identities", random.Random(seed), contents)

        def read(place: Path = place) -> None:
            with gr.Blocks():
                shared = make_shared(studio, place)
                try:
                    open_page(shared)
                finally:
                    shared.close()

        figures.attempt(f"folder {seed}", read)
        shutil.rmtree(place)
    print(
        f"library folders: {figures.read} opened, the slowest {figures.slowest:.2f} s, at most "
        f"{peak() - before:.0f} MB more"
    )
    assert figures.others == [] and figures.refused == 0
    if request.config.getoption("--full"):
        assert figures.slowest < SECONDS and peak() - before < MEGABYTES


def test_a_whole_person_among_odd_entries_is_always_there(studio, basis, tmp_path, contents):
    for seed in range(100, 110):
        library = tmp_path / str(seed) / "identities"
        library.mkdir(parents=True)
        save_identity(person("zoe", basis), library)
        odd_folder(library, random.Random(seed), contents)
        shared = make_shared(studio, library.parent)
        assert "zoe" in shared.workspace("").people()
        shared.close()
