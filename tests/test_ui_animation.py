from __future__ import annotations

import gradio as gr
import pytest
from conftest import celebrity_names
from PIL import Image
from ui_help import finish, opened_page

from celeb_core.marks.provenance import Marker
from ui.animation_files import HOLD, save_animation, there_and_back
from ui.gallery import AS_GENERATED, NOTHING

MARKER = Marker(b"key")
A, B = celebrity_names()[:2]


@pytest.fixture(scope="module")
def page(studio, tmp_path_factory):
    yield from opened_page(studio, tmp_path_factory.mktemp("page"), isolated=True)


@pytest.fixture
def session(page):
    return page.shared.new_session()


@pytest.fixture
def images():
    return [Image.new("RGB", (33, 20), (shade, 0, 0)) for shade in (0, 60, 120, 180, 240)]


def strip(page, session, count):
    page.interpolate.strip.start(A, B, 0.5, "a photo of {}", count, 7, session)
    return finish(page.interpolate.strip.results.job(session))


def test_a_film_goes_there_and_back_without_a_jump(images):
    shades = [image.getpixel((0, 0))[0] for image in there_and_back(images)]
    assert shades[:HOLD] == [0] * HOLD and shades[-3:] == [180, 120, 60]
    following = zip(shades, shades[1:] + shades[:1], strict=True)
    assert all(abs(now - then) <= 60 for now, then in following)


def test_every_format_holds_every_image_and_loops(images, tmp_path):
    files = save_animation(images, tmp_path / "animation", lambda: False, MARKER)
    assert list(files) == ["MP4", "WebP", "GIF"]
    frames = len(there_and_back(images))
    for name in ("WebP", "GIF"):
        with Image.open(files[name]) as animation:
            durations = []
            for frame in range(animation.n_frames):
                animation.seek(frame)
                animation.load()
                durations.append(animation.info["duration"])
            assert animation.info["loop"] == 0
        assert sum(durations) == pytest.approx(1000 * frames / 12, rel=0.05)


def test_the_mp4_can_be_read_and_has_the_colours(images, tmp_path):
    import cv2

    video = cv2.VideoCapture(
        str(save_animation(images, tmp_path / "animation", lambda: False, MARKER)["MP4"])
    )
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == len(there_and_back(images))
    shades = [video.read()[1][10, 10] for _ in there_and_back(images)]
    video.release()
    blue, green, red = shades[HOLD + len(images) - 2]
    assert red > 220 and blue < 30 and green < 30


def test_a_stopped_film_is_none(images, tmp_path):
    assert save_animation(images, tmp_path / "animation", lambda: True, MARKER) is None


def test_only_what_is_missing_between_the_images_is_generated(page, session):
    shown = strip(page, session, 3)
    assert page.interpolate.animation.start(1, session) == ""
    job = finish(page.interpolate.animation.results.job(session))
    assert job.status == "done"
    assert [image.caption for image in job.images] == ["λ 0.25", "λ 0.75"]
    assert {request.config.seed for request in job.requests} == {7}
    assert set(job.files) == {"MP4", "WebP", "GIF"}
    # The strip's own images are the ends: the animation begins with them.
    with Image.open(job.files["GIF"]) as animation, Image.open(shown.images[0].path) as first:
        assert animation.size == first.size


def test_the_page_shows_the_film_instead_of_the_images(page, session):
    strip(page, session, 2)
    page.interpolate.animation.start(1, session)
    results = page.interpolate.animation.results
    job = finish(results.job(session))
    shown = results.poll(NOTHING, AS_GENERATED, session)
    assert set(shown) <= set(results.outputs)
    assert shown[results.player]["value"] == str(job.files["MP4"])
    for name, button in results.buttons.items():
        assert shown[button] == gr.update(value=str(job.files[name]), visible=True)
    assert shown[results.gallery]["visible"] is False
    again = results.poll(shown[results.displayed], AS_GENERATED, session)
    assert results.player not in again and results.gallery not in again


def test_without_a_strip_there_is_nothing_to_animate(page, session):
    assert "Generate a strip" in page.interpolate.animation.start(4, session)
    strip(page, session, 1)
    assert "Generate a strip" in page.interpolate.animation.start(4, session)


def test_too_many_images_are_refused_with_their_number(page, session):
    strip(page, session, 10)
    assert "82" in page.interpolate.animation.start(8, session)
