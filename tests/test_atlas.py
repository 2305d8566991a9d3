from __future__ import annotations

import pytest
import torch
from conftest import celebrity_names

from celeb_core import build_map, locate, mix, move, nearest_mixture, words_of

NAMES = celebrity_names()


@pytest.fixture(scope="module")
def atlas(basis, models):
    return build_map(basis, models, 4)


@pytest.fixture
def words(basis, models):
    return lambda name: words_of(name, basis, models)


def test_the_map_has_every_celebrity_and_orthonormal_axes(atlas):
    assert atlas.places.shape == (len(NAMES), 4)
    torch.testing.assert_close(atlas.axes @ atlas.axes.T, torch.eye(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(atlas.places.mean(0), torch.zeros(4), atol=1e-2, rtol=0)
    torch.testing.assert_close(atlas.places.std(0), torch.ones(4), atol=1e-2, rtol=0)


def test_the_first_axes_say_most_of_the_spread(atlas):
    assert list(atlas.shares) == sorted(atlas.shares, reverse=True)
    total = atlas.points.square().sum()
    for axis, share in zip(atlas.axes, atlas.shares, strict=True):
        along = (atlas.points @ axis).square().sum()
        assert share == pytest.approx(float(along / total), rel=1e-2)


def test_a_celebrity_is_located_where_the_map_has_them(atlas, words):
    torch.testing.assert_close(locate(words(NAMES[7]), atlas), atlas.places[7], atol=1e-4, rtol=0)


def test_moving_goes_as_far_as_it_says_and_nothing_else_changes(atlas, words):
    steps = torch.tensor([2.0, 0, -1.0, 0.5])
    moved = move(words(NAMES[3]), steps.tolist(), atlas)
    went = locate(moved, atlas) - locate(words(NAMES[3]), atlas)
    torch.testing.assert_close(went, steps, atol=1e-3, rtol=0)
    distance = (moved - words(NAMES[3])).norm()
    torch.testing.assert_close(distance, (steps * atlas.std).norm(), atol=1e-4, rtol=0)
    assert torch.equal(move(words(NAMES[3]), [0, 0], atlas), words(NAMES[3]))


def test_a_mixture_finds_whom_somebody_was_mixed_from(atlas, basis, models, words):
    # Names that share no word with any other of the two.
    a, b = NAMES[36], NAMES[37]
    average = torch.stack([words(name) for name in NAMES]).mean(0)
    mixed = mix((a, b, average), (0.5, 0.2, 0.3), basis, models)
    found = nearest_mixture(mixed, atlas)
    assert found.names[:2] == (a, b)
    assert found.weights[:2] == pytest.approx((0.5, 0.2), abs=0.05)
    assert found.share > 0.99


def test_a_celebrity_is_made_of_themselves_unless_left_out(atlas, words):
    assert nearest_mixture(words(NAMES[0]), atlas, 1).names == (NAMES[0],)
    others = nearest_mixture(words(NAMES[0]), atlas, 3, leave_out=NAMES[0])
    assert NAMES[0] not in others.names and 0 < len(others.names) <= 3
    assert all(weight > 0 for weight in others.weights)
    assert list(others.weights) == sorted(others.weights, reverse=True)


def test_more_celebrities_come_nearer(atlas, words):
    one, five = (
        nearest_mixture(words(NAMES[4]), atlas, n, leave_out=NAMES[4]).share for n in (1, 5)
    )
    assert 0 < one < five <= 1
