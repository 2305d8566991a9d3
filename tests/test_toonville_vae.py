"""The autoencoder: its losses, its crops, and a short training."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from toonville.dataset import captioned, load_store, render_store
from toonville.vae import crops, face_weights, to_tensor, train_vae
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


def test_a_training_keeps_the_latents_that_it_starts_with(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = AutoencoderKL(
        block_out_channels=(4, 4, 4, 4, 8),
        down_block_types=("DownEncoderBlock2D",) * 5,
        up_block_types=("UpDecoderBlock2D",) * 5,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=1,
        mid_block_add_attention=False,
    )
    start.save_pretrained(tmp_path / "start" / "vae")
    for people, name in ((1, "vae_single"), (2, "vae_pair")):
        render_store(tmp_path / name, 4, people, 7_000_000, partial(captioned, people), workers=1)
    train_vae(tmp_path, tmp_path, 0.03, resume=False)
    trained = AutoencoderKL.from_pretrained(tmp_path / "vae")
    images = to_tensor(np.array(load_store(tmp_path / "vae_single").images))
    with torch.no_grad():
        before, after = (vae.encode(images).latent_dist.mean for vae in (start, trained))
    assert before.shape == (4, 4, 16, 16)
    assert (after - before).square().mean() < 0.1 * before.var()
    assert any(
        not torch.equal(a, b)
        for a, b in zip(start.decoder.parameters(), trained.decoder.parameters(), strict=True)
    )
