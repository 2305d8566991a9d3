from __future__ import annotations

import pytest
import torch
from conftest import celebrity_names

from celeb_core import mix, person_embeddings
from ui.celeb_map import build_map, locate, move, nearest_mixture

NAMES = celebrity_names()


@pytest.fixture(scope="module")
def celeb_map(basis, models):
    return build_map(basis, models, 4)


@pytest.fixture
def embeddings(basis, models):
    return lambda name: person_embeddings(name, basis, models)


def test_the_map_has_every_celebrity_and_orthonormal_axes(celeb_map):
    assert celeb_map.positions.shape == (len(NAMES), 4)
    torch.testing.assert_close(celeb_map.axes @ celeb_map.axes.T, torch.eye(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(celeb_map.positions.mean(0), torch.zeros(4), atol=1e-2, rtol=0)
    torch.testing.assert_close(celeb_map.positions.std(0), torch.ones(4), atol=1e-2, rtol=0)


def test_the_first_axes_say_most_of_the_spread(celeb_map):
    assert list(celeb_map.shares) == sorted(celeb_map.shares, reverse=True)
    total = celeb_map.points.square().sum()
    for axis, share in zip(celeb_map.axes, celeb_map.shares, strict=True):
        along = (celeb_map.points @ axis).square().sum()
        assert share == pytest.approx(float(along / total), rel=1e-2)


def test_a_celebrity_is_located_where_the_map_has_them(celeb_map, embeddings):
    torch.testing.assert_close(
        locate(embeddings(NAMES[7]), celeb_map), celeb_map.positions[7], atol=1e-4, rtol=0
    )


def test_moving_goes_as_far_as_it_says_and_nothing_else_changes(celeb_map, embeddings):
    steps = torch.tensor([2.0, 0, -1.0, 0.5])
    moved = move(embeddings(NAMES[3]), steps.tolist(), celeb_map)
    went = locate(moved, celeb_map) - locate(embeddings(NAMES[3]), celeb_map)
    torch.testing.assert_close(went, steps, atol=1e-3, rtol=0)
    distance = (moved - embeddings(NAMES[3])).norm()
    torch.testing.assert_close(distance, (steps * celeb_map.std).norm(), atol=1e-4, rtol=0)
    assert torch.equal(move(embeddings(NAMES[3]), [0, 0], celeb_map), embeddings(NAMES[3]))


def test_a_mixture_finds_the_celebrities_that_were_mixed(celeb_map, basis, models, embeddings):
    # Names that share no token with each other.
    a, b = NAMES[36], NAMES[37]
    average = torch.stack([embeddings(name) for name in NAMES]).mean(0)
    mixed = mix((a, b, average), (0.5, 0.2, 0.3), basis, models)
    found = nearest_mixture(mixed, celeb_map)
    assert found.names[:2] == (a, b)
    assert found.weights[:2] == pytest.approx((0.5, 0.2), abs=0.05)
    assert found.share > 0.99


def test_a_celebrity_is_made_of_themselves_unless_left_out(celeb_map, embeddings):
    assert nearest_mixture(embeddings(NAMES[0]), celeb_map, 1).names == (NAMES[0],)
    others = nearest_mixture(embeddings(NAMES[0]), celeb_map, 3, leave_out=NAMES[0])
    assert NAMES[0] not in others.names and 0 < len(others.names) <= 3
    assert all(weight > 0 for weight in others.weights)
    assert list(others.weights) == sorted(others.weights, reverse=True)


def test_more_celebrities_come_nearer(celeb_map, embeddings):
    one, five = (
        nearest_mixture(embeddings(NAMES[4]), celeb_map, n, leave_out=NAMES[4]).share
        for n in (1, 5)
    )
    assert 0 < one < five <= 1
