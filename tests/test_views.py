from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from celeb_core import PRESETS, TrainConfig
from celeb_core.views import make_views


def test_views_are_augmented_and_deterministic(person):
    config = TrainConfig()

    def views(seed):
        return make_views(person.faces, 6, (128, 128), config, np.random.default_rng(seed))

    first = views(0)
    assert first.pixels.shape == (6, 3, 128, 128) and first.heads.shape == (6, 1, 128, 128)
    assert first.pixels.min() >= -1 and first.pixels.max() <= 1
    assert torch.equal(first.pixels, views(0).pixels)
    assert not torch.equal(first.pixels, views(1).pixels)
    assert all(not torch.equal(first.pixels[0], other) for other in first.pixels[1:])
    # the head's mask is where the red face is
    red = (first.pixels[:, 0] > 0.3) & (first.pixels[:, 1] < 0)
    assert (first.heads[:, 0][red] >= 1).float().mean() > 0.95


def test_eyes_nose_and_mouth_weigh_more(person):
    """Hills on the landmarks, moved, shrunk and mirrored as the photo is."""
    dots = [(40, 52), (88, 52), (64, 68), (48, 84), (80, 84)]
    photo = Image.new("RGB", (128, 128))
    for x, y in dots:
        photo.paste((255, 255, 255), (x - 3, y - 3, x + 3, y + 3))
    face = replace(
        person.faces[0],
        image=photo,
        box=(32.0, 32.0, 96.0, 96.0),
        crop=(0.0, 0.0, 128.0, 128.0),
        landmarks=np.array(dots, np.float32),
    )
    config = replace(TrainConfig(), smallest=0.6, features=2.0)
    views = make_views((face,), 8, (192, 128), config, np.random.default_rng(0))
    for pixels, head in zip(views.pixels, views.heads[:, 0], strict=True):
        dot = pixels[0] > 0.5
        assert dot.any() and (head[dot] > 2.5).all()
        assert head.max() == pytest.approx(3.0, abs=0.05)
        # a head of 96 x 80 at the most, and little of it is features
        assert 0 < (head > 2).sum() < 0.2 * (head >= 1).sum()
    plain = make_views(
        (face,), 8, (192, 128), replace(config, features=0.0), np.random.default_rng(0)
    )
    assert torch.equal(plain.pixels, views.pixels)
    assert set(plain.heads.unique().tolist()) == {0.0, 1.0}


def test_wide_views_and_black_canvas(person):
    config = replace(PRESETS["paper"], smallest=0.3)
    views = make_views(person.faces, 8, (192, 128), config, np.random.default_rng(0))
    assert views.pixels.shape == (8, 3, 128, 192)
    assert ((views.pixels == -1).all(1)).float().mean() > 0.2
