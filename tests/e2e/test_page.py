"""The page at phone width, in both colour schemes, and when things are stopped."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]

TABS = ("Faces", "Train", "Compose", "Interpolate")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_fits_a_phone(browser, scheme):
    page = browser.open(f"/?__theme={scheme}")
    page.set_viewport_size({"width": 390, "height": 844})
    for name in TABS:
        page.get_by_role("tab", name=name).click()
        expect(page.get_by_role("tabpanel").locator("visible=true").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_drawing_is_cancelled_within_two_seconds(browser):
    page = browser.open()
    page.get_by_role("tab", name="Compose").click()
    page.locator("#compose-prompt textarea").fill("a photo of a person on the beach")
    page.locator("#compose-count input[type=number]").fill("16")
    page.locator("#compose-start").click()
    expect(page.locator("#compose-gallery .thumbnail-item").first).to_be_visible()
    began = time.monotonic()
    page.locator("#compose-cancel").click()
    expect(page.locator("#compose-status")).to_contain_text("Cancelled")
    assert time.monotonic() - began < 2
    expect(page.locator("#compose-start")).to_be_enabled()


def test_a_new_tab_shows_the_same_results(browser):
    page = browser.open()
    page.get_by_role("tab", name="Compose").click()
    page.locator("#compose-prompt textarea").fill("a photo of a person")
    page.locator("#compose-count input[type=number]").fill("1")
    page.locator("#compose-start").click()
    expect(page.locator("#compose-status")).to_contain_text("1 of 1 pictures")
    other = browser.open()
    other.get_by_role("tab", name="Compose").click()
    expect(other.locator("#compose-status")).to_contain_text("1 of 1 pictures")
    expect(other.locator("#compose-gallery .thumbnail-item")).to_have_count(1)


def test_a_prompt_survives_a_reload(browser):
    page = browser.open()
    page.get_by_role("tab", name="Compose").click()
    prompt = page.locator("#compose-prompt textarea")
    prompt.fill('a photo of <Ash> & "friends"')
    page.wait_for_function("Boolean(localStorage.getItem('celeb-basis-prompt'))")
    page.reload()
    page.get_by_role("tab", name="Compose").click()
    expect(prompt).to_have_value('a photo of <Ash> & "friends"')
