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
from toonville.decoder import RARE, RARE_SHARE
from toonville.render import render
from toonville.world import CELL, GROUPS, PIXELS, SIZES


@pytest.mark.parametrize("example_of_seed", [partial(captioned, 1), unknown_example])
def test_an_unknown_name_has_another_face_each_time(example_of_seed) -> None:
    names, _ = celebrities()
    faces: dict[str, list[np.ndarray]] = {}
    for seed in range(3000):
        example = example_of_seed(seed)
        assert example.names[0] in example.text or not example.plain
        if example.names[0] in names.unknown:
            faces.setdefault(example.names[0], []).append(example.spec.people[0].traits)
    repeated = [group for group in faces.values() if len(group) > 1]
    assert repeated
    assert all(not np.allclose(group[0], group[1]) for group in repeated)


@pytest.mark.parametrize("num_people", [1, 2, 3])
def test_a_known_name_has_its_own_face(num_people: int) -> None:
    names, traits = celebrities()
    for example in [captioned(num_people, seed) for seed in range(20)]:
        for name, row, person in zip(
            example.names, example.person_ids, example.spec.people, strict=True
        ):
            assert (row >= 0) == (name in names.known)
            if row >= 0:
                assert names.known[row] == name
                np.testing.assert_array_equal(person.traits, traits[row])


@pytest.mark.parametrize(("num_people", "pixels"), [(1, PIXELS), (2, 1), (3, 1)])
def test_a_store_has_images_and_their_ground_truth(
    num_people: int, pixels: int, tmp_path: Path
) -> None:
    example_of_seed = partial(captioned, num_people)
    render_store(tmp_path, 4, num_people, 5, example_of_seed, workers=1, pixels=pixels)
    store = load_store(tmp_path)
    example = captioned(num_people, 5 + 3)
    rendering = render(example.spec, pixels)
    width, height = SIZES[num_people]
    assert len(store) == 4
    assert store.images.shape[1:] == (height * pixels // PIXELS, width * pixels // PIXELS, 3)
    assert store.masks.shape[1:] == (height // CELL, width // CELL)
    assert store.captions[3] == {
        "text": example.text,
        "plain": example.plain,
        "name_ends": list(example.name_ends),
        "who": list(example.person_ids),
        "names": list(example.names),
    }
    np.testing.assert_array_equal(store.images[3], np.asarray(rendering.image))
    assert store.masks[3].mean() == pytest.approx(rendering.face_mask().mean(), abs=1)
    np.testing.assert_allclose(store.traits[3, -1], example.spec.people[-1].traits)
    np.testing.assert_allclose(store.landmarks[3, -1], rendering.people[-1].landmarks)


def test_three_people_share_an_expression_and_do_not_shake_hands() -> None:
    specs = [captioned(3, seed).spec for seed in range(100)]
    assert {spec.interaction for spec in specs} == {"beside", "dinner"}
    assert all(len({person.expression for person in spec.people}) == 1 for spec in specs)
    assert {(p.accessory, p.action) for s in specs for p in s.people} == {("none", "none")}


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
