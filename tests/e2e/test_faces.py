"""Photos from the camera and from the clipboard; and one that shows nobody."""

from __future__ import annotations

import base64

import pytest
from PIL import Image
from playwright.sync_api import expect

from e2e.harness import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]

PASTE = """async data => {
    const blob = await (await fetch(data)).blob(), carried = new DataTransfer();
    carried.items.add(new File([blob], "image.png", {type: "image/png"}));
    const event = new ClipboardEvent("paste", {clipboardData: carried, bubbles: true});
    document.body.dispatchEvent(event);
}"""


def test_an_image_of_the_camera_is_used(browser):
    page = browser.open()
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.get_by_label("capture photo").click()
    expect(page.locator("#faces-crop img")).to_be_visible()
    expect(page.get_by_text("Click to Access Webcam")).to_be_visible()  # for the next one
    page.locator("#faces-name :is(input, textarea)").fill("Robin")
    page.get_by_label("I may use this person's likeness").check()
    page.locator("#faces-use").click()
    expect(page.locator("#faces-list")).to_contain_text("Robin")


def test_an_image_is_pasted_anywhere_and_one_without_a_face_says_what_to_do(browser, tmp_path):
    page = browser.open()
    photo = (ROOT / "docs" / "images" / "ada.png").read_bytes()
    page.evaluate(PASTE, "data:image/png;base64," + base64.b64encode(photo).decode())
    expect(page.locator("#faces-crop img")).to_be_visible()
    landscape = tmp_path / "dog.png"
    Image.linear_gradient("L").resize((600, 400)).convert("RGB").save(landscape)
    page.locator("#faces-drop input[type=file]").set_input_files(landscape)
    expect(page.locator("#faces-problem")).to_contain_text("dog.png: ")
    expect(page.locator("#faces-problem")).to_contain_text("face")
    expect(page.locator("#faces-crop img")).to_be_visible()  # the one before is still there


def test_a_removed_photo_is_served_no_more(browser, tmp_path):
    page = browser.open()
    upside_down = tmp_path / "zoe.png"
    Image.open(ROOT / "docs" / "images" / "ada.png").rotate(180).save(upside_down)
    page.locator("#faces-drop input[type=file]").set_input_files(upside_down)
    expect(page.locator("#faces-quality")).to_contain_text("turned upright by 180 degrees")
    photo = page.locator("#faces-photo img")
    address = photo.get_attribute("src")
    assert page.request.get(address).ok
    page.get_by_label("I may use this person's likeness").check()
    page.locator("#faces-use").click()
    listed = page.locator("#faces-list img")
    expect(listed).to_be_visible()
    assert not page.request.get(address).ok
    face = listed.get_attribute("src")
    assert page.request.get(face).ok
    listed.click()
    page.locator("#faces-remove").click()
    expect(listed).to_have_count(0)
    assert not page.request.get(face).ok
