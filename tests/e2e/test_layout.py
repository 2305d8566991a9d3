"""Two boxes by mouse, and by touch on a phone: people are where they were placed."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from celeb_core import load_face_model, load_photo
from e2e.harness import ROOT, TOONVILLE, choose_file

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]

LEFT, RIGHT = (0.03, 0.04, 0.47, 0.96), (0.53, 0.04, 0.97, 0.96)


def test_people_are_where_their_boxes_are(browser):
    page = browser.open()
    compose(page)
    page.get_by_role("button", name="Who is where").click()
    expect(page.locator(".layout-empty")).to_be_visible()
    page.locator("#compose-prompt textarea").fill("a photo of <ada> and <bob>")
    expect(page.locator(".layout-box")).to_have_count(2)
    for name, box in (("ada", RIGHT), ("bob", LEFT)):
        draw(page, name, box)
    expect(page.get_by_role("radio", name="Boxes")).to_be_checked()
    generate(page)
    expect_boxes(page, ada=RIGHT, bob=LEFT)
    check_who_is_where(page)
    page.locator("#compose-gallery .thumbnail-item").click()
    expect(page.locator("#compose-facts")).to_contain_text("boxes of ada, bob")
    move_by_keyboard(page)
    page.locator(".layout-reset").click()
    expect(field(page)).to_have_value("")
    page.locator("#compose-reuse").click()
    expect_boxes(page, ada=RIGHT, bob=LEFT)
