"""Jobs in a real browser: whose they are, that a new tab finds them, that they end when told."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from e2e.harness import browsing, step, train, use_example

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]

PAPER_STEPS = 400


def test_two_browsers_away_from_home_see_nothing_of_each_other(app, chromium):
    with browsing(app.url, chromium) as mine, browsing(app.url, chromium) as theirs:
        page, other = mine.open(), theirs.open()
        use_example(page, 0, "Ash")
        use_example(other, 3, "Drew")
        train(page, "Ash", "Instant")
        expect(page.locator("#train-status")).to_contain_text("ready, without any training")
        compose(page, "a photo of <Ash>")
        expect(page.locator("#compose-status")).to_contain_text("1 of 1 images · ")
        expect(page.locator("#compose-gallery")).to_contain_text("Ash 0.")
        for tab in (other, theirs.open()):  # one that was there before, and a new one
            expect(tab.locator("#faces-list")).to_contain_text("Drew")
            expect(tab.locator("#faces-list")).not_to_contain_text("Ash")
            tab.get_by_role("tab", name="Train").click()
            expect(tab.get_by_label("Drew")).to_be_visible()
            expect(tab.locator("#train-status")).to_contain_text("No training yet")
            expect(tab.locator("#train-status")).to_be_visible()
            tab.get_by_role("tab", name="Library").click()
            expect(tab.get_by_text("Nobody here yet")).to_be_visible()
            tab.get_by_role("tab", name="Compose").click()
            expect(tab.locator("#compose-people")).to_have_count(0)
            expect(tab.locator("#compose-gallery .thumbnail-item")).to_have_count(0)
            assert "Ash" not in tab.locator("body").inner_text()
        again = mine.open()
        again.get_by_role("tab", name="Compose").click()
        expect(again.locator("#compose-gallery")).to_contain_text("Ash 0.")
        again.get_by_role("tab", name="Train").click()
        again.get_by_role("button", name="Advanced").first.click()
        again.locator("#train-steps input").fill("800")  # under way while two pages are loaded
        train(again, "Ash", "Paper")
        expect(again.locator("#train-status")).to_contain_text("left")
        expect(mine.open().locator("#train-running")).to_contain_text("Training Ash · step")
        stranger = theirs.open()
        expect(stranger.locator("#faces-list")).to_contain_text("Drew")  # all that it asked for
        expect(stranger.locator("#train-running p")).to_have_count(0)
        stop(again)
        assert "lost its session" not in app.log.read_text()  # nobody was too early for theirs
        (cookie,) = mine.context.cookies()
        assert cookie["httpOnly"] and not page.evaluate("document.cookie")


def test_a_training_is_found_by_a_new_tab_and_its_end_makes_room_for_the_next_job(browser):
    page = browser.open()
    use_example(page, 1, "Billie")
    train(page, "Billie", "Paper")
    expect(page.locator("#train-status")).to_contain_text("left")
    page.close()
    page = browser.open()
    expect(page.locator("#train-running")).to_contain_text("Training Billie · step")
    before = step(page.locator("#train-running"))
    expect(page.locator("#train-running")).not_to_contain_text(f"step {before} of")  # it goes on
    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#train-status")).to_contain_text("Billie · preset paper · step")
    expect(page.locator("#train-running")).to_be_hidden()
    expect(page.locator("#train-stop")).to_be_enabled()
    expect(page.locator("#train-plot svg .mark-line path").first).to_be_attached()
    compose(page, "a photo of a person")
    expect(page.locator("#compose-status")).to_contain_text("Waiting, place 2: 1 job before")
    page.get_by_role("tab", name="Train").click()
    stop(page)
    assert before < step(page.locator("#train-status")) < PAPER_STEPS
    train(page, "Billie", "Instant")  # which has no plot
    expect(page.locator("#train-status")).to_contain_text("ready, without any training")
    expect(page.locator("#train-plot")).to_be_hidden()
    page.get_by_role("tab", name="Compose").click()
    expect(page.locator("#compose-status")).to_contain_text("1 of 1 images · ")


def stop(page: Page) -> None:
    page.locator("#train-stop").click()
    expect(page.locator("#train-status")).to_contain_text("stopped, can be resumed")
    expect(page.locator("#train-start")).to_be_enabled()


def compose(page: Page, prompt: str) -> None:
    """Ask for one image."""
    page.get_by_role("tab", name="Compose").click()
    page.locator("#compose-prompt textarea").fill(prompt)
    page.locator("#compose-count input[type=number]").fill("1")
    page.locator("#compose-start").click()
