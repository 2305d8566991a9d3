from __future__ import annotations

import stat
from pathlib import Path

import gradio as gr
import pytest
from conftest import portrait
from gradio.data_classes import ImageData
from PIL import Image
from ui_help import make_page

from ui import page_files
from ui.page_files import PageFiles


@pytest.fixture
def files(tmp_path):
    files = PageFiles(tmp_path / "temporary")
    yield files
    files.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folders_are_private(files):
    for folder in (files.folder.parent, files.folder, files.cache):
        assert mode(folder) == 0o700


def test_what_dead_processes_left_is_deleted(files, tmp_path):
    dead = files.folder.parent / "page-4194304999-1700000000"
    odd = files.folder.parent / "page-x-y"
    for folder in (dead, odd):
        (folder / "shown").mkdir(parents=True)
    again = PageFiles(files.folder.parent)
    assert not dead.exists() and not odd.exists()
    assert files.folder.exists()  # of a process that lives
    again.close()
    assert not again.folder.exists()


def test_an_image_is_shown_until_it_is_forgotten(files):
    path = files.show("key", "whole", portrait(side=2048))
    with Image.open(path) as image:
        assert image.size == (1024, 1024)
    assert files.show("key", "whole", lambda: pytest.fail("made twice")) == path
    files.forget("key")
    assert not Path(path).exists()
    files.forget("key")


def test_only_uploads_lie_where_uploads_are_deleted(studio, tmp_path, monkeypatch):
    page = make_page(studio, tmp_path)
    outputs = str(page.shared.files.cache / page_files.OUTPUTS)
    kinds = {type(block) for block in page.faces.view.outputs}
    assert kinds >= {gr.Image, gr.Gallery}
    blocks = [*page.faces.view.outputs, page.faces.examples, page.library.export]
    assert all(block.GRADIO_CACHE == outputs for block in blocks)
    uploads = [page.faces.drop, page.faces.camera, page.library.file, page.compose.file]
    assert not any(block.GRADIO_CACHE == outputs for block in uploads)
    page.shared.close()


def test_the_cameras_file_is_left_to_the_reader_of_photos(studio, tmp_path):
    path = tmp_path / "camera.jpg"
    portrait().save(path)
    camera = make_page(studio, tmp_path).faces.camera
    data = ImageData(path=str(path), orig_name="camera.jpg")
    assert camera.preprocess(data) == str(path)
