"""Images of the page for README and docs: PYTHONPATH=tests python -m e2e.screenshots."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from e2e.harness import (
    ARGUMENTS,
    CHROMIUM,
    PATIENCE,
    ROOT,
    Browser,
    add_samples,
    browsing,
    by_mouse,
    draw,
    open_tab,
    running,
    use_example,
)

FOLDER = ROOT / "docs" / "screenshots"
COLOURS = 128  # of a palette: a quarter of the size, and nobody sees it


def main() -> None:
    """A newcomer's way through the tabs, then the same page dark and on a phone."""
    expect.set_options(timeout=PATIENCE)
    with (
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        running(Path(folder)) as app,
    ):
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with browsing(app.url, chromium) as browser:
            walk(browser)
            layout(browser)
            dark(browser)
            phone(browser)
        chromium.close()


def walk(browser: Browser) -> None:
    """Two people, a joint training, images."""
    page = browser.open()
    for index, name in enumerate(("Ash", "Billie")):
        use_example(page, index, name)
        if not index:
            page.locator("#faces-examples .thumbnail-item").nth(1).click()
            expect(page.locator("#faces-name :is(input, textarea)")).to_have_value("Billie")
            shoot(page, "faces")
    page.get_by_role("tab", name="Train").click()
    page.locator("#train-start").click()
    expect(page.locator("#train-results .thumbnail-item")).to_have_count(6)
    expect(page.locator("#train-start")).to_be_enabled()
    shoot(page, "train")
    page.locator("#train-compose").click()
    prompt = page.locator("#compose-prompt textarea")
    expect(prompt).to_have_value("a photo of <Ash> and <Billie>")
    prompt.fill(
        "a photo of <Ash> and <Billie>\na photo of <Billie> on the beach wearing sunglasses"
    )
    page.locator("#compose-start").click()
    expect(page.locator("#compose-status")).to_contain_text("4 of 4 images · ")
    shoot(page, "compose")
    page.get_by_role("tab", name="Interpolate").click()
    expect(page.locator("#interpolate-b input")).not_to_have_value("")
    page.locator("#interpolate-start").click()
    expect(page.locator("#interpolate-status")).to_contain_text("5 of 5 images · ")
    shoot(page, "interpolate")
    page.get_by_role("tab", name="Four people").click()
    page.locator("#square-start").click()
    expect(page.locator("#square-status")).to_contain_text("16 of 16 images · ")
    page.locator("#around-second").click()
    expect(page.locator("#around-status")).to_contain_text("5 of 5 images · ")
    shoot(page, "square-and-map")
    page.get_by_role("tab", name="Library").click()
    page.locator("#library-people .thumbnail-item").first.click()
    expect(page.locator("#library-compose")).to_be_visible()
    shoot(page, "library")
    page.get_by_role("tab", name="About").click()
    shoot(page, "about")


def layout(browser: Browser) -> None:
    """Two people in boxes, against the order of the prompt."""
    page = browser.open()
    add_samples(page)
    page.get_by_role("tab", name="Compose").click()
    page.locator("#compose-prompt textarea").fill("a photo of <ada> and <bob> on the beach")
    page.get_by_role("button", name="Who is where").click()
    expect(page.locator(".layout-box")).to_have_count(2)
    draw(page, "ada", (0.52, 0.06, 0.97, 0.98), by_mouse)
    draw(page, "bob", (0.04, 0.06, 0.48, 0.98), by_mouse)
    page.locator("#compose-start").click()
    expect(page.locator("#compose-status")).to_contain_text("2 of 2 images · ")
    shoot(page, "layout")


def dark(browser: Browser) -> None:
    page = browser.open("/?__theme=dark")
    for tab in ("Train", "Compose"):
        page.get_by_role("tab", name=tab).click()
        shoot(page, f"{tab.lower()}-dark")


def phone(browser: Browser) -> None:
    page = browser.open()
    page.set_viewport_size({"width": 390, "height": 844})
    for tab in ("Train", "Compose", "Library"):
        open_tab(page, tab)
        shoot(page, f"{tab.lower()}-phone")


def shoot(page: Page, name: str) -> None:
    """The whole page, with a small palette."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)  # transitions and late images
    image = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    FOLDER.mkdir(parents=True, exist_ok=True)
    image.quantize(COLOURS).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
