from __future__ import annotations

import pytest
import torch

from celeb_core import places
from celeb_core.places import KNOWN, resolve

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"


@pytest.mark.parametrize(
    ("cached", "chosen", "why"),
    [
        ([], None, "no Stable Diffusion here yet"),
        ([SDXL], SDXL, "SDXL is downloaded"),
        ([SDXL, places.STABLE_DIFFUSION], places.STABLE_DIFFUSION, "so is SDXL; name it"),
    ],
)
def test_auto_on_a_graphics_card_takes_what_is_there(cached, chosen, why, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(places, "is_cached", lambda hub_id: hub_id in cached)
    place, note = resolve("auto")
    assert place == (chosen or places.ASSETS / places.BUNDLED) and why in note


def test_the_first_choice_is_what_the_method_was_made_for():
    assert next(iter(KNOWN)) == places.STABLE_DIFFUSION and list(KNOWN)[-1] == SDXL


def test_the_largest_file_tells_whether_a_model_is_here(monkeypatch):
    for found in ("somewhere", None, object()):  # a path, nothing, known not to exist
        monkeypatch.setattr(
            "huggingface_hub.try_to_load_from_cache", lambda *_, found=found, **__: found
        )
        assert places.is_cached("owner/name") is isinstance(found, str)
