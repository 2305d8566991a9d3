"""The renderer: a spec gives the same pixels every time, and its ground truth is true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from toonville.dataset import Captioned, captioned
from toonville.identity import NUM_TRAITS, TRAITS, sample_traits
from toonville.render import render
from toonville.world import GROUPS, SIZES, ImageSpec, PersonSpec


@pytest.fixture(scope="module")
def examples() -> list[Captioned]:
    return [captioned(1 + seed % 3, seed) for seed in range(40)]


def test_a_spec_gives_the_same_pixels_every_time() -> None:
    spec = captioned(2, 3).spec
    assert render(spec).image.tobytes() == render(spec).image.tobytes()


def test_landmarks_lie_in_the_face_box_and_in_order(examples: list[Captioned]) -> None:
    for example in examples:
        rendering = render(example.spec)
        assert rendering.image.size == example.spec.size
        for person in rendering.people:
            left, top, right, bottom = person.box
            x, y = person.landmarks.T
            assert (x > left).all() and (x < right).all() and (y > top).all() and (y < bottom).all()
            assert x[0] < x[1] and x[3] < x[4]
            assert max(y[0], y[1]) < y[2] < min(y[3], y[4])


def test_the_face_mask_covers_the_faces_and_little_else(examples: list[Captioned]) -> None:
    rendering = render(examples[1].spec)
    mask = rendering.face_mask()
    boxes = sum((p.box[2] - p.box[0]) * (p.box[3] - p.box[1]) for p in rendering.people)
    assert 0.6 * boxes < (mask > 0).sum() < boxes


def test_pixel_art_has_large_pixels_and_few_colours() -> None:
    spec = replace(captioned(1, 4).spec, style="pixel art")
    image = np.asarray(render(spec).image)
    assert (image[::4, ::4].repeat(4, 0).repeat(4, 1) == image).all()
    assert set(np.unique(image)) <= {0, 51, 102, 153, 204, 255}


def test_a_rendering_has_the_same_truth_at_any_size() -> None:
    spec = captioned(3, 5).spec
    small, large = render(spec, 1), render(spec, 2)
    assert large.image.size == SIZES[3] == tuple(2 * side for side in small.image.size)
    for one, other in zip(small.people, large.people, strict=True):
        assert np.allclose(2 * one.landmarks, other.landmarks) and len(small.people) == 3


def test_a_sketch_keeps_eyes_apart_from_faces() -> None:
    person = PersonSpec(np.zeros(NUM_TRAITS, np.float32))
    rendering = render(ImageSpec((person,), style="pencil sketch", seed=2))
    image = np.asarray(rendering.image.convert("L"), np.float32)
    x, y = rendering.people[0].landmarks[0].round().astype(int)
    assert image[y - 3 : y + 4, x - 8 : x + 9].std() > 25


@pytest.mark.parametrize("trait", range(NUM_TRAITS), ids=TRAITS)
def test_every_trait_is_visible(trait: int) -> None:
    person = np.zeros(NUM_TRAITS, np.float32)
    ends = []
    for value in (-1.0, 1.0):
        person[trait] = value
        rendering = render(ImageSpec((PersonSpec(person.copy()),), seed=4))
        ends.append(np.asarray(rendering.image, np.float32))
    changed = np.abs(ends[0] - ends[1]).max(-1) > 15
    assert changed.sum() >= 25


@pytest.mark.parametrize("group", ["expression", "accessory", "clothes", "action"])
def test_every_attribute_value_looks_different(group: str) -> None:
    person = sample_traits(np.random.default_rng(0), 1)[0]
    images = {
        render(ImageSpec((PersonSpec(person, **{group: value}),), seed=1)).image.tobytes()
        for value in GROUPS[group]
    }
    assert len(images) == len(GROUPS[group])


@pytest.mark.parametrize("group", ["scene", "style"])
def test_every_scene_and_style_looks_different(group: str) -> None:
    person = PersonSpec(sample_traits(np.random.default_rng(0), 1)[0])
    images = {
        render(ImageSpec((person,), seed=1, **{group: value})).image.tobytes()
        for value in GROUPS[group]
    }
    assert len(images) == len(GROUPS[group])
