"""Training examples, and their store on disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from toonville.dataset import (
    captioned,
    celebrities,
    load_store,
    rare_rows,
    render_store,
    sample_rows,
    unknown_example,
)
from toonville.render import render
from toonville.vae import RARE, RARE_SHARE
from toonville.world import GROUPS


@pytest.mark.parametrize("example_of_seed", [partial(captioned, 1), unknown_example])
def test_an_unknown_name_has_another_face_each_time(example_of_seed) -> None:
    names, _ = celebrities()
    faces: dict[str, list[np.ndarray]] = {}
    for seed in range(3000):
        example = example_of_seed(seed)
        assert example.names[0] in example.text
        if example.names[0] in names.unknown:
            faces.setdefault(example.names[0], []).append(example.spec.people[0].traits)
    repeated = [group for group in faces.values() if len(group) > 1]
    assert repeated
    assert all(not np.allclose(group[0], group[1]) for group in repeated)


def test_a_known_name_has_its_own_face() -> None:
    names, traits = celebrities()
    for example in [captioned(2, seed) for seed in range(20)]:
        for name, row, person in zip(
            example.names, example.person_ids, example.spec.people, strict=True
        ):
            assert (row >= 0) == (name in names.known)
            if row >= 0:
                assert names.known[row] == name
                np.testing.assert_array_equal(person.traits, traits[row])


def test_a_store_has_images_and_their_ground_truth(tmp_path: Path) -> None:
    render_store(tmp_path, 6, 2, 5, partial(captioned, 2), workers=1)
    store = load_store(tmp_path)
    example = captioned(2, 5 + 4)
    rendering = render(example.spec)
    assert len(store) == 6
    assert store.captions[4]["text"] == example.text
    assert store.captions[4]["who"] == list(example.person_ids)
    np.testing.assert_array_equal(store.images[4], np.asarray(rendering.image))
    np.testing.assert_allclose(store.traits[4, 1], example.spec.people[1].traits)
    np.testing.assert_allclose(store.landmarks[4, 1], rendering.people[1].landmarks)


def test_rare_examples_are_oversampled() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros((200, len(GROUPS)), np.int8)
    style, expression = list(GROUPS).index("style"), list(GROUPS).index("expression")
    labels[:3, style] = GROUPS["style"].index("pixel art")
    labels[3:6, expression] = GROUPS["expression"].index("angry")
    labels[6:9, expression] = GROUPS["expression"].index("smiling")
    rare = rare_rows(labels, RARE)
    assert sorted(np.concatenate(rare)) == list(range(6))
    rows = np.concatenate([sample_rows(rare, 200, 6, rng, RARE_SHARE) for _ in range(300)])
    assert (rows < 3).mean() == pytest.approx(RARE_SHARE / 2, abs=0.05)
    assert ((rows >= 3) & (rows < 6)).mean() == pytest.approx(RARE_SHARE / 2, abs=0.05)
    assert rows.max() > 150
