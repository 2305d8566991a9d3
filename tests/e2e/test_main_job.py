"""The whole main job in a real browser: face, training, images, download."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from e2e.harness import choose, step, use_example

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]

ODD = 'Zoë "Q" & {{1}} ${1}'  # a name that must stay text everywhere
STEPS = 90  # so that it is under way while the page is loaded again
LINES = "#train-plot svg .mark-line path"


def test_from_a_face_to_images(browser, pair, tmp_path):
    page = browser.open()
    take_an_example(page)
    upload(page, pair, tmp_path)
    train(page)
    page = reload_in_the_middle(page)
    see_the_results(page)
    compose(page, tmp_path)
    interpolate(page)


LOADED = """() => {
  const photo = document.querySelector("#faces-photo img")
  return photo && photo.complete && photo.naturalWidth > 0
}"""


def take_an_example(page: Page) -> None:
    use_example(page, 0, "Ash")
    expect(page.locator("#faces-problem")).to_contain_text("Ash is in the training list")


def upload(page: Page, pair, tmp_path) -> None:
    """Two people and a file that is none; the right one of them is chosen and named."""
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    page.locator("#faces-drop input[type=file]").set_input_files([text, pair])
    expect(page.locator("#faces-problem")).to_contain_text("text.jpg")
    expect(page.locator("#faces-number")).to_be_visible()
    expect(page.locator("#faces-use")).to_be_disabled()
    photo = page.locator("#faces-photo img")
    page.wait_for_function(LOADED)  # before, it has another size
    size = photo.bounding_box()
    photo.click(position={"x": 0.75 * size["width"], "y": 0.45 * size["height"]})
    expect(page.locator("#faces-crop img")).to_be_visible()
    expect(page.get_by_label("2", exact=True)).to_be_checked()
    field(page, "#faces-name").fill("a/b")
    expect(page.locator("#faces-hint")).to_contain_text("contains '/'")
    expect(page.locator("#faces-use")).to_be_disabled()
    field(page, "#faces-name").fill(ODD)
    expect(page.locator("#faces-hint")).to_contain_text(f"<{ODD}>")
    expect(page.locator("#faces-use")).to_be_disabled()
    page.get_by_label("I may use this person's likeness").check()
    page.locator("#faces-use").click()
    expect(page.locator("#faces-list")).to_contain_text(ODD)


def train(page: Page) -> None:
    page.get_by_role("tab", name="Train").click()
    expect(page.get_by_label("Ash")).to_be_checked()
    expect(page.get_by_label(ODD)).to_be_checked()
    page.get_by_role("radio", name="Fast").check()
    page.get_by_role("button", name="Advanced").first.click()
    field(page, "#train-steps").fill(str(STEPS))
    page.locator("#train-start").click()
    expect(page.locator("#train-stop")).to_be_enabled()
    expect(page.locator("#train-status")).to_contain_text(f"of {STEPS}")
    expect(page.locator("#train-status")).to_contain_text("left")
    wait_for_points(page, 2)
    before = drawn(page)
    wait_for_points(page, before + 2)  # it moves
    wait_for_updates(page, 6)


def reload_in_the_middle(page: Page) -> Page:
    before = drawn(page)
    page.reload()
    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#train-stop")).to_be_enabled()
    expect(page.locator("#train-status")).to_contain_text(ODD)
    wait_for_points(page, before)
    assert step(page.locator("#train-status")) < STEPS
    wait_for_points(page, before + 2)  # and goes on moving
    return page


def see_the_results(page: Page) -> None:
    expect(page.locator("#train-status")).to_contain_text("trained in")
    expect(page.locator("#train-status")).to_contain_text(f"step {STEPS} of {STEPS}")
    assert drawn(page) == STEPS
    expect(page.locator("#train-results .thumbnail-item")).to_have_count(6)
    expect(page.locator("#train-results")).to_contain_text("identity score")
    page.locator("#train-compose").click()


def compose(page: Page, tmp_path) -> None:
    prompt = page.locator("#compose-prompt textarea")
    expect(prompt).to_have_value(f"a photo of <Ash> and <{ODD}>")
    prompt.fill("")
    page.get_by_role("button", name=ODD).click()
    expect(prompt).to_have_value(f"<{ODD}>")
    expect(prompt).to_be_focused()
    prompt.press_sequentially(" shaking hands with <Nobody>")
    page.locator("#compose-start").click()
    expect(page.locator("#compose-problem")).to_contain_text("Nobody here is called <Nobody>")
    prompt.fill(f"<{ODD}> shaking hands with <Ash>")
    field(page, "#compose-count").fill("1")
    page.locator("#compose-start").click()
    expect(page.locator("#compose-status")).to_contain_text("1 of 1 images")
    expect(page.locator("#compose-gallery")).to_contain_text(ODD)
    expect(page.locator("#compose-gallery")).to_contain_text("Ash")
    with page.expect_download() as download:
        page.locator("#compose-download").click()
    image = Image.open(download.value.path())
    settings = json.loads(image.text["celeb-basis"])
    assert settings["prompt"] == f"<{ODD}> shaking hands with <Ash>"
    assert sorted(settings["people"]) == sorted(["Ash", ODD])
    assert image.size == (384, 256)
    assert "/trainedAlgorithmicMedia" in image.text["XML:com.adobe.xmp"]
    check_the_mark(page, download.value.path(), tmp_path)


def check_the_mark(page: Page, made: Path, tmp_path: Path) -> None:
    """The page knows its own image, and claims no other."""
    stranger = tmp_path / "stranger.png"
    Image.open(made).convert("L").save(stranger)
    page.get_by_role("tab", name="About").click()
    answer = page.locator("#about-answer")
    for path, verdict in ((made, "Made here"), (stranger, "proves nothing")):
        with page.expect_file_chooser() as chooser:
            page.locator("#about-check").click()
        chooser.value.set_files(path)
        expect(answer).to_contain_text(verdict)
    page.get_by_role("tab", name="Compose").click()


def interpolate(page: Page) -> None:
    page.get_by_role("tab", name="Interpolate").click()
    choose(page, page.locator("#interpolate-a input"), "<Ash>")
    field(page, "#interpolate-count").fill("3")
    page.locator("#interpolate-start").click()
    expect(page.locator("#interpolate-status")).to_contain_text("3 of 3 images")
    expect(page.locator("#interpolate-gallery .thumbnail-item")).to_have_count(3)
    large = page.locator("#interpolate-large img")
    middle = large.get_attribute("src")
    field(page, "#interpolate-lambda").fill("1")
    expect(large).not_to_have_attribute("src", middle)


def field(page: Page, box: str) -> Locator:
    """The one that is typed into."""
    return page.locator(f"{box} :is(textarea, input[type=number], input[type=text])").first


def drawn(page: Page) -> int:
    """Points of the raw curve, as the browser draws it."""
    paths = page.locator(LINES).evaluate_all("paths => paths.map(p => p.getAttribute('d') || '')")
    return max((len(re.findall("[ML]", path)) for path in paths), default=0)


def wait_for_points(page: Page, count: int) -> None:
    page.wait_for_function(
        """([lines, count]) => [...document.querySelectorAll(lines)].some(
            path => ((path.getAttribute("d") || "").match(/[ML]/g) || []).length >= count)""",
        arg=[LINES, count],
    )


def wait_for_updates(page: Page, count: int) -> None:
    """Until the status has changed that often."""
    page.evaluate(
        """() => {
            const status = document.querySelector("#train-status");
            let last = status.innerText;
            window.updates = 0;
            new MutationObserver(() => {
                if (status.innerText !== last) { last = status.innerText; window.updates += 1; }
            }).observe(status, {subtree: true, childList: true, characterData: true});
        }"""
    )
    page.wait_for_function("count => window.updates >= count", arg=count)
