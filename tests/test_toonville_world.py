"""The drawn world: same seed same pixels, and the truth that comes with a picture is true."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from toonville.captions import ACCESSORY_WORDS, ACTION_WORDS, EXPRESSION_WORDS, SCENE_WORDS
from toonville.dataset import (
    Captioned,
    captioned,
    celebrities,
    draw_rows,
    draw_store,
    load_store,
    rare_rows,
    unknown_example,
)
from toonville.identity import NUM_TRAITS, TRAITS, sample_distinct_traits, sample_traits
from toonville.names import make_names
from toonville.render import render
from toonville.tokenizer import CONTEXT_LENGTH, train_tokenizer
from toonville.vae import RARE, RARE_SHARE, features, new_vae, normalise_latents, to_tensor
from toonville.world import GROUPS, PersonSpec, PictureSpec


@pytest.fixture(scope="module")
def examples() -> list[Captioned]:
    return [captioned(1 + seed % 2, seed) for seed in range(200)]


def test_a_spec_gives_the_same_pixels_every_time() -> None:
    spec = captioned(2, 3).spec
    assert render(spec).image.tobytes() == render(spec).image.tobytes()


def test_landmarks_lie_in_the_face_box_and_in_order(examples: list[Captioned]) -> None:
    for example in examples[:40]:
        picture = render(example.spec)
        assert picture.image.size == example.spec.size
        for person in picture.people:
            left, top, right, bottom = person.box
            x, y = person.landmarks.T
            assert (x > left).all() and (x < right).all() and (y > top).all() and (y < bottom).all()
            assert x[0] < x[1] and x[3] < x[4]
            assert max(y[0], y[1]) < y[2] < min(y[3], y[4])


def test_the_face_mask_covers_the_faces_and_little_else(examples: list[Captioned]) -> None:
    picture = render(examples[1].spec)
    mask = picture.face_mask()
    boxes = sum((p.box[2] - p.box[0]) * (p.box[3] - p.box[1]) for p in picture.people)
    assert 0.6 * boxes < (mask > 0).sum() < boxes


def test_pixel_art_has_large_pixels_and_few_colours() -> None:
    spec = replace(captioned(1, 4).spec, style="pixel art")
    picture = np.asarray(render(spec).image)
    assert (picture[::4, ::4].repeat(4, 0).repeat(4, 1) == picture).all()
    assert set(np.unique(picture)) <= {0, 85, 170, 255}


def test_eyes_and_mouths_weigh_most_in_the_decoder(tmp_path: Path) -> None:
    draw_store(tmp_path, 4, 2, 7_000_000, partial(captioned, 2), workers=1)
    store = load_store(tmp_path)
    rows = np.arange(4)
    weight = features(store.masks[rows], store.landmarks[rows])
    assert weight.shape == (4, 1, *store.pictures.shape[1:3])
    for landmarks, hills in zip(store.landmarks, weight[:, 0], strict=True):
        x, y = landmarks.reshape(-1, 2).astype(int).T
        assert hills[y, x].min() > 3.5
        assert hills.min() < 0.01


def test_what_is_rare_comes_often_to_the_decoder() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros((200, len(GROUPS)), np.int8)
    style, expression = list(GROUPS).index("style"), list(GROUPS).index("expression")
    labels[:3, style] = GROUPS["style"].index("pixel art")
    labels[3:6, expression] = GROUPS["expression"].index("angry")
    labels[6:9, expression] = GROUPS["expression"].index("smiling")
    rare = rare_rows(labels, RARE)
    assert sorted(np.concatenate(rare)) == list(range(6))
    drawn = np.concatenate([draw_rows(rare, 200, 6, rng, RARE_SHARE) for _ in range(300)])
    assert (drawn < 3).mean() == pytest.approx(RARE_SHARE / 2, abs=0.05)
    assert ((drawn >= 3) & (drawn < 6)).mean() == pytest.approx(RARE_SHARE / 2, abs=0.05)
    assert drawn.max() > 150


@pytest.mark.parametrize("trait", range(NUM_TRAITS), ids=TRAITS)
def test_every_trait_shows(trait: int) -> None:
    """Moving one trait from end to end changes what is drawn, at the same place and pose."""
    person = np.zeros(NUM_TRAITS, np.float32)
    ends = []
    for value in (-1.0, 1.0):
        person[trait] = value
        picture = render(PictureSpec((PersonSpec(person.copy()),), seed=4))
        ends.append(np.asarray(picture.image, np.float32))
    changed = np.abs(ends[0] - ends[1]).max(-1) > 15
    assert changed.sum() >= 25


@pytest.mark.parametrize("group", ["expression", "accessory", "clothes", "action"])
def test_every_attribute_value_looks_different(group: str) -> None:
    person = sample_traits(np.random.default_rng(0), 1)[0]
    pictures = {
        render(PictureSpec((PersonSpec(person, **{group: value}),), seed=1)).image.tobytes()
        for value in GROUPS[group]
    }
    assert len(pictures) == len(GROUPS[group])


def test_captions_say_what_is_drawn_and_nothing_else(examples: list[Captioned]) -> None:
    for example in examples:
        person = example.spec.people[0]
        said = {
            "expression": EXPRESSION_WORDS,
            "accessory": ACCESSORY_WORDS,
            "action": ACTION_WORDS,
        }
        for group, table in said.items():
            value = getattr(person, group)
            if value in table:
                assert any(words in example.text for words in table[value])
        if example.spec.scene != "plain":
            assert any(words in example.text for words in SCENE_WORDS[example.spec.scene])
        assert all(name in example.text for name in example.names)


def test_names_are_as_many_and_as_long_as_in_life() -> None:
    names = make_names()
    assert len(set(names.known)) == len(set(names.unknown)) == 700
    assert not set(names.known) & set(names.unknown)
    words = Counter(len(name.split()) for name in names.known)
    assert words[2] > 0.85 * 700 and words[1] > 20 and words[3] > 20
    firsts = Counter(name.split()[0] for name in names.known)
    assert max(firsts.values()) >= 5


@pytest.mark.parametrize("example_of_seed", [partial(captioned, 1), unknown_example])
def test_unknown_names_never_keep_a_face(example_of_seed) -> None:
    """In captions an unknown name comes with another face each time."""
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


def test_celebrities_are_spread_wider_than_chance() -> None:
    def nearest(people: np.ndarray) -> float:
        gaps = ((people[:, None] - people[None]) ** 2).sum(-1) + 99 * np.eye(len(people))
        return float(np.median(gaps.min(1)))

    rng = np.random.default_rng(0)
    assert nearest(sample_distinct_traits(rng, 200)) > 1.2 * nearest(sample_traits(rng, 200))


def test_tokenizer_has_whole_names_and_the_highest_end_token() -> None:
    names = make_names()
    tokenizer = train_tokenizer(names)
    assert tokenizer.eos_token_id == len(tokenizer) - 1 == max(tokenizer.get_vocab().values())
    assert tokenizer.eos_token_id != 2
    lengths = Counter(
        len(tokenizer(name, add_special_tokens=False).input_ids) for name in names.known
    )
    assert lengths[2] > 0.75 * 700 and lengths[1] > 0 and lengths[3] > 0
    row = tokenizer("a photo of Nobody 12 é", padding="max_length").input_ids
    assert len(row) == CONTEXT_LENGTH
    assert tokenizer.unk_token_id not in row[1 : row.index(tokenizer.eos_token_id)]


def test_store_keeps_pictures_with_their_truth(tmp_path) -> None:
    draw_store(tmp_path / "pair", 6, 2, 5, partial(captioned, 2), workers=1)
    store = load_store(tmp_path / "pair")
    example = captioned(2, 5 + 4)
    assert store.captions[4]["text"] == example.text
    np.testing.assert_array_equal(store.pictures[4], np.asarray(render(example.spec).image))
    np.testing.assert_allclose(store.traits[4, 1], example.spec.people[1].traits)


def test_normalised_latents_have_unit_spread_and_decode_alike() -> None:
    torch.manual_seed(0)
    vae = new_vae().eval()
    pictures = to_tensor(
        np.stack([np.asarray(render(captioned(1, i).spec).image) for i in range(8)])
    )
    with torch.no_grad():
        before = vae.decode(vae.encode(pictures).latent_dist.mean).sample
        normalise_latents(vae, pictures)
        latents = vae.encode(pictures).latent_dist.mean
        after = vae.decode(latents).sample
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(8), atol=1e-3, rtol=0)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
