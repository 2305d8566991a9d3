from __future__ import annotations

import pytest
from PIL import Image

from celeb_core.marks.provenance import Marker
from ui.images import save_generated
from ui.parameters import MAX_CHARACTERS, parse_parameters

A1111 = """a photo of <ada>, (smiling:1.2),
on the beach
Negative prompt: bad hands, (hat:1.4)
blurry
Steps: 30, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 4294967295, Size: 512x768, \
Model hash: 6ce0161689, Model: v1-5, Lora hashes: "a: 1, Seed: 2", Version: v1.7.0"""
READ = {
    "prompt": "a photo of <ada>, (smiling:1.2), on the beach",
    "negative_prompt": "bad hands, (hat:1.4) blurry",
    "steps": 30,
    "seed": 4294967295,
    "guidance": 7.5,
    "width": 512,
    "height": 768,
    "scheduler": "dpm++ 2m karras",
}


@pytest.mark.parametrize("ends", ["\n", "\r\n", " ", "\n\n"])
def test_settings_of_a1111_are_taken_apart_however_they_were_copied(ends):
    assert parse_parameters(A1111.replace("\n", ends)) == READ


@pytest.mark.parametrize(
    ("sampler", "ours"),
    [
        ("Euler a", "euler a"),
        ("Euler", "euler"),
        ("DDIM", "ddim"),
        ("UniPC", "unipc"),
        ("LCM", "lcm"),
        ("DPM++ 2M", "dpm++ 2m"),
        ("DPM++ 2M, Schedule type: Karras", "dpm++ 2m karras"),
        ("DPM++ 2M, Schedule type: Automatic", "dpm++ 2m karras"),
        ("Euler a, Schedule type: Automatic", "euler a"),
        ("k_euler_a", "euler a"),
        ("DPM fast", "DPM fast"),  # not known here, so as it was written
    ],
)
def test_schedulers_are_those_of_the_same_kind(sampler, ours):
    found = parse_parameters(f"a cat\nSteps: 20, Sampler: {sampler}, Seed: 1")
    assert found == {
        "prompt": "a cat", "negative_prompt": "", "steps": 20, "seed": 1, "scheduler": ours,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "a cat", "Steps: a stairway", "Steps: 20 to heaven", "Steps: 20, he counts", "Seed: 5"]
    + ["a cat\n a dog", "x" * (MAX_CHARACTERS + 1) + "\nNegative prompt: y"],
    ids=range(8),
)
def test_a_mere_prompt_is_none(text):
    assert parse_parameters(text) is None


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\nNegative prompt: b", {}),
        ("a\nNegative prompt: b\nSteps: 5, CFG scale: much, Seed: 1.5", {"steps": 5}),
        ("a\nNegative prompt: b\nSteps: 5, Seed: " + "9" * 9000, {"steps": 5}),
        ("a\nNegative prompt: b\nSteps: 5, Size: 1000000000x2, Seed: -1", {"steps": 5, "seed": -1}),
    ],
    ids=range(4),
)
def test_what_cannot_be_read_is_left_out(text, left):
    assert parse_parameters(text) == {"prompt": "a", "negative_prompt": "b", **left}


@pytest.mark.parametrize(
    "part", ["Steps: 5,", "a: ", ":", "a", '"', "\\", " ", "\n", "Negative prompt:", "é ", "- "]
)
def test_any_text_is_taken_or_not(part):
    text = "Steps: 5, Sampler: x, b: " + part * (MAX_CHARACTERS // len(part) - 60)
    assert parse_parameters(text) is not None


def test_what_we_write_into_images_is_read(tmp_path):
    settings = {
        "prompt": "a photo of <ada>", "negative_prompt": "hat", "seed": 5, "steps": 2,
        "guidance": 3.0, "scheduler": "euler a", "width": 128, "height": 192,
    }  # fmt: skip
    save_generated(Image.new("RGB", (16, 16)), tmp_path / "a.png", settings, Marker(b"key"))
    assert parse_parameters(Image.open(tmp_path / "a.png").text["parameters"]) == settings
