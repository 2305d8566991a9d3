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
    RARE_SHARE,
    Batch,
    UNetTrainer,
    alignment_losses,
    diffusion_loss,
    new_scheduler,
    sample_batch,
)
from toonville.world import GROUPS, UNKNOWN


def encoded(people: int, n: int = 6) -> Encoded:
    rng = np.random.default_rng(0)
    width = 16 * (1 + (people == 2) / 2)
    faces = np.zeros((n, 16, int(width)), np.uint8)
    faces[:, 4:12, 2:6] = 255
    faces[:, 4:12, -6:-2] = 255
    landmarks = np.zeros((n, people, 5, 2), np.float32)
    landmarks[:, 0, :, 0] = 40
    landmarks[:, -1, :, 0] = 150 if people == 2 else 64
    return Encoded(
        rng.normal(size=(n, 8, 16, int(width))).astype(np.float16),
        faces,
        rng.normal(size=(n, 48, WIDTH)).astype(np.float16),
        rng.uniform(-1, 1, (n, people, NUM_TRAITS)).astype(np.float32),
        landmarks,
        np.zeros((n, len(GROUPS)), np.int8),
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


def test_each_half_of_a_pair_has_its_own_traits() -> None:
    store = encoded(2)
    batch = batch_of(store, 6, seed=1)
    assert batch.traits.shape == (6, NUM_TRAITS, 8, 12)
    corners = batch.latents[:, 0, 0, 0].tolist()
    rows = [store.latents[:, 0, 0, 0].tolist().index(corner) for corner in corners]
    assert torch.equal(batch.traits[:, :, 3, 0], torch.from_numpy(store.traits[rows, 0]))
    assert torch.equal(batch.traits[:, :, 3, -1], torch.from_numpy(store.traits[rows, 1]))


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
    store.landmarks[:] = (36, 60)  # in cell 4, 7 of 16 x 16, which is face
    batch = batch_of(store, 4, seed=2)
    assert (batch.face_weights[:, 7, 4] > 2.5).all()
    assert (batch.face_weights[:, 11, 4] < 1.1).all(), "face, four cells off"
    assert (batch.face_weights[:, 0, 15] < 0.01).all(), "neither"


def test_without_a_caption_there_are_no_labels() -> None:
    batches = [batch_of(encoded(1), 6, seed, empty=7.0) for seed in range(20)]
    dropped = [b for b in batches if not b.has_caption.all()]
    assert dropped
    for batch in dropped:
        assert (batch.hidden_states[~batch.has_caption] == 7).all()
        assert (batch.labels[~batch.has_caption] == UNKNOWN).all()


def test_alignment_is_zero_for_the_truth_and_only_there() -> None:
    batch = batch_of(encoded(2), 6, seed=3)
    logits = torch.full((6, sum(map(len, GROUPS.values())), 8, 12), -50.0)
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
    trainer = UNetTrainer()
    batch = batch_of(encoded(1), 4, seed=1)
    parts = trainer(new_scheduler(), batch, torch.Generator().manual_seed(0))
    torch.stack(list(parts.values())).sum().backward()
    assert set(parts) == {"velocity", "traits", "attributes"}
    assert all(p.grad is not None for p in trainer.parameters())
    pickle.dumps(trainer.unet)  # fails if the hook, a local function, is still there
