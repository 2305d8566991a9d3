"""The celebrity map and the square of four people in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from e2e.harness import open_tab

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]

CORNERS = ("upper-left", "upper-right", "lower-left", "lower-right")


def test_the_map_fits_the_page_and_names_who_is_near(browser):
    page = browser.open()
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.get_by_role("button", name="More tabs")).to_be_visible()
    open_tab(page, "Interpolate")
    chart = page.locator("#map-plot svg.marks")
    expect(chart).to_be_visible()
    expect(page.locator("#map-near")).to_contain_text("Nearest celebrities")
    assert 250 < chart.bounding_box()["width"] <= 390
    page.set_viewport_size({"width": 1280, "height": 844})
    page.wait_for_function("document.querySelector('#map-plot svg.marks').clientWidth > 500")


def test_a_square_appears_between_its_names_and_is_there_after_a_reload(browser):
    page = browser.open()
    page.get_by_role("tab", name="Interpolate").click()
    page.get_by_role("tab", name="Four people").click()
    for corner in CORNERS:
        expect(page.locator(f"#square-{corner} input")).not_to_have_value("")
    page.locator("#square-side input[type=number]").fill("2")
    page.locator("#square-start").click()
    expect(page.locator("#square-status")).to_contain_text("4 of 4 images · ")
    page.reload()
    page.get_by_role("tab", name="Interpolate").click()
    page.get_by_role("tab", name="Four people").click()
    expect(page.locator("#square-gallery .thumbnail-item")).to_have_count(4)
    expect(page.locator("#square-below")).not_to_be_empty()
