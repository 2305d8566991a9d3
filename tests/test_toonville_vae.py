"""The autoencoder's losses and latents."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from toonville.dataset import captioned, load_store, render_store
from toonville.render import render
from toonville.vae import face_weights, new_vae, normalise_latents, to_tensor


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


def test_normalised_latents_have_unit_deviation_and_decode_alike() -> None:
    torch.manual_seed(0)
    vae = new_vae().eval()
    images = to_tensor(np.stack([np.asarray(render(captioned(1, i).spec).image) for i in range(8)]))
    with torch.no_grad():
        before = vae.decode(vae.encode(images).latent_dist.mean).sample
        normalise_latents(vae, images)
        latents = vae.encode(images).latent_dist.mean
        after = vae.decode(latents).sample
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(8), atol=1e-3, rtol=0)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
