"""Jobs in a real browser: whose they are, how soon they are found again, how soon they end."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from e2e.harness import browsing, running

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]

SOON = 2.0  # seconds, on two cores that have nothing else to do
SLACK = 1.5  # times as long where they have


def test_two_browsers_away_from_home_see_nothing_of_each_other(chromium, tmp_path):
    with (
        running(tmp_path, "--host", "0.0.0.0") as app,
        browsing(app.url, chromium) as mine,
        browsing(app.url, chromium) as theirs,
    ):
        page, other = mine.open(), theirs.open()
        use_example(page, 0, "Ash")
        use_example(other, 3, "Drew")
        train(page, "Instant")
        expect(page.locator("#train-status")).to_contain_text("ready, without any training")
        compose(page, "a photo of <Ash>", pictures=1)
        expect(page.locator("#compose-status")).to_contain_text("1 of 1 pictures · ")
        expect(page.locator("#compose-gallery")).to_contain_text("Ash 0.")
        for seen in (other, theirs.open()):  # a tab that was there before, and a new one
            expect(seen.locator("#faces-list")).to_contain_text("Drew")
            expect(seen.locator("#faces-list")).not_to_contain_text("Ash")
            seen.get_by_role("tab", name="Train").click()
            expect(seen.get_by_label("Drew")).to_be_visible()
            expect(seen.locator("#train-status")).to_contain_text("No training yet")
            expect(seen.locator("#train-status")).to_be_visible()
            seen.get_by_role("tab", name="Library").click()
            expect(seen.get_by_text("Nobody here yet")).to_be_visible()
            seen.get_by_role("tab", name="Compose").click()
            expect(seen.locator("#compose-people")).to_have_count(0)
            expect(seen.locator("#compose-gallery .thumbnail-item")).to_have_count(0)
            assert "Ash" not in seen.locator("body").inner_text()
        again = mine.open()
        again.get_by_role("tab", name="Compose").click()
        expect(again.locator("#compose-gallery")).to_contain_text("Ash 0.")
        again.get_by_role("tab", name="Train").click()
        again.get_by_label("Ash").check()
        train(again, "Paper")
        expect(again.locator("#train-status")).to_contain_text("left")
        for browser in (mine, theirs):
            tab = browser.context.new_page()
            began = time.monotonic()
            tab.goto(app.url, wait_until="commit")
            if browser is theirs:
                expect(tab.locator("#faces-list")).to_contain_text("Drew")
                expect(tab.locator("#first-look")).to_have_count(0)
                continue
            expect(tab.locator("#first-look")).to_contain_text("Training Ash · step")
            found = time.monotonic() - began
        print(f"away from home, a new tab says after {found:.1f} s that it trains")
        assert found < SOON
        assert "lost its session" not in app.log.read_text()  # nobody was too early for theirs


def test_a_training_is_found_by_a_new_tab_and_its_end_makes_room_for_the_next_job(browser):
    page = browser.open()
    use_example(page, 1, "Billie")
    train(page, "Paper")
    expect(page.locator("#train-status")).to_contain_text("left")
    page.close()
    page = browser.context.new_page()
    began = time.monotonic()
    page.goto(browser.url, wait_until="commit")
    expect(page.locator("#first-look")).to_contain_text("Training Billie · step")
    found = time.monotonic() - began
    expect(page.locator("#train-running")).to_contain_text("Training Billie · step")
    live = time.monotonic() - began
    expect(page.locator("#first-look")).to_be_hidden()
    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#train-status")).to_contain_text("Billie · recipe paper · step")
    expect(page.locator("#train-running")).to_be_hidden()
    expect(page.locator("#train-stop")).to_be_enabled()
    expect(page.locator("#train-plot svg .mark-line path").first).to_be_attached()
    compose(page, "a photo of a person", pictures=1)
    expect(page.locator("#compose-status")).to_contain_text("Waiting for the device: 1 before")
    page.get_by_role("tab", name="Train").click()
    stopped = stop(page)
    page.get_by_role("tab", name="Compose").click()
    expect(page.locator("#compose-status")).to_contain_text("1 of 1 pictures · ")
    print(
        f"a new tab says that it trains after {found:.1f} s and goes along after {live:.1f} s; "
        f"the training stops in {stopped:.1f} s"
    )
    assert found < SOON and live < 2 * SLACK * SOON and stopped < SLACK * SOON


def use_example(page: Page, number: int, name: str) -> None:
    page.locator("#faces-examples .thumbnail-item").nth(number).click()
    expect(page.locator("#faces-name :is(input, textarea)")).to_have_value(name)
    expect(page.locator("#faces-use")).to_be_enabled()
    page.locator("#faces-use").click()
    expect(page.locator("#faces-list")).to_contain_text(name)


def train(page: Page, recipe: str) -> None:
    page.get_by_role("tab", name="Train").click()
    page.get_by_role("radio", name=recipe).check()
    page.locator("#train-start").click()


def stop(page: Page) -> float:
    """Seconds until it has stopped."""
    began = time.monotonic()
    page.locator("#train-stop").click()
    expect(page.locator("#train-status")).to_contain_text("stopped, can be resumed")
    expect(page.locator("#train-start")).to_be_enabled()
    return time.monotonic() - began


def compose(page: Page, prompt: str, pictures: int) -> None:
    page.get_by_role("tab", name="Compose").click()
    page.locator("#compose-prompt textarea").fill(prompt)
    page.locator("#compose-count input[type=number]").fill(str(pictures))
    page.locator("#compose-start").click()
