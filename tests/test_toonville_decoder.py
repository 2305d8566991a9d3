"""The decoder's fine-tuning: losses of decoder and discriminator, crops."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import nn

from toonville.dataset import captioned
from toonville.decoder import Discriminator, adversarial_losses, crop_corner, inner, targets
from toonville.encoded import Encoded
from toonville.render import render
from toonville.vae import CROP, to_tensor
from toonville.world import CELL, SIZES


def rows_of(num_people: int, n: int) -> Encoded:
    """Return n examples with random latents."""
    examples = [captioned(num_people, seed) for seed in range(n)]
    renderings = [render(one.spec) for one in examples]
    width, height = (side // CELL for side in SIZES[num_people])
    return Encoded(
        np.random.default_rng(0).normal(size=(n, 4, height, width)).astype(np.float16),
        np.zeros((n, height, width), np.uint8),
        np.zeros((n, 48, 8), np.float16),
        np.zeros((n, num_people, 24), np.float32),
        np.array([[p.landmarks for p in one.people] for one in renderings], np.float32),
        np.zeros((n, 6), np.int8),
        np.arange(n),
    )


def test_each_adversarial_loss_trains_its_own_network() -> None:
    torch.manual_seed(0)
    discriminator, decoder = Discriminator(4), nn.Conv2d(3, 3, 1)
    output = decoder(torch.rand(2, 3, 32, 32))
    losses = adversarial_losses(discriminator, output, torch.rand(2, 3, 32, 32))
    losses["adversarial"].backward(retain_graph=True)
    assert decoder.weight.grad is not None and decoder.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in discriminator.parameters())
    decoder.weight.grad = None
    losses["discriminator"].backward()
    assert decoder.weight.grad is None
    assert all(weight.grad is not None for weight in discriminator.parameters())


def test_targets_are_the_same_part_of_the_same_images() -> None:
    rows = rows_of(2, 2)
    for seed in range(20):
        x, y = crop_corner(rows, np.random.default_rng(seed))
        assert 0 <= x <= SIZES[2][0] // CELL - CROP // CELL and 0 <= y <= 16 - CROP // CELL
    images, weights = targets(rows, partial(captioned, 2), (x, y))
    whole = to_tensor(np.asarray(render(captioned(2, 1).spec).image)[None])
    top, left = CELL * y, CELL * x
    assert torch.equal(images[1:], whole[:, :, top : top + CROP, left : left + CROP])
    assert weights.shape == (2, 1, CROP, CROP)


def test_losses_leave_out_edges_that_the_whole_image_does_not_have() -> None:
    cells = CROP // CELL
    assert inner((0, 16 - cells), (16, 24)) == (slice(CELL, CROP), slice(0, CROP - CELL))
    assert inner((24 - cells, 0), (16, 24)) == (slice(0, CROP - CELL), slice(CELL, CROP))
    assert inner((3, 3), (16, 24)) == (slice(CELL, CROP - CELL), slice(CELL, CROP - CELL))
