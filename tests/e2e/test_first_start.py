"""The first start with Stable Diffusion: a fresh home, a download that is killed, a person."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import celebrity_names
from hub import LoopbackHub
from playwright.sync_api import expect
from stable_diffusion import SD1, write_folder

from e2e.harness import ROOT, TOONVILLE, browsing, launched, open_tab, running, until

pytestmark = pytest.mark.e2e
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"


def test_a_killed_download_goes_on_to_a_person(tmp_path, chromium):
    """`app.py --model sd15`, with a hub on this machine and the bundled face pack."""
    names, unet = tmp_path / "names.txt", "unet/diffusion_pytorch_model.safetensors"
    names.write_text("\n".join(celebrity_names()))
    with LoopbackHub() as hub:
        model = hub.add(SD15, write_folder(tmp_path / "model", SD1))
        options = ("--model", "sd15", "--names", str(names), "--cache", str(tmp_path / "made"))
        home = hub.environment(tmp_path / "home")
        hub.pause_after = model.files()[unet] // 2
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
            train_and_generate(page)


def use_pack(page, folder: Path) -> None:
    page.locator("#faces-pack-folder :is(input, textarea)").fill(str(folder))
    page.locator("#faces-pack-use").click()
    expect(page.locator("#faces-drop")).to_be_visible()


def train_and_generate(page) -> None:
    photo = ROOT / "docs" / "images" / "ada.png"
    page.locator("#faces-drop input[type=file]").set_input_files(photo)
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
