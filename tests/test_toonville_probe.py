"""Linear probes of the shipped text encoder."""

from __future__ import annotations

import pytest
from transformers import CLIPTextModel, CLIPTokenizer

from celeb_core.loading import ASSETS, BUNDLED
from toonville.probe import probe_captions, probe_names
from toonville.unnamed_people import text_encoder


@pytest.mark.toonville
def test_the_shipped_hidden_states_tell_names_and_attributes() -> None:
    tower = CLIPTextModel.from_pretrained(ASSETS / BUNDLED / "text_encoder").float()
    encoder = text_encoder(tower, CLIPTokenizer.from_pretrained(ASSETS / BUNDLED / "tokenizer"))
    assert probe_names(encoder) > 0.8
    accuracy = probe_captions(encoder, captions=200, held_out=60)
    assert accuracy["scene"] > 0.9 and accuracy["accessory"] > 0.8
