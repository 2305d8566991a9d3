from __future__ import annotations

import pytest
import torch
from conftest import celebrity_names, portrait
from PIL import Image

from celeb_core.errors import FeatureMissing
from celeb_core.prepare import stand_ins as module
from celeb_core.prepare.stand_ins import build_stand_ins

NAMES = celebrity_names()[:6]


def test_stand_ins_have_a_face_in_all_portraits_and_the_same_in_most(studio, monkeypatch):
    """The first name has no face once, the second one another face each time."""
    shades = {NAMES[0]: (255, 0, 255, 255), NAMES[1]: (255, 90, 255, 120)}

    def generate_each(prompts, models, basis, config):
        images, seen = [], dict.fromkeys(NAMES, 0)
        for prompt in prompts:
            name = next(name for name in NAMES if name in prompt.text)
            shade = shades.get(name, (200,) * 4)[seen[name] % 4]
            seen[name] += 1
            images.append(portrait(shade) if shade else Image.new("RGB", (128, 128)))
        return images

    monkeypatch.setattr(module, "generate_each", generate_each)
    found = build_stand_ins(NAMES[:4], 2, studio, steps=1)
    assert {stand_in.name for stand_in in found} == set(NAMES[2:4])
    for stand_in in found:
        face = stand_in.person.faces[0]
        assert torch.allclose(stand_in.reference, face.embedding, atol=1e-4)
        assert stand_in.by_name == pytest.approx(1, abs=1e-3)
    with pytest.raises(FeatureMissing, match="None of 1 celebrities .*--names"):
        build_stand_ins(NAMES[:1], 2, studio, steps=1)
