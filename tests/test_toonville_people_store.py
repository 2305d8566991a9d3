"""Aligned faces of random people on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from toonville.identity import NUM_TRAITS
from toonville.people_store import load_people_store, render_people_store


def test_everybody_has_as_many_faces(tmp_path: Path) -> None:
    render_people_store(tmp_path, num_people=3, images_each=4, seed=1, side=56, workers=1)
    store = load_people_store(tmp_path)
    assert store.crops.shape == (12, 56, 56, 3)
    assert np.bincount(store.person_ids).tolist() == [4, 4, 4]
    assert store.traits.shape == (3, NUM_TRAITS)
