"""A server that is killed in the middle of a training."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from e2e.harness import browsing, running

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]


def test_a_training_goes_on_after_a_kill(chromium, tmp_path):
    with running(tmp_path) as first, browsing(first.url, chromium) as browser:
        page = browser.open()
        page.locator("#faces-examples .thumbnail-item").first.click()
        expect(page.locator("#faces-use")).to_be_enabled()
        page.locator("#faces-use").click()
        expect(page.locator("#faces-list")).to_contain_text("Ash")
        page.get_by_role("tab", name="Train").click()
        page.get_by_role("radio", name="Paper").check()
        page.locator("#train-start").click()
        expect(page.locator("#train-stop")).to_be_enabled()
        stored = tmp_path / "identities" / ".studio" / "jobs"
        for _ in range(600):
            if list(stored.glob("*/job.json")):
                break
            page.wait_for_timeout(100)
    with running(tmp_path) as second, browsing(second.url, chromium) as browser:
        page = browser.open()
        page.get_by_role("tab", name="Train").click()
        expect(page.locator("#train-status")).to_contain_text("Ash: stopped, can be resumed")
        page.get_by_role("button", name="Resume Ash").click()
        expect(page.locator("#train-status")).to_contain_text("left")
        page.locator("#train-stop").click()
        expect(page.locator("#train-keep")).to_be_visible()
        page.locator("#train-keep").click()
        expect(page.locator("#train-problem")).to_contain_text("Saved as after step")
