"""The app in a process of its own, and Debian's Chromium in front of it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from playwright import sync_api
from playwright.sync_api import expect

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
Box: TypeAlias = tuple[float, float, float, float]
Points: TypeAlias = Sequence[tuple[float, float]]
START = 180  # seconds
PATIENCE = 180_000  # milliseconds: the longest training of a test, beside another test
# The page has its session, and what is done there is that session's.
READY = "() => document.querySelector('#tabs')?.ready"


@dataclass
class App:
    """A running app and what it has written."""

    url: str
    folder: Path
    log: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End it without a warning."""
        self.process.kill()
        self.process.wait(20)


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
        expect(page.get_by_role("tab", name="Faces")).to_be_visible()
        page.wait_for_function(READY)
        return page


@contextmanager
def launched(
    folder: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[App]:
    """Start the app on a free port with all its files in a folder; kill it in the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log"
    command = [sys.executable, "app.py", "--model", "toonville", "--port", str(port)]
    command += ["--identities", str(folder / "identities"), *options]
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    variables = {
        **os.environ,
        "HOME": str(folder),  # no face pack of insightface's folder
        "HF_HUB_OFFLINE": "1",
        "GRADIO_TEMP_DIR": str(folder / "cache"),
        "TMPDIR": str(temporary),
        **(environment or {}),
    }
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output, stderr=output)
    app = App(f"http://127.0.0.1:{port}", folder, log, process)
    try:
        yield app
    finally:
        app.kill()


@contextmanager
def running(
    folder: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[App]:
    """Start the app and wait for its page."""
    with launched(folder, *options, environment=environment) as app:
        until(lambda: _answers(app))
        yield app


@contextmanager
def browsing(url: str, chromium: sync_api.Browser) -> Iterator[Browser]:
    """A fresh browser in front of an app; fails on requests elsewhere and on script errors."""
    context = new_context(chromium)
    with watched(url, context) as made:
        yield made
        context.close()


def new_context(chromium: sync_api.Browser) -> sync_api.BrowserContext:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    return context


@contextmanager
def watched(url: str, context: sync_api.BrowserContext) -> Iterator[Browser]:
    """Fail on requests elsewhere and on script errors."""
    made = Browser(context, url)
    inside = (url, "data:", "blob:")

    def watch(request: sync_api.Request) -> None:
        if not request.url.startswith(inside):
            made.outside.append(request.url)

    context.on("request", watch)
    yield made
    context.remove_listener("request", watch)
    assert made.outside == []
    assert made.errors == []


def _answers(app: App) -> bool:
    assert app.process.poll() is None, app.log.read_text()
    try:
        urllib.request.urlopen(app.url, timeout=5)
    except (urllib.error.URLError, TimeoutError):
        return False
    return True


def until(condition: Callable[[], bool], seconds: float = START) -> None:
    """Wait for something outside of the browser."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def use_example(page: sync_api.Page, number: int, name: str) -> None:
    """Put an example face into the training list."""
    page.locator("#faces-examples .thumbnail-item").nth(number).click()
    expect(page.locator("#faces-crop img")).to_be_visible()
    expect(page.locator("#faces-name :is(input, textarea)")).to_have_value(name)
    expect(page.locator("#faces-use")).to_be_enabled()
    page.locator("#faces-use").click()
    expect(page.locator("#faces-list")).to_contain_text(name)


def train(page: sync_api.Page, name: str, recipe: str) -> None:
    """Train a person who is in the training list."""
    page.get_by_role("tab", name="Train").click()
    page.get_by_label(name).check()
    page.get_by_role("radio", name=recipe).check()
    page.locator("#train-start").click()


def step(text: sync_api.Locator) -> int:
    """The step of a training that an element tells."""
    return int(re.search(r"step (\d+)", text.inner_text())[1])


def open_tab(page: sync_api.Page, name: str) -> None:
    """Also on a phone, where the last tabs are in a menu."""
    tab = page.get_by_role("tab", name=name)
    if not tab.count():
        page.get_by_role("button", name="More tabs").click()
        tab = page.locator(".overflow-dropdown").get_by_role("button", name=name)
    tab.click()


def choose_file(page: sync_api.Page, button: str, path: Path) -> None:
    """For an upload button: its file input is not inside it."""
    with page.expect_file_chooser() as chooser:
        page.locator(button).click()
    chooser.value.set_files(path)


def choose(page: sync_api.Page, dropdown: sync_api.Locator, text: str) -> None:
    """For a dropdown that can be searched."""
    dropdown.click()
    dropdown.fill(text)
    page.get_by_role("option", name=text, exact=True).click()
    expect(dropdown).to_have_value(text)


def add_samples(page: sync_api.Page) -> None:
    page.get_by_role("tab", name="Library").click()
    for name in ("ada", "bob"):
        choose_file(page, "#library-import", ROOT / "identities" / f"{name}.sample.safetensors")
        expect(page.locator("#library-people")).to_contain_text(name)


def draw(
    page: sync_api.Page, name: str, box: Box, drag: Callable[[sync_api.Page, Points], None]
) -> None:
    page.locator(".layout-name", has_text=name).click()
    canvas = page.locator(".layout-canvas")
    canvas.scroll_into_view_if_needed()
    area = canvas.bounding_box()
    corners = (box[:2], ((box[0] + box[2]) / 2, 0.5), box[2:])
    drag(
        page, [(area["x"] + x * area["width"], area["y"] + y * area["height"]) for x, y in corners]
    )


def by_mouse(page: sync_api.Page, points: Points) -> None:
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point)
    page.mouse.up()
