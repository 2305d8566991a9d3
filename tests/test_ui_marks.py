"""No writer of generated images is left out, and no photo is marked as generated."""

from __future__ import annotations

import base64
import re
from io import BytesIO

import pytest
from conftest import portrait
from PIL import Image
from ui_help import finish, make_page

from celeb_core.marks.xmp import is_generated, read_packet, read_properties
from ui.gallery import previews_html
from ui.interpolate import InterpolateTab
from ui.portrait_job import PortraitJob

FORM = {"count": 1, "seed": 5, "new_seed": False, "strength": 1, "steps": 1, "guidance_scale": 3.0}


def marked(path):
    return is_generated(read_properties(read_packet(path)))


@pytest.fixture
def page(studio, tmp_path):
    page = make_page(studio, tmp_path)
    yield page
    page.shared.close()


def test_every_generated_file_has_a_mark_of_this_page_and_no_photo_has_one(page, tmp_path):
    workspace = page.shared.workspace("")
    workspace.enlist(workspace.add_photo(portrait(), "ada"), 0, "ada", consent=True)
    page.train.start(list(workspace.trainees), "fast", 1, 0, "")
    jobs = [finish(page.train.job(""))]
    workspace.files.portrait_path("ada").unlink()
    page.library.generate("")
    jobs.append(finish(page.shared.runner.latest("local", PortraitJob)))
    page.compose.start(text="{}", grid_people=["<ada>"], embed_settings=False, session="", **FORM)
    jobs.append(finish(page.compose.results.job("")))
    tab: InterpolateTab = page.interpolate
    names = ["<ada>", *page.shared.core.models.names[:3]]
    assert tab.strip.start(names[0], names[1], 0.5, "{}", 2, 0, "") == ""
    jobs.append(finish(tab.strip.results.job("")))
    assert tab.animation.start(1, "") == ""
    jobs.append(finish(tab.animation.results.job("")))
    assert tab.square.start(*names, "{}", 2, 0, "") == ""
    jobs.append(finish(tab.square.results.job("")))
    assert [job.error for job in jobs if job.status != "done"] == []

    written = [path for path in workspace.images.rglob("*") if path.is_file()]
    written += [workspace.files.portrait_path("ada"), workspace.portraits.find("ada")]
    kinds = {path.suffix for path in written}
    assert kinds >= {".png", ".webp", ".gif", ".mp4"} and len(written) > 15
    assert [path for path in written if not marked(path)] == []
    verdicts = {page.shared.marks.examine(path).verdict for path in written}
    assert verdicts == {"unchanged"}
    photos = list(workspace.private.rglob("*.png"))
    assert photos and not any(map(marked, photos))


def test_images_under_way_have_it_too(page, tmp_path):
    (data,) = re.findall(r"base64,([^\"]+)", previews_html([portrait()], page.shared.marks))
    path = tmp_path / "preview.jpg"
    path.write_bytes(base64.b64decode(data))
    assert Image.open(BytesIO(path.read_bytes())).format == "JPEG"
    assert page.shared.marks.examine(path).verdict == "unchanged"
