from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

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
    assert (first.heads[:, 0][red] == 1).float().mean() > 0.95


def test_wide_views_and_black_canvas(person):
    config = replace(PRESETS["paper"], smallest=0.3)
    views = make_views(person.faces, 8, (192, 128), config, np.random.default_rng(0))
    assert views.pixels.shape == (8, 3, 128, 192)
    assert ((views.pixels == -1).all(1)).float().mean() > 0.2
