"""People between the celebrities: who they are, and what is said and drawn of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from celeb_core.basis import K
from celeb_core.encoders import TextEncoder
from celeb_core.prompt import encode_texts
from toonville.between import (
    PLACEHOLDERS,
    REST_RADIUS,
    SMALL_RADIUS,
    SMALL_SHARE,
    Between,
    TraitProbe,
    between_example,
    fit_probe,
    load_between,
    make_between,
    save_between,
    text_encoder,
    word_states,
    words_in,
)
from toonville.dataset import celebrities, draw_store, load_store
from toonville.identity import NUM_TRAITS

ASSETS = Path(__file__).parent.parent / "assets" / "toonville"
pytestmark = pytest.mark.toonville


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    model = CLIPTextModel.from_pretrained(ASSETS / "text_encoder").float()
    return text_encoder(model.eval(), CLIPTokenizer.from_pretrained(ASSETS / "tokenizer"))


@pytest.fixture(scope="module")
def probe(encoder: TextEncoder) -> TraitProbe:
    return fit_probe(encoder)


@pytest.fixture(scope="module")
def people(probe: TraitProbe) -> Between:
    return make_between(probe, n=48, seed=1)


def test_people_differ_as_celebrities_do(people: Between) -> None:
    assert people.words.shape[:2] == (48, K) and people.traits.shape == (48, NUM_TRAITS)
    assert np.abs(people.traits).max() <= 1
    _, known = celebrities()
    assert people.traits.std(0).mean() > 0.6 * known.std(0).mean()


def test_of_a_share_of_people_words_say_little_but_the_face(
    probe: TraitProbe, people: Between
) -> None:
    places = zip(torch.from_numpy(people.words).float().unbind(1), probe.spans, strict=True)
    numbers = torch.cat([(w - mean) @ torch.linalg.pinv(axes) for w, (mean, axes) in places], 1)
    rest = numbers - numbers @ probe.faces @ probe.faces.T
    spread = rest.norm(dim=1) / (rest.shape[1] - NUM_TRAITS) ** 0.5  # 1: as a celebrity's
    small = (spread < 1.1 * SMALL_RADIUS[1]).float().mean()
    assert abs(small - SMALL_SHARE) < 0.2
    assert spread.max() < 1.1 * REST_RADIUS[1]


def test_celebrities_read_as_who_they_are(encoder: TextEncoder) -> None:
    """The regression that says who somebody between is, asked for people whose truth is known."""
    names, known = celebrities()
    ids = [encoder.tokenizer(name, add_special_tokens=False).input_ids for name in names.known]
    plain = [i for i, pieces in enumerate(ids) if len(pieces) == K][:40]
    table = encoder.table.detach().float()
    words = torch.stack([table[ids[i]] for i in plain])
    said = word_states(words, encoder)
    texts = [f"a photo of {names.known[i]}" for i in plain]
    whole = encode_texts(texts, [{}] * len(texts), K, (encoder,)).states
    start = len(encoder.tokenizer("a photo of").input_ids) - 1
    assert torch.allclose(said, whole[:, start + K - 1], atol=1e-4)


def test_words_away_from_what_says_a_face_change_no_face(probe: TraitProbe) -> None:
    """To first order: a step along the rest moves the traits far less than one along faces."""
    step = torch.randn(16, len(probe.faces), generator=torch.Generator().manual_seed(0))
    along = step @ probe.faces @ probe.faces.T
    rest = step - along
    with torch.no_grad():
        still = probe.traits_of(probe.words_of(torch.zeros_like(step[:1])))
        moved = [
            (probe.traits_of(probe.words_of(0.05 * part / part.norm(dim=1)[:, None])) - still)
            for part in (along, rest)
        ]
    assert moved[1].norm() < 0.1 * moved[0].norm()


def test_same_seed_same_people(probe: TraitProbe, people: Between) -> None:
    again = make_between(probe, n=48, seed=1)
    assert np.array_equal(again.words, people.words)
    assert not np.array_equal(make_between(probe, n=48, seed=2).words, people.words)


def test_examples_are_theirs(people: Between) -> None:
    alone = between_example(people.traits, 1, 5)
    assert alone.names == (PLACEHOLDERS[0],) and PLACEHOLDERS[0] in alone.text
    assert np.array_equal(alone.spec.people[0].traits, people.traits[alone.who[0]])
    names, known = celebrities()
    both = [between_example(people.traits, 2, seed) for seed in range(40)]
    for example in both:
        for name, who, person in zip(example.names, example.who, example.spec.people, strict=True):
            expected = known[names.known.index(name)] if who < 0 else people.traits[who]
            assert np.array_equal(person.traits, expected) and name in example.text
    assert any(min(example.who) < 0 for example in both)


def test_store_and_words(people: Between, tmp_path: Path) -> None:
    save_between(people, tmp_path / "between.npz")
    kept = load_between(tmp_path / "between.npz")
    example = partial(between_example, kept.traits, 2)
    draw_store(tmp_path / "pairs", 3, 2, 0, example, workers=1)
    store = load_store(tmp_path / "pairs")
    for row, seed in zip(store.captions, range(3), strict=True):
        words = words_in(row, kept)
        assert set(words) == {n.strip("<>") for n in example(seed).names if n in PLACEHOLDERS}
        for name, index in zip(row["names"], row["who"], strict=True):
            if name in PLACEHOLDERS:
                assert np.array_equal(words[name.strip("<>")].half().numpy(), people.words[index])
