"""People as vectors of traits."""

from __future__ import annotations

import numpy as np

from toonville.identity import sample_distinct_traits, sample_traits


def test_distinct_people_are_spread_wider_than_chance() -> None:
    def nearest(people: np.ndarray) -> float:
        gaps = ((people[:, None] - people[None]) ** 2).sum(-1) + 99 * np.eye(len(people))
        return float(np.median(gaps.min(1)))

    rng = np.random.default_rng(0)
    assert nearest(sample_distinct_traits(rng, 200)) > 1.2 * nearest(sample_traits(rng, 200))
