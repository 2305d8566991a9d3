"""The diffusion model's training: batches and losses."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from toonville.clip import WIDTH
from toonville.encoded import Encoded
from toonville.identity import NUM_TRAITS
from toonville.unet import (
    MIN_SNR,
    SHARES,
    UNetTrainer,
    alignment_losses,
    diffusion_loss,
    grow_unet,
    new_scheduler,
    new_unet,
)
from toonville.unet_batches import RARE_SHARE, Batch, latent_face_weights, sample_batch
from toonville.vae import LANDMARK_WEIGHT
from toonville.world import CELL, GROUPS, SIZES, UNKNOWN

CHANNELS = 10
PLACES = {1: (128,), 2: (100, 300), 3: (104, 288, 472)}  # x of the faces in pixels


def encoded(people: int, n: int = 6) -> Encoded:
    rng = np.random.default_rng(0)
    width = SIZES[people][0] // CELL
    faces = np.zeros((n, 16, width), np.uint8)
    landmarks = np.full((n, people, 5, 2), 120, np.float32)
    for person, x in enumerate(PLACES[people]):
        landmarks[:, person, :, 0] = x
        faces[:, 4:12, x // CELL - 2 : x // CELL + 2] = 255
    return Encoded(
        rng.normal(size=(n, CHANNELS, 16, width)).astype(np.float16),
        faces,
        rng.normal(size=(n, 48, WIDTH)).astype(np.float16),
        rng.uniform(-1, 1, (n, people, NUM_TRAITS)).astype(np.float32),
        landmarks,
        np.zeros((n, len(GROUPS)), np.int8),
        np.arange(n),
    )


def batch_of(store: Encoded, size: int, seed: int, empty: float = 0.0) -> Batch:
    rare = [np.arange(len(store))]
    no_caption = torch.full((48, WIDTH), empty)
    return sample_batch(store, rare, no_caption, size, np.random.default_rng(seed))


@pytest.mark.parametrize(("snr", "weight"), [(0.01, 1.0), (1.0, 1.0), (4.0, 1.0), (99.0, 0.05)])
def test_weight_is_capped_snr_plus_one(snr: float, weight: float) -> None:
    signal = torch.tensor([snr / (1 + snr)])
    loss = diffusion_loss(torch.ones(1, 8, 4, 4), signal, torch.zeros(1, 4, 4))
    assert loss.item() == pytest.approx(min(snr + 1, MIN_SNR) / (snr + 1), rel=1e-4)
    assert loss.item() == pytest.approx(weight, rel=1e-4)


def test_errors_in_faces_weigh_three_times() -> None:
    faces = torch.zeros(1, 4, 4)
    faces[:, :, :2] = 1
    inside, outside = (faces[:, None] * torch.ones(1, 8, 4, 4), 1 - faces[:, None])
    signal = torch.tensor([0.5])
    ratio = diffusion_loss(inside, signal, faces) / diffusion_loss(
        outside.expand(1, 8, 4, 4), signal, faces
    )
    assert ratio.item() == pytest.approx(3.0)


@pytest.mark.parametrize("people", [1, 2, 3])
def test_each_column_has_the_traits_of_the_nearest_face(people: int) -> None:
    store = encoded(people)
    batch = batch_of(store, 6, seed=1)
    width = SIZES[people][0] // (2 * CELL)
    assert batch.traits.shape == (6, NUM_TRAITS, 8, width)
    corners = batch.latents[:, 0, 0, 0].tolist()
    rows = [store.latents[:, 0, 0, 0].tolist().index(corner) for corner in corners]
    for column in range(width):
        x = (column + 0.5) * 2 * CELL
        nearest = int(np.abs(np.array(PLACES[people]) - x).argmin())
        expected = torch.from_numpy(store.traits[rows, nearest])
        assert torch.equal(batch.traits[:, :, 3, column], expected)


def test_a_quarter_of_a_batch_is_rare() -> None:
    store = encoded(1, 200)
    rare = [np.arange(3)]
    batches = [
        sample_batch(store, rare, torch.zeros(48, WIDTH), 8, np.random.default_rng(seed))
        for seed in range(20)
    ]
    corners = torch.cat([batch.latents[:, 0, 0, 0] for batch in batches])
    chosen = torch.isin(corners, torch.from_numpy(store.latents[:3, 0, 0, 0]).float())
    assert chosen.float().mean().item() == pytest.approx(RARE_SHARE, abs=0.04)


def test_eyes_weigh_more_than_the_rest_of_a_face() -> None:
    store = encoded(1)
    store.landmarks[:] = (7.5 * CELL, 5.5 * CELL)
    weights = latent_face_weights(store.faces, store.landmarks)
    assert (weights[:, 5, 7] == 1 + LANDMARK_WEIGHT).all()
    assert (weights[:, 11, 7] < 1.01).all(), "face, six cells off"
    assert (weights[:, 0, 15] < 0.01).all(), "neither"


def test_without_a_caption_there_are_no_labels() -> None:
    batches = [batch_of(encoded(1), 6, seed, empty=7.0) for seed in range(20)]
    dropped = [b for b in batches if not b.has_caption.all()]
    assert dropped
    for batch in dropped:
        assert (batch.hidden_states[~batch.has_caption] == 7).all()
        assert (batch.labels[~batch.has_caption] == UNKNOWN).all()


def test_alignment_is_zero_for_the_truth_and_only_there() -> None:
    batch = batch_of(encoded(3), 6, seed=3)
    logits = torch.full((6, sum(map(len, GROUPS.values())), 8, 18), -50.0)
    first = 0
    for values in GROUPS.values():
        logits[:, first] = 50.0  # the right label of every group is 0 in this store
        first += len(values)
    right = torch.cat([batch.traits, logits], 1)
    assert [round(x.item(), 5) for x in alignment_losses(right, batch)] == [0, 0]
    wrong = torch.cat([batch.traits.flip(3), -logits], 1)
    assert all(x.item() > 0.1 for x in alignment_losses(wrong, batch))


def test_a_step_reaches_unet_and_head() -> None:
    torch.manual_seed(0)
    trainer = UNetTrainer(new_unet(CHANNELS))
    batch = batch_of(encoded(1), 4, seed=1)
    parts = trainer(new_scheduler(), batch, torch.Generator().manual_seed(0))
    torch.stack(list(parts.values())).sum().backward()
    assert set(parts) == {"velocity", "traits", "attributes"}
    assert all(p.grad is not None for p in trainer.parameters())
    pickle.dumps(trainer.unet)  # fails if the hook, a local function, is still there


def test_a_larger_unet_does_on_the_old_channels_what_the_old_one_did() -> None:
    torch.manual_seed(0)
    old = new_unet(8)
    grown = grow_unet(old, CHANNELS)
    latents, states = torch.randn(2, CHANNELS, 16, 24), torch.randn(2, 48, WIDTH)
    timesteps = torch.tensor([10, 900])
    with torch.no_grad():
        before = old(latents[:, :8], timesteps, states).sample
        after = grown(latents, timesteps, states).sample
    assert after.shape == latents.shape and before.std() > 0.01
    torch.testing.assert_close(after[:, :8], before, rtol=1e-5, atol=1e-6)
    assert (after[:, 8:] == 0).all()


def test_all_new_weights_of_a_larger_unet_learn() -> None:
    """What is 0 must not have a gradient of 0, after the first step."""
    torch.manual_seed(0)
    trainer = UNetTrainer(grow_unet(new_unet(8), CHANNELS))
    batch = batch_of(encoded(1), 4, seed=1)
    parts = trainer(new_scheduler(), batch, torch.Generator().manual_seed(0))
    torch.stack(list(parts.values())).sum().backward()
    unet = trainer.unet
    assert (unet.conv_in.weight.grad[:, 8:].abs().sum((1, 2, 3)) > 0).all()
    assert (unet.conv_out.weight.grad[8:].abs().sum((1, 2, 3)) > 0).all()
    assert unet.config.in_channels == unet.config.out_channels == CHANNELS


def test_shares_are_those_of_all_steps() -> None:
    assert sum(SHARES.values()) == pytest.approx(1)
