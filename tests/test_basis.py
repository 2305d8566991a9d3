from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import celebrity_names

from celeb_core import (
    Identity,
    build_basis,
    compose,
    interpolate,
    load_basis,
    mix,
    project,
    save_basis,
)
from celeb_core.basis import basis_id, find_basis, person_embeddings
from celeb_core.errors import (
    BasisMismatch,
    FeatureMissing,
    ModelError,
    ModelNotFound,
    UnknownName,
)


def test_components_are_orthonormal_up_to_each_rank(basis):
    # position 0: 12 first words of two-word names, two one-token names, two of three words
    for position, rank in enumerate(basis.ranks):
        used = basis.components[position, :rank].double()
        assert torch.allclose(used @ used.T, torch.eye(rank, dtype=torch.float64), atol=1e-5)
        assert (basis.components[position, rank:] == 0).all()
        assert (basis.std[position, :rank] > 0).all() and (basis.std[position, rank:] == 0).all()


def test_p_is_capped_at_the_rank_of_the_distinct_embeddings(basis, models):
    (encoder,) = models.encoders
    names = [encoder.token_ids(name) for name in celebrity_names()]
    for position in (0, 1):
        tokens = {ids[position] for ids in names if len(ids) > position}
        assert basis.ranks[position] == len(tokens) - 1
    assert basis.p == max(basis.ranks) < 512


def test_same_numbers_as_numpys_pca(basis, models):
    (encoder,) = models.encoders
    tokens = dict.fromkeys(encoder.token_ids(name)[0] for name in celebrity_names())
    rows = encoder.embed(list(tokens)).half().double().numpy()
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
    embeddings = person_embeddings(celebrity_names()[3], basis, models)
    assert torch.allclose(compose(basis, project(basis, embeddings)), embeddings, atol=2e-3)


def test_one_token_names_get_the_mean_second_embedding(basis, models):
    (encoder,) = models.encoders
    embeddings = person_embeddings("Grezin", basis, models)
    assert torch.equal(embeddings[1], basis.mean[1])
    assert torch.equal(embeddings[0], encoder.embed(encoder.token_ids("Grezin"))[0])


def test_longer_names_are_cut_to_two_tokens(basis, models):
    (encoder,) = models.encoders
    first_two = encoder.embed(encoder.token_ids("Balo Ven Mirru")[:2])
    assert torch.equal(person_embeddings("Balo Ven Mirru", basis, models), first_two)


def test_empty_names_are_unknown(basis, models):
    with pytest.raises(UnknownName):
        person_embeddings(" ", basis, models)


def test_interpolation_is_linear_between_people_of_all_kinds(basis, models):
    ada = Identity("ada", torch.randn(basis.k, basis.p), basis.id)
    name = celebrity_names()[0]
    a, b = person_embeddings(ada, basis, models), person_embeddings(name, basis, models)
    assert torch.allclose(interpolate(ada, name, 0.25, basis, models), 0.25 * a + 0.75 * b)
    assert torch.equal(interpolate(ada, name, 1.0, basis, models), a)
    assert torch.allclose(interpolate(a, ada, 0.5, basis, models), a)


def test_a_mixture_is_the_weighted_sum_of_its_people(basis, models):
    people = [torch.full((basis.k, 48), float(value)) for value in (1, 2, 4, 9)]
    for i, person in enumerate(people):
        assert torch.equal(mix(people, [float(i == j) for j in range(4)], basis, models), person)
    assert torch.equal(mix(people, [0.25] * 4, basis, models), torch.full((2, 48), 4.0))
    right = mix(people, (0, 0.75, 0, 0.25), basis, models)
    assert torch.equal(right, 0.75 * people[1] + 0.25 * people[3])


def test_identities_of_another_basis_are_refused(basis, models):
    stranger = Identity("bob", torch.zeros(2, 3), "0123", base_model="elsewhere")
    with pytest.raises(BasisMismatch, match="elsewhere") as caught:
        person_embeddings(stranger, basis, models)
    assert (caught.value.expected, caught.value.got) == (basis.id, "0123")


def test_id_follows_names_and_embeddings_only(basis, models):
    names = celebrity_names()
    assert basis.id == basis_id(names, models) == basis_id(names, replace(models, id="renamed"))
    assert basis.id != basis_id(names[:-1], models)
    (encoder,) = models.encoders
    token = encoder.token_ids(names[0])[0]
    before = encoder.table[token, 0].item()
    try:
        encoder.table.data[token, 0] += 0.5
        assert basis.id != basis_id(names, models)
    finally:
        encoder.table.data[token, 0] = before
    assert basis.id == basis_id(names, models)


def test_file_round_trip(basis, tmp_path):
    save_basis(basis, tmp_path / "basis.pt")
    again = load_basis(tmp_path / "basis.pt")
    assert torch.equal(again.components, basis.components) and torch.equal(again.std, basis.std)
    assert (again.id, again.names, again.ranks) == (basis.id, basis.names, basis.ranks)
    assert again.widths == basis.widths


def test_files_of_before_widths_were_stored_still_load(basis, tmp_path):
    content = {**vars(basis), "format": "celeb-basis 1"}
    del content["widths"]
    torch.save(content, tmp_path / "basis.pt")
    assert load_basis(tmp_path / "basis.pt").widths == basis.widths


def test_a_basis_is_built_once_and_found_by_its_names(models, tmp_path):
    names, shorter = tmp_path / "names.txt", tmp_path / "shorter.txt"
    names.write_text("\n".join(celebrity_names()), encoding="utf-8")
    shorter.write_text("\n".join(celebrity_names()[:20]), encoding="utf-8")
    built = find_basis(models, names, tmp_path, p=3)
    (stored,) = tmp_path.glob("*.pt")
    before = stored.stat().st_mtime_ns
    assert find_basis(models, names, tmp_path, p=3).id == built.id
    assert find_basis(models, shorter, tmp_path, p=3).names == tuple(celebrity_names()[:20])
    assert stored.stat().st_mtime_ns == before and len(list(tmp_path.glob("*.pt"))) == 2
    with pytest.raises(FeatureMissing, match="--names FILE"):
        find_basis(models, tmp_path / "none.txt")


def test_unreadable_basis_and_too_few_names(tmp_path, models):
    (tmp_path / "basis.pt").write_bytes(b"not a basis")
    with pytest.raises(ModelNotFound, match="celeb-basis basis"):
        load_basis(tmp_path / "basis.pt")
    with pytest.raises(ModelError, match="longer list"):
        build_basis(celebrity_names()[:2], models)


def test_a_cache_that_is_damaged_or_cannot_be_written_costs_time_alone(models, tmp_path, caplog):
    (names := tmp_path / "names.txt").write_text("\n".join(celebrity_names()[:30]))
    built = find_basis(models, names, tmp_path / "cache")
    (stored,) = (tmp_path / "cache").iterdir()
    stored.write_bytes(b"damaged")
    assert find_basis(models, names, tmp_path / "cache").id == built.id
    assert "made anew" in caplog.text and load_basis(stored).id == built.id
    (tmp_path / "file").write_text("")
    assert find_basis(models, names, tmp_path / "file").id == built.id
    assert "Could not write" in caplog.text
