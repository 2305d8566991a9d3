"""A model without a face pack: the page opens, offers one, and goes on without a restart."""

from __future__ import annotations

import pytest
from conftest import celebrity_names
from playwright.sync_api import expect
from stable_diffusion import SD1, write_folder

from e2e.harness import ROOT, TOONVILLE, browsing, running
from e2e.test_accessibility import violations

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]


def test_a_folder_makes_the_card_give_way_to_the_upload_area(tmp_path, chromium):
    model, names = write_folder(tmp_path / "model", SD1), tmp_path / "names.txt"
    names.write_text("\n".join(celebrity_names()))
    with (
        running(tmp_path, "--model", str(model), "--names", str(names)) as app,
        browsing(app.url, chromium) as browser,
    ):
        page = browser.open()
        card, status = page.locator("#faces-pack"), page.locator("#faces-pack-status")
        for title in ("buffalo_l (non-commercial research only)", "AuraFace (Apache-2.0)"):
            expect(card).to_contain_text(title)
        expect(page.locator("#faces-drop")).to_be_hidden()
        page.add_style_tag(content="* { transition: none !important }")  # no half-way colours
        assert violations(page, "the card") == []
        folder = page.locator("#faces-pack-folder :is(input, textarea)")
        folder.fill("/nowhere")
        page.locator("#faces-pack-use").click()
        expect(status).to_contain_text("There is no face pack at /nowhere")
        folder.fill(str(TOONVILLE / "faces"))
        page.locator("#faces-pack-use").click()
        expect(page.locator("#faces-drop")).to_be_visible()
        expect(card).to_be_hidden()
        photo = ROOT / "docs" / "images" / "ada.png"
        page.locator("#faces-drop input[type=file]").set_input_files(photo)
        expect(page.locator("#faces-crop img")).to_be_visible()
        page.reload()
        expect(page.locator("#faces-drop")).to_be_visible()
        page.get_by_role("tab", name="About").click()
        expect(page.locator("#about-facts")).to_contain_text("toonville-")
