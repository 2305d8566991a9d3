"""Names, prompts and people on the page, and what is there when things are stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from e2e.harness import ROOT, choose, choose_file

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]

RTL = ('مرحبا "x" & {{1}} &lt;img src=x onerror=alert(1)&gt; ' + "ي" * 64)[:64]
SAMPLE = ROOT / "identities" / "ada.sample.safetensors"


def test_names_complete_by_keyboard(browser):
    page = browser.open()
    page.get_by_role("tab", name="Library").click()
    choose_file(page, "#library-import", SAMPLE)
    expect(page.locator("#library-people")).to_contain_text("ada")
    page.get_by_role("tab", name="Compose").click()
    expect(page.locator("#compose-people").get_by_role("button", name="ada").first).to_be_visible()
    prompt = page.locator("#compose-prompt textarea")
    prompt.press_sequentially("a photo of <AD")
    expect(page.get_by_role("option", name="ada").first).to_be_visible()
    prompt.press("Enter")
    expect(prompt).to_have_value("a photo of <ada>")
    prompt.press_sequentially(" <zzz")
    expect(page.get_by_role("listbox", name="People")).to_be_hidden()


def test_a_person_is_renamed_deleted_and_brought_back(browser):
    page = browser.open()
    page.get_by_role("tab", name="Library").click()
    choose_file(page, "#library-import", SAMPLE)
    expect(page.locator("#library-problem")).to_contain_text("is in the library")
    page.locator("#library-name :is(input, textarea)").fill(RTL)
    page.locator("#library-rename").click()
    expect(page.locator("#library-problem")).to_contain_text(f"<{RTL}>")
    expect(page.locator("#library-facts")).to_contain_text(f"<{RTL}>")
    with page.expect_download() as download:
        page.locator("#library-export").click()
    assert Path(download.value.path()).stat().st_size <= 3072
    page.locator("#library-delete").click()
    expect(page.get_by_text("Nobody here yet")).to_be_visible()
    expect(page.locator("#library-people")).to_have_count(0)
    page.locator("#library-undo").click()
    expect(page.locator("#library-people")).to_contain_text(RTL)
    page.locator("#library-compose").click()
    expect(page.locator("#compose-prompt textarea")).to_have_value(f"a photo of <{RTL}>")
    expect(page.locator("#compose-people")).to_contain_text(RTL)
    page.locator("#compose-prompt textarea").press_sequentially(" and <")
    expect(page.get_by_role("option", name=RTL, exact=True)).to_be_visible()
    page.get_by_role("tab", name="Interpolate").click()
    expect(page.locator("#map-near")).to_contain_text("Nearest celebrities")
    choose(page, page.locator("#map-person input"), f"<{RTL}>")
    expect(page.locator("#map-near")).to_contain_text(f"<{RTL}>")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_settings_of_an_image_come_back(browser):
    page = browser.open()
    page.get_by_role("tab", name="Compose").click()
    prompt = page.locator("#compose-prompt textarea")
    prompt.fill("a photo of a person\na person in space")
    page.locator("#compose-count input[type=number]").fill("1")
    page.locator("#compose-start").click()
    expect(page.locator("#compose-status")).to_contain_text("2 of 2 images · ")
    page.locator("#compose-gallery .thumbnail-item", has_text="2. a person in space").click()
    expect(page.locator("#compose-facts")).to_contain_text("a person in space")
    page.locator("#compose-reuse").click()
    expect(prompt).to_have_value("a person in space")


def test_generating_is_cancelled_and_what_is_there_stays(browser):
    page = browser.open()
    page.get_by_role("tab", name="Compose").click()
    page.locator("#compose-prompt textarea").fill("a photo of a person on the beach")
    page.locator("#compose-count input[type=number]").fill("16")
    page.locator("#compose-start").click()
    expect(page.locator("#compose-gallery .thumbnail-item").first).to_be_visible()
    page.locator("#compose-cancel").click()
    expect(page.locator("#compose-status")).to_contain_text("Cancelled")
    expect(page.locator("#compose-start")).to_be_enabled()
    expect(page.locator("#compose-download")).to_be_visible()
    assert 1 <= page.locator("#compose-gallery .thumbnail-item").count() < 16


def test_a_new_tab_shows_the_same_results(browser):
    page = browser.open()
    page.get_by_role("tab", name="Compose").click()
    page.locator("#compose-prompt textarea").fill("a photo of a person")
    page.locator("#compose-count input[type=number]").fill("1")
    page.locator("#compose-start").click()
    expect(page.locator("#compose-status")).to_contain_text("1 of 1 images")
    other = browser.open()
    other.get_by_role("tab", name="Compose").click()
    expect(other.locator("#compose-status")).to_contain_text("1 of 1 images")
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
