from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import celebrity_names

from celeb_core import (
    Identity,
    bilinear,
    build_basis,
    compose,
    interpolate,
    load_basis,
    mix,
    project,
    save_basis,
)
from celeb_core.basis import basis_id, token_embeddings, token_ids, words_of
from celeb_core.errors import BasisMismatch, ModelError, ModelNotFound


def test_components_are_orthonormal_up_to_each_rank(basis):
    # 12 first words of two-word names, two one-token names, two of the three-word names
    for position, rank in enumerate(basis.ranks):
        used = basis.components[position, :rank].double()
        assert torch.allclose(used @ used.T, torch.eye(rank, dtype=torch.float64), atol=1e-5)
        assert (basis.components[position, rank:] == 0).all()
        assert (basis.std[position, :rank] > 0).all() and (basis.std[position, rank:] == 0).all()


def test_p_is_capped_at_the_rank_of_the_distinct_words(basis, models):
    names = celebrity_names()
    for position in (0, 1):
        tokens = {
            ids[position] for n in names if len(ids := token_ids(n, models.tokenizer)) > position
        }
        assert basis.ranks[position] == len(tokens) - 1
    assert basis.p == max(basis.ranks) < 512


def test_same_numbers_as_numpys_pca(basis, models):
    tokens = dict.fromkeys(token_ids(n, models.tokenizer)[0] for n in celebrity_names())
    rows = token_embeddings(list(tokens), models.encoders[0]).half().double().numpy()
    centred = rows - rows.mean(0)
    values = np.linalg.eigvalsh(centred.T @ centred / (len(rows) - 1))[::-1]
    spread = np.sqrt(values.clip(0))
    rank = basis.ranks[0]
    assert np.allclose(basis.std[0, :rank].numpy(), spread[:rank], rtol=1e-4)
    assert np.allclose(basis.mean[0].numpy(), rows.mean(0), atol=1e-6)


def test_fewer_components_can_be_asked_for(models):
    small = build_basis(celebrity_names(), models, p=5)
    assert small.components.shape[1] == 5 and small.ranks == (5, 5)


def test_compose_and_project_are_inverse_on_the_span(basis):
    coefficients = torch.randn(3, basis.k, basis.p) * (basis.std > 0)
    assert torch.allclose(project(basis, compose(basis, coefficients)), coefficients, atol=1e-4)


def test_zero_coefficients_are_the_mean_person(basis):
    assert torch.equal(compose(basis, torch.zeros(basis.k, basis.p)), basis.mean)


def test_celebrities_are_in_the_span(basis, models):
    words = words_of(celebrity_names()[3], basis, models)
    assert torch.allclose(compose(basis, project(basis, words)), words, atol=2e-3)


def test_one_token_names_get_the_mean_second_word(basis, models):
    words = words_of("Grezin", basis, models)
    assert torch.equal(words[1], basis.mean[1])
    ids = token_ids("Grezin", models.tokenizer)
    assert torch.equal(words[0], token_embeddings(ids, models.encoders[0])[0])


def test_longer_names_are_cut_to_two_words(basis, models):
    ids = token_ids("Balo Ven Mirru", models.tokenizer)
    first_two = token_embeddings(ids[:2], models.encoders[0])
    assert torch.equal(words_of("Balo Ven Mirru", basis, models), first_two)


def test_interpolation_is_word_by_word_between_all_kinds(basis, models):
    ada = Identity("ada", torch.randn(basis.k, basis.p), basis.id)
    name = celebrity_names()[0]
    a, b = words_of(ada, basis, models), words_of(name, basis, models)
    assert torch.allclose(interpolate(ada, name, 0.25, basis, models), 0.25 * a + 0.75 * b)
    assert torch.equal(interpolate(ada, name, 1.0, basis, models), a)
    assert torch.allclose(interpolate(a, ada, 0.5, basis, models), a)


def test_a_square_has_its_corners_and_their_mean_in_the_middle(basis, models):
    people = [torch.full((basis.k, 48), float(value)) for value in (1, 2, 4, 9)]
    corners = [(0, 0), (1, 0), (0, 1), (1, 1)]
    for person, corner in zip(people, corners, strict=True):
        assert torch.equal(mix(people, bilinear(*corner), basis, models), person)
    assert torch.equal(mix(people, bilinear(0.5, 0.5), basis, models), torch.full((2, 48), 4.0))
    right = mix(people, bilinear(1, 0.25), basis, models)
    assert torch.equal(right, 0.75 * people[1] + 0.25 * people[3])


def test_identities_of_another_basis_are_refused(basis, models):
    stranger = Identity("bob", torch.zeros(2, 3), "0123", base_model="elsewhere")
    with pytest.raises(BasisMismatch, match="elsewhere") as caught:
        words_of(stranger, basis, models)
    assert (caught.value.expected, caught.value.got) == (basis.id, "0123")


def test_id_follows_names_and_embeddings_only(basis, models):
    names = celebrity_names()
    assert basis.id == basis_id(names, models) == basis_id(names, replace(models, id="renamed"))
    assert basis.id != basis_id(names[:-1], models)
    weight = models.text_encoder.get_input_embeddings().weight
    token = token_ids(names[0], models.tokenizer)[0]
    kept = weight.data[token, 0].item()
    try:
        weight.data[token, 0] += 0.5
        assert basis.id != basis_id(names, models)
    finally:
        weight.data[token, 0] = kept
    assert basis.id == basis_id(names, models)


def test_file_round_trip(basis, tmp_path):
    save_basis(basis, tmp_path / "basis.pt")
    again = load_basis(tmp_path / "basis.pt")
    assert torch.equal(again.components, basis.components) and torch.equal(again.std, basis.std)
    assert (again.id, again.names, again.ranks) == (basis.id, basis.names, basis.ranks)


def test_unreadable_basis_and_too_few_names(tmp_path, models):
    (tmp_path / "basis.pt").write_bytes(b"not a basis")
    with pytest.raises(ModelNotFound, match="celeb_core basis"):
        load_basis(tmp_path / "basis.pt")
    with pytest.raises(ModelError, match="longer list"):
        build_basis(celebrity_names()[:2], models)
