"""Ways in for a photo: the camera."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]


def test_a_picture_of_the_camera_is_used(browser):
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
