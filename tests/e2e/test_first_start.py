"""The first start with Stable Diffusion: a killed download, no face pack yet, a person."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import celebrity_names
from hub import LoopbackHub
from playwright.sync_api import Page, expect

from e2e.harness import ROOT, TOONVILLE, browsing, launched, open_tab, running, until
from e2e.test_accessibility import violations

pytestmark = [pytest.mark.e2e, pytest.mark.toonville]
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
PHOTO = ROOT / "docs" / "images" / "ada.png"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny Stable Diffusion."""
    from stable_diffusion import SD1, write_folder  # seconds, which other workers do not need

    return write_folder(tmp_path / "model", SD1)


def test_a_killed_download_goes_on_to_a_face_pack_and_a_person(model, tmp_path, chromium):
    """`app.py --model sd15`, with a hub on this machine and the bundled face pack."""
    names, unet = tmp_path / "names.txt", "unet/diffusion_pytorch_model.safetensors"
    names.write_text("\n".join(celebrity_names()))
    with LoopbackHub() as hub:
        served = hub.add(SD15, model)
        options = ("--model", "sd15", "--names", str(names), "--cache", str(tmp_path / "made"))
        home = hub.environment(tmp_path / "home")
        hub.pause_after = served.files()[unet] // 2
        with launched(tmp_path, *options, environment=home) as app:
            until(hub.paused.is_set)
            app.kill()
        hub.pause_after = None
        hub.go_on.set()
        with (
            running(tmp_path, *options, environment=home) as app,
            browsing(app.url, chromium) as browser,
        ):
            assert "licence: creativeml-openrail-m" in app.log.read_text()
            page = browser.open()
            use_pack(page, TOONVILLE / "faces")
            page.reload()
            expect(page.locator("#faces-drop")).to_be_visible()
            train_and_generate(page)
            page.get_by_role("tab", name="About").click()
            expect(page.locator("#about-facts")).to_contain_text("toonville-")


def use_pack(page: Page, folder: Path) -> None:
    """A folder makes the card give way to the upload area."""
    card, status = page.locator("#faces-pack"), page.locator("#faces-pack-status")
    for title in ("buffalo_l (non-commercial research only)", "AuraFace (Apache-2.0)"):
        expect(card).to_contain_text(title)
    expect(page.locator("#faces-drop")).to_be_hidden()
    page.add_style_tag(content="* { transition: none !important }")  # no half-way colours
    assert violations(page, "the card") == []
    box = page.locator("#faces-pack-folder :is(input, textarea)")
    box.fill("/nowhere")
    page.locator("#faces-pack-use").click()
    expect(status).to_contain_text("There is no face pack at /nowhere")
    box.fill(str(folder))
    page.locator("#faces-pack-use").click()
    expect(page.locator("#faces-drop")).to_be_visible()
    expect(card).to_be_hidden()


def train_and_generate(page: Page) -> None:
    page.locator("#faces-drop input[type=file]").set_input_files(PHOTO)
    expect(page.locator("#faces-crop img")).to_be_visible()
    page.locator("#faces-name :is(input, textarea)").fill("ada")
    page.get_by_label("I may use this person's likeness").check()
    page.locator("#faces-use").click()
    expect(page.locator("#faces-list")).to_contain_text("ada")
    open_tab(page, "Train")
    expect(page.locator("#train-prepare")).to_contain_text("not prepared yet")
    expect(page.get_by_role("radio", name="Instant")).to_have_count(0)
    page.get_by_role("button", name="Advanced").click()
    page.locator("#train-steps input").fill("2")
    page.locator("#train-start").click()
    expect(page.locator("#train-status")).to_contain_text("trained in")
    page.locator("#train-compose").click()
    page.locator("#compose-start").click()
    expect(page.locator("#compose-gallery img").first).to_be_visible()
