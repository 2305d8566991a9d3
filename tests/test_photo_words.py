from __future__ import annotations

import torch

from celeb_core.photo_words import PhotoWords


def test_they_start_at_the_mean_token_and_count_in_deviations(models):
    words = PhotoWords(3, 2, models.encoders)
    (table,) = (encoder.table for encoder in models.encoders)
    assert words().shape == (3, 2, table.shape[1])
    assert torch.allclose(words(), table.mean(0).expand_as(words()), atol=1e-6)
    with torch.no_grad():
        words.offsets[1] = 2.0
    assert torch.allclose(words()[1], table.mean(0) + 2 * table.std(), atol=1e-6)
    assert torch.equal(words()[0], words()[2])


def test_each_encoder_has_its_own_mean(models):
    first, second = models.encoders[0], models.encoders[0]
    both = PhotoWords(1, 2, [first, second])()
    assert both.shape == (1, 2, 2 * first.table.shape[1])
    assert torch.equal(both[..., : first.table.shape[1]], both[..., first.table.shape[1] :])
