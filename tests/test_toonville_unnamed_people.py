"""People between the celebrities: their token embeddings, traits and training examples."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from celeb_core.basis import K
from celeb_core.loading import ASSETS, BUNDLED
from celeb_core.text_encoder import TextEncoder, encode_texts
from toonville.dataset import celebrities, load_store, render_store
from toonville.identity import NUM_TRAITS
from toonville.unnamed_people import (
    PLACEHOLDERS,
    REST_RADIUS,
    SMALL_REST_RADIUS,
    SMALL_REST_SHARE,
    TraitProbe,
    UnnamedPeople,
    fit_probe,
    load_unnamed_people,
    make_unnamed_people,
    person_states,
    placeholder_embeddings,
    save_unnamed_people,
    text_encoder,
    unnamed_example,
)

pytestmark = pytest.mark.toonville


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    model = CLIPTextModel.from_pretrained(ASSETS / BUNDLED / "text_encoder").float()
    tokenizer = CLIPTokenizer.from_pretrained(ASSETS / BUNDLED / "tokenizer")
    return text_encoder(model.eval(), tokenizer)


@pytest.fixture(scope="module")
def probe(encoder: TextEncoder) -> TraitProbe:
    return fit_probe(encoder)


@pytest.fixture(scope="module")
def people(probe: TraitProbe) -> UnnamedPeople:
    return make_unnamed_people(probe, n=48, seed=1)


def test_people_differ_as_celebrities_do(people: UnnamedPeople) -> None:
    assert people.embeddings.shape[:2] == (48, K) and people.traits.shape == (48, NUM_TRAITS)
    assert np.abs(people.traits).max() <= 1
    _, known = celebrities()
    assert people.traits.std(0).mean() > 0.6 * known.std(0).mean()


def test_a_share_of_people_differs_in_the_face_only(
    probe: TraitProbe, people: UnnamedPeople
) -> None:
    positions = zip(torch.from_numpy(people.embeddings).float().unbind(1), probe.spans, strict=True)
    parts = [(x - mean) @ torch.linalg.pinv(axes) for x, (mean, axes) in positions]
    coefficients = torch.cat(parts, 1)
    rest = coefficients - coefficients @ probe.face_directions @ probe.face_directions.T
    deviation = rest.norm(dim=1) / (rest.shape[1] - NUM_TRAITS) ** 0.5  # a celebrity's is 1
    small = (deviation < 1.1 * SMALL_REST_RADIUS[1]).float().mean()
    assert abs(small - SMALL_REST_SHARE) < 0.2
    assert deviation.max() < 1.1 * REST_RADIUS[1]


def test_embeddings_of_a_name_are_encoded_like_the_name(encoder: TextEncoder) -> None:
    names, _ = celebrities()
    ids = [encoder.token_ids(name) for name in names.known]
    plain = [i for i, tokens in enumerate(ids) if len(tokens) == K][:40]
    embeddings = torch.stack([encoder.embed(ids[i]) for i in plain])
    states = person_states(embeddings, encoder)
    texts = [f"a photo of {names.known[i]}" for i in plain]
    whole = encode_texts(texts, [{}] * len(texts), K, (encoder,)).hidden_states
    start = len(encoder.token_ids("a photo of")) + 1
    assert torch.allclose(states, whole[:, start + K - 1], atol=1e-4)


def test_steps_off_the_face_directions_change_no_traits(probe: TraitProbe) -> None:
    """To first order: a step along the rest moves the traits far less than one along faces."""
    step = torch.randn(16, len(probe.face_directions), generator=torch.Generator().manual_seed(0))
    along = step @ probe.face_directions @ probe.face_directions.T
    rest = step - along
    with torch.no_grad():
        mean_person = probe.traits_of(probe.person_embeddings(torch.zeros_like(step[:1])))
        moved = [
            probe.traits_of(probe.person_embeddings(0.05 * part / part.norm(dim=1)[:, None]))
            - mean_person
            for part in (along, rest)
        ]
    assert moved[1].norm() < 0.1 * moved[0].norm()


def test_same_seed_same_people(probe: TraitProbe, people: UnnamedPeople) -> None:
    again = make_unnamed_people(probe, n=48, seed=1)
    assert np.array_equal(again.embeddings, people.embeddings)
    assert not np.array_equal(
        make_unnamed_people(probe, n=4, seed=2).embeddings[0], people.embeddings[0]
    )


@pytest.mark.parametrize("num_people", [2, 3])
def test_examples_show_the_people_of_their_captions(num_people: int, people: UnnamedPeople) -> None:
    alone = unnamed_example(people.traits, 1, 5)
    assert alone.names == (PLACEHOLDERS[0],) and PLACEHOLDERS[0] in alone.text
    assert np.array_equal(alone.spec.people[0].traits, people.traits[alone.person_ids[0]])
    names, known = celebrities()
    groups = [unnamed_example(people.traits, num_people, seed) for seed in range(40)]
    for example in groups:
        assert len(example.names) == num_people
        for name, row, person in zip(
            example.names, example.person_ids, example.spec.people, strict=True
        ):
            expected = known[names.known.index(name)] if row < 0 else people.traits[row]
            assert np.array_equal(person.traits, expected) and name in example.text
    assert any(min(example.person_ids) < 0 for example in groups)


@pytest.mark.parametrize("num_people", [2, 3])
def test_stored_captions_have_the_embeddings_of_their_people(
    num_people: int, people: UnnamedPeople, tmp_path: Path
) -> None:
    save_unnamed_people(people, tmp_path / "between.npz")
    loaded = load_unnamed_people(tmp_path / "between.npz")
    example = partial(unnamed_example, loaded.traits, num_people)
    render_store(tmp_path / "groups", 3, num_people, 0, example, workers=1, pixels=1)
    store = load_store(tmp_path / "groups")
    for row, seed in zip(store.captions, range(3), strict=True):
        embeddings = placeholder_embeddings(row, loaded)
        assert set(embeddings) == {n.strip("<>") for n in example(seed).names if n in PLACEHOLDERS}
        for name, index in zip(row["names"], row["who"], strict=True):
            if name in PLACEHOLDERS:
                stored = embeddings[name.strip("<>")].half().numpy()
                assert np.array_equal(stored, people.embeddings[index])
