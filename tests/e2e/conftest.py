"""Fixtures: one browser process and one app for all, a fresh session for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright import sync_api

from celeb_core.evaluation.data import held_out_photos
from e2e.harness import (
    ARGUMENTS,
    CHROMIUM,
    PATIENCE,
    TOONVILLE,
    App,
    Browser,
    new_context,
    running,
    watched,
)


@pytest.fixture(scope="session", autouse=True)
def bundled_model() -> None:
    if not (TOONVILLE / "model_index.json").is_file():
        pytest.skip("the bundled model is not here")


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """As a shared one: each test's browser has people and jobs of its own."""
    with running(tmp_path_factory.mktemp("app"), "--host", "0.0.0.0") as app:
        yield app


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sync_api.Browser]:
    """With a camera that sees an example face."""
    film = tmp_path_factory.mktemp("camera") / "face.mjpeg"
    face = held_out_photos(TOONVILLE / "evaluation" / "people.webp")[0]
    face.resize((480, 480)).save(film, "JPEG")
    camera = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    ]
    with sync_api.sync_playwright() as playwright:
        sync_api.expect.set_options(timeout=PATIENCE)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *camera])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def context(chromium: sync_api.Browser) -> sync_api.BrowserContext:
    return new_context(chromium)


@pytest.fixture
def browser(app: App, context: sync_api.BrowserContext) -> Iterator[Browser]:
    """A browser that knows nothing of the tests before, but the page's scripts: a second each."""
    with watched(app.url, context) as browser:
        yield browser
        for page in context.pages:
            page.evaluate("localStorage.clear()")
            page.close()
        context.clear_cookies()


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A photo of two held-out people beside each other."""
    faces = held_out_photos(TOONVILLE / "evaluation" / "people.webp")[10:12]
    both = Image.new("RGB", (2 * faces[0].width, faces[0].height))
    both.paste(faces[0], (0, 0))
    both.paste(faces[1], (faces[0].width, 0))
    path = tmp_path / "pair.png"
    both.save(path)
    return path
