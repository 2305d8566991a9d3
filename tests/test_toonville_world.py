"""Labels of specs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toonville.identity import sample_traits
from toonville.random_specs import random_spec
from toonville.world import GROUPS, UNKNOWN, labels_of


def test_labels_follow_the_spec() -> None:
    spec = random_spec(np.random.default_rng(3), sample_traits(np.random.default_rng(0), 1))
    labels = dict(zip(GROUPS, labels_of(spec), strict=True))
    assert GROUPS["scene"][labels["scene"]] == spec.scene
    assert GROUPS["clothes"][labels["clothes"]] == spec.people[0].clothes


def test_clothes_of_two_have_no_label() -> None:
    spec = random_spec(np.random.default_rng(3), sample_traits(np.random.default_rng(0), 2))
    labels = dict(zip(GROUPS, labels_of(replace(spec, scene="beach")), strict=True))
    assert labels["clothes"] == UNKNOWN
    assert GROUPS["scene"][labels["scene"]] == "beach"
