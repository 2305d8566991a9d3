"""Two boxes by mouse, and by touch on a phone: people are where they were placed."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from celeb_core import find_face, load_face_model, load_photo
from e2e.harness import ROOT, TOONVILLE, Box, Points, add_samples, by_mouse, draw

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]

LEFT, RIGHT = (0.03, 0.04, 0.47, 0.96), (0.53, 0.04, 0.97, 0.96)


PHONE = {"width": 375, "height": 812}


def test_people_are_where_their_boxes_are(browser):
    page = browser.open()
    add_samples(page)
    page.get_by_role("tab", name="Compose").click()
    page.get_by_role("button", name="Who is where").click()
    expect(page.locator(".layout-empty")).to_be_visible()
    page.locator("#compose-prompt textarea").fill("a photo of <ada> and <bob>")
    expect(page.locator(".layout-box")).to_have_count(2)
    page.get_by_role("button", name="Advanced").last.click()
    page.get_by_label("Fast mode").check()
    page.get_by_label("Random seed").uncheck()
    page.locator("#compose-count input[type=number]").fill("1")
    draw(page, "ada", RIGHT, by_mouse)
    draw(page, "bob", LEFT, by_mouse)
    check_boxes(page, ada=RIGHT, bob=LEFT)
    assert generate_and_find_ada(page) > 0.5
    page.set_viewport_size(PHONE)
    draw(page, "ada", LEFT, by_touch)
    draw(page, "bob", RIGHT, by_touch)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    check_boxes(page, ada=LEFT, bob=RIGHT)
    assert generate_and_find_ada(page) < 0.5
    page.get_by_label("Strength of bob").fill("0.9")
    expect(page.locator("#compose-prompt textarea")).to_have_value("a photo of <ada> and <bob:0.9>")
    change_by_keyboard(page)
    page.locator("#compose-gallery .thumbnail-item").click()
    expect(page.locator("#compose-facts")).to_contain_text("boxes of ada, bob")
    page.locator("#compose-reuse").click()
    check_boxes(page, ada=LEFT, bob=RIGHT)


def by_touch(page: Page, points: Points) -> None:
    session = page.context.new_cdp_session(page)
    kinds = ["touchStart", *["touchMove"] * (len(points) - 1)]
    for kind, (x, y) in zip(kinds, points, strict=True):
        touch = {"type": kind, "touchPoints": [{"x": x, "y": y}]}
        session.send("Input.dispatchTouchEvent", touch)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def check_boxes(page: Page, **boxes: Box) -> None:
    """On the canvas, as it says it of each box, and in what is sent."""
    expect(page.get_by_role("radio", name="Boxes")).to_be_checked()
    for name, box in boxes.items():
        left, top, right, bottom = (round(share * 100) for share in box)
        said = f"{name}, {left} to {right} % from the left, {top} to {bottom} % from the top"
        expect(page.get_by_role("group", name=said)).to_be_visible()
    sent = json.loads(page.locator("#compose-boxes textarea").input_value())
    assert {name: pytest.approx(box, abs=0.01) for name, box in boxes.items()} == sent


def generate_and_find_ada(page: Page) -> float:
    """Generate an image; return where ada is in it, from 0, left, to 1."""
    image = page.locator("#compose-gallery .thumbnail-item img")
    before = image.get_attribute("src") if image.count() else ""
    page.locator("#compose-start").click()
    expect(image).not_to_have_attribute("src", before)
    pixels = load_photo(page.request.get(image.get_attribute("src")).body())
    expect(page.locator("#compose-start")).to_be_enabled()  # it has its scores
    faces = load_face_model(TOONVILLE / "faces")
    ada = find_face(ROOT / "docs" / "images" / "ada.png", faces).embedding
    found = max(faces.find(pixels), key=lambda face: float(face.embedding @ ada))
    return (found.box[0] + found.box[2]) / 2 / pixels.width


def change_by_keyboard(page: Page) -> None:
    """Move a box, resize it, put it back; then all of them."""
    box, said = page.locator(".layout-box").first, page.locator(".layout-said")
    box.focus()
    page.keyboard.press("ArrowRight")
    expect(said).to_contain_text("ada: 5 to 49 % from the left, 4 to 96 %")
    page.keyboard.press("Shift+ArrowUp")
    expect(said).to_contain_text("ada: 5 to 49 % from the left, 4 to 94 %")
    page.keyboard.press("Delete")
    expect(said).to_contain_text("ada: 0 to 50 % from the left, 0 to 100 %")
    page.locator(".layout-reset").click()
    expect(page.locator("#compose-boxes textarea")).to_have_value("")
