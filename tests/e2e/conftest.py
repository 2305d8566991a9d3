"""The app in a process of its own, and Debian's Chromium in front of it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image
from playwright import sync_api

ROOT = Path(__file__).resolve().parent.parent.parent
TOONVILLE = ROOT / "assets" / "toonville"
# None: the one that `playwright install` downloads.
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START = 120  # seconds
PATIENCE = 60_000  # milliseconds


@dataclass
class App:
    """A running app and what it has written."""

    url: str
    folder: Path
    log: Path


@dataclass
class Browser:
    """A browser that notes what it should not do."""

    context: sync_api.BrowserContext
    url: str
    outside: list[str] = field(default_factory=list)  # requests to anywhere else
    errors: list[str] = field(default_factory=list)

    def open(self, path: str = "/") -> sync_api.Page:
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(self.url + path)
        sync_api.expect(page.get_by_role("tab", name="Faces")).to_be_visible()
        return page


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    if not (TOONVILLE / "model_index.json").is_file():
        pytest.skip("the bundled model is not here")
    folder = tmp_path_factory.mktemp("app")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log"
    command = [sys.executable, "app.py", "--model", "toonville", "--port", str(port)]
    command += ["--identities", str(folder / "identities")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "GRADIO_TEMP_DIR": str(folder / "cache")}
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, log)
        yield App(url, folder, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def chromium() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        sync_api.expect.set_options(timeout=PATIENCE)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def browser(app: App, chromium: sync_api.Browser) -> Iterator[Browser]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    made = Browser(context, app.url)
    inside = (app.url, "data:", "blob:")

    def watch(request: sync_api.Request) -> None:
        if not request.url.startswith(inside):
            made.outside.append(request.url)

    context.on("request", watch)
    yield made
    context.close()
    assert made.outside == []
    assert made.errors == []


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A photo of two held-out people beside each other."""
    grid = Image.open(TOONVILLE / "evaluation" / "people.png").convert("RGB")
    path = tmp_path / "pair.png"
    grid.crop((10 * 128, 0, 12 * 128, 128)).save(path)
    return path


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + START
    while time.monotonic() < limit:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError(f"no page after {START} s: {log.read_text()}")
