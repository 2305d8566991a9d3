"""On a machine of one's own: the first visit, and a server that is killed during a training."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from e2e.harness import ROOT, App, browsing, running, train, until, use_example

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]

CLICKS = 6  # at most


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app that nobody has used before these tests, with the sample people."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "identities").mkdir()
    for sample in (ROOT / "identities").glob("*.sample.safetensors"):
        shutil.copy(sample, folder / "identities")
    with running(folder) as app:
        yield app


def test_from_the_first_visit_to_the_first_image(home, chromium):
    with browsing(home.url, chromium) as browser:
        page = browser.open()
        expect(page.locator("#faces-people .thumbnail-item")).to_have_count(6)
        expect(page.locator("#faces-people")).to_contain_text("ada · identity score")
        expect(page.locator("#faces-images .thumbnail-item")).to_have_count(6)
        page.get_by_role("tab", name="Compose").click()
        expect(page.locator("#compose-prompt textarea")).to_have_value(re.compile("<ada>"))
        expect(page.locator("#compose-examples .thumbnail-item")).to_have_count(6)
        page.get_by_role("tab", name="Faces").click()
        clicks = [
            page.locator("#faces-examples .thumbnail-item").nth(3),
            page.locator("#faces-use"),
            page.get_by_role("tab", name="Train"),
            page.locator("#train-start"),
            page.locator("#train-compose"),
            page.locator("#compose-start"),
        ]
        assert len(clicks) <= CLICKS
        awaited = {
            1: lambda: expect(page.locator("#faces-list")).to_contain_text("Drew"),
            2: lambda: expect(page.get_by_label("Drew")).to_be_checked(),
            4: lambda: expect(page.locator("#compose-prompt textarea")).to_have_value(
                "a photo of <Drew>"
            ),
        }
        for number, click in enumerate(clicks):
            expect(click).to_be_enabled()
            click.click()
            awaited.get(number, lambda: None)()
        expect(page.locator("#compose-gallery .thumbnail-item").first).to_be_visible()
        expect(page.locator("#compose-gallery")).to_contain_text("Drew 0.")


def test_one_button_goes_from_a_face_to_an_image(home, chromium):
    with browsing(home.url, chromium) as browser:
        page = browser.open()
        page.locator("#demo-start").click()
        expect(page.locator("#demo-steps .now")).to_contain_text("Training")
        # The image takes about as long as the page waits between two looks: it may be done at once.
        expect(page.locator("#demo-steps li.done")).to_have_count(4)
        expect(page.locator("#demo-images")).to_contain_text("Ash 0.")
        page.locator("#demo-use").click()
        prompt = page.locator("#compose-prompt textarea")
        expect(prompt).to_have_value("a photo of <Ash>")
        prompt.fill("an oil painting of <Ash> with a horse")
        unknown = page.locator("#compose-unknown")
        expect(unknown).to_contain_text("does not know “oil painting” and “horse”")
        prompt.fill("a pencil sketch of <Ash>")
        expect(unknown).to_be_empty()


def test_a_training_goes_on_after_a_kill(home, chromium):
    with browsing(home.url, chromium) as browser:
        page = browser.open()
        use_example(page, 5, "Frankie")
        train(page, "Frankie", "Paper")
        expect(page.locator("#train-stop")).to_be_enabled()
        stored = home.folder / "identities" / ".studio" / "jobs"
        until(lambda: any(stored.glob("*/job.json")))
        home.kill()
    with running(home.folder) as again, browsing(again.url, chromium) as browser:
        page = browser.open()
        page.get_by_role("tab", name="Train").click()
        expect(page.locator("#train-status")).to_contain_text("Frankie: stopped, can be resumed")
        page.get_by_role("button", name="Resume Frankie").click()
        expect(page.locator("#train-status")).to_contain_text("left")
        page.locator("#train-stop").click()
        expect(page.locator("#train-keep")).to_be_visible()
        page.locator("#train-keep").click()
        expect(page.locator("#train-problem")).to_contain_text("Saved as after step")
