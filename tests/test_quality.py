from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from celeb_core.quality import quality_notes
from celeb_core.types import Face

LOOKING_AHEAD = np.array([[38, 52], [74, 52], [56, 72], [42, 92], [70, 92]], np.float32)


@pytest.fixture
def face():
    """64 pixels high, evenly noisy, looking ahead."""
    aligned = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    picture = Image.fromarray(aligned)
    box = (20.0, 20.0, 70.0, 84.0)
    return Face(picture, aligned, torch.zeros(512), box, box, LOOKING_AHEAD, 0.9)


def blurred(face):
    soft = face.image.filter(ImageFilter.GaussianBlur(8))
    return replace(face, aligned=np.asarray(soft))


def turned(face):
    return replace(face, landmarks=LOOKING_AHEAD + np.eye(5, 2, -2, dtype=np.float32) * 15)


CASES = {
    "Small": lambda face: replace(face, box=(0.0, 0.0, 20.0, 24.0)),
    "Blurred": blurred,
    "Dark": lambda face: replace(face, aligned=face.aligned // 5),
    "Turned": turned,
    "Hard to make out": lambda face: replace(face, score=0.55),
}


def test_a_good_photo_has_no_notes(face):
    assert quality_notes(face, 128) == []


@pytest.mark.parametrize("word", CASES)
def test_each_flaw_is_named_alone_with_what_to_do(face, word):
    (note,) = quality_notes(CASES[word](face), 128)
    assert note.startswith(word) and "Use" in note


def test_what_is_small_depends_on_the_model(face):
    assert "64 pixels" in quality_notes(face, 512)[0]
    assert "128 or more" in quality_notes(face, 512)[0]
