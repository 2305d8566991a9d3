"""axe-core on every tab, with something on it, light and dark; keyboard alone; narrow pages fit."""

from __future__ import annotations

import itertools

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from e2e.harness import ROOT, choose_file

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]

CELEBRITY = "Draditis Pussobton"
BAD = ("serious", "critical")
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def test_axe_finds_nothing_serious(browser):
    page = browser.open("/?__theme=light")
    page.add_style_tag(content="* { transition: none !important }")  # no half-way colours
    found = violations(page, "Faces, empty")
    page.locator("#faces-examples .thumbnail-item").first.click()
    expect(page.locator("#faces-crop img")).to_be_visible()
    photo = ROOT / "docs" / "images" / "ada.png"
    page.locator("#faces-drop input[type=file]").set_input_files(photo)
    expect(page.locator("#faces-consent")).to_be_visible()
    found += violations(page, "Faces")
    for name in ("Train", "Interpolate", "About"):
        page.get_by_role("tab", name=name).click()
        expect(page.get_by_role("tabpanel").locator("visible=true").first).to_be_visible()
        found += violations(page, name)
    page.get_by_role("tab", name="Library").click()
    sample = ROOT / "identities" / "ada.sample.safetensors"
    choose_file(page, "#library-import", sample)
    expect(page.locator("#library-name")).to_be_visible()
    found += violations(page, "Library")
    page.locator("#library-compose").click()
    page.get_by_role("button", name="Advanced").last.click()
    expect(page.locator("#compose-strength")).to_be_visible()
    page.get_by_role("button", name="Who is where").click()
    page.locator("#compose-prompt textarea").fill(f"<ada> and {CELEBRITY}")
    expect(page.locator(".layout-box")).to_have_count(2)
    page.locator(".layout-box").first.focus()
    page.locator("#compose-count input[type=number]").fill("2")
    page.locator("#compose-start").click()
    expect(page.locator("#compose-status")).to_contain_text("2 of 2 images · ")
    page.locator("#compose-gallery .thumbnail-item").first.click()
    expect(page.locator("#compose-reuse")).to_be_visible()
    page.locator("#compose-prompt textarea").press_sequentially(" <")
    expect(page.get_by_role("listbox", name="People")).to_be_visible()
    found += violations(page, "Compose")
    assert not found, "\n".join(found)


def test_a_face_is_used_by_keyboard_alone(browser):
    page = browser.open()
    page.locator("#faces-examples .thumbnail-item").nth(6).focus()
    page.keyboard.press("Enter")
    name = page.locator("#faces-name :is(input, textarea)")
    expect(name).to_have_value("Jules")
    expect(page.locator("#faces-hint")).to_contain_text("<Jules>")
    expect(page.locator("#faces-use")).to_be_enabled()
    name.focus()
    page.keyboard.press("Tab")
    expect(page.locator("#faces-use")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#faces-list")).to_contain_text("Jules")


def violations(page: Page, where: str) -> list[str]:
    """What axe calls serious or worse: light and dark, at the width of a desk and of a phone."""
    words = []
    for dark, size in itertools.product((True, False), (PHONE, DESK)):
        page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), where
        scheme = "dark" if dark else "light"
        words += [
            f"{where}, {scheme}, {size['width']} px: {rule['id']} ({rule['help']}): "
            f"{rule['nodes'][0]['failureSummary'][:300]} {rule['nodes'][0]['html'][:150]}"
            for rule in Axe().run(page).response["violations"]
            if rule["impact"] in BAD
        ]
    return words
