"""The autoencoder: growth from version 1, and its losses."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from toonville.dataset import captioned, load_store, render_store
from toonville.render import render
from toonville.vae import LATENT_CHANNELS, crops, face_weights, grown_vae, to_tensor
from toonville.world import CELL


def test_eyes_and_mouths_weigh_most(tmp_path: Path) -> None:
    render_store(tmp_path, 4, 2, 7_000_000, partial(captioned, 2), workers=1)
    store = load_store(tmp_path)
    rows = np.arange(4)
    weights = face_weights(store.masks[rows], store.landmarks[rows])
    assert weights.shape == (4, 1, *store.images.shape[1:3])
    for landmarks, weight in zip(store.landmarks, weights[:, 0], strict=True):
        x, y = landmarks.reshape(-1, 2).astype(int).T
        assert weight[y, x].min() > 3.5
        assert weight.min() < 0.01
    images, parts = crops(store, 8 * CELL, 2, np.random.default_rng(0))
    assert images.shape == (2, 3, 8 * CELL, 8 * CELL) and parts.shape == (2, 1, *images.shape[2:])


def test_a_grown_autoencoder_does_the_same_at_twice_the_size() -> None:
    torch.manual_seed(0)
    old = AutoencoderKL(
        block_out_channels=(16, 16, 48, 96),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=LATENT_CHANNELS,
        layers_per_block=1,
        norm_num_groups=1,
        mid_block_add_attention=False,
    )
    grown = grown_vae(old)
    images = to_tensor(np.stack([np.asarray(render(captioned(1, i).spec).image) for i in range(2)]))
    with torch.no_grad():
        latents = old.encode(F.avg_pool2d(images, 2)).latent_dist.mean
        same = grown.encode(images).latent_dist.mean
        small, large = old.decode(latents).sample, grown.decode(latents).sample
    assert same.shape == latents.shape and large.shape == images.shape
    assert (same - latents).square().mean() < 0.02 * latents.var()
    assert (F.avg_pool2d(large, 2) - small).square().mean() < 0.02 * small.var()
