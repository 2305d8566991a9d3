"""One text encoder, and two, as in SDXL: all that one does, side by side."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from conftest import celebrity_names, portrait
from ui_help import make_page, train_and_generate

from celeb_core import (
    PRESETS,
    SampleConfig,
    build_basis,
    compose,
    encode_prompt,
    fit,
    fit_identities,
    generate,
    interpolate,
    load_basis,
    parse_prompt,
    person_embeddings,
    project,
    save_basis,
    save_checkpoint,
)
from celeb_core.errors import PromptTooLong
from celeb_core.mapper import CoefficientMapper
from celeb_core.prepare.calibration import (
    PortraitPlan,
    encode_people,
    fit_initialisation,
    generate_people,
    load_people,
)
from celeb_core.scoring import Scorers
from celeb_core.studio import Studio
from celeb_core.text_encoder import (
    encode_texts,
    encode_tokens,
    inject_embeddings,
    normal_name,
    tokenize,
)

A = celebrity_names()[0]
BRIEF = PRESETS["fast"].changed(steps=2, views=2, batch_size=2)


def hidden_states(text: str, encoder) -> torch.Tensor:
    """What the model itself makes of real tokens."""
    ids = encoder.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        return encoder.model(ids)[0]


@pytest.fixture
def encoder(models):
    (encoder,) = models.encoders
    return encoder


# --- one encoder


def test_placeholders_take_k_tokens_each(encoder):
    tokens = tokenize("a <x> with <y> and <x>", encoder, 2)
    assert tokens.slots == (("x", 2), ("y", 5), ("x", 8))
    plain = encoder.tokenizer("a", padding="max_length").input_ids
    assert len(tokens.ids) == 77 and tokens.ids[:2] == tuple(plain[:2])
    assert tokens.ids[10:] == tuple(plain[2:69])  # the end, then padding
    with pytest.raises(PromptTooLong, match="<ada>"):
        tokenize("photo " * 74 + "< ada >", encoder, 2)


def test_equals_real_tokens_in_float64(encoder):
    model = encoder.model.double()
    try:
        embeddings = encoder.table[encoder.token_ids(A)]
        tokens = tokenize("a photo of <x> in space", encoder, 2)
        ours = encode_tokens([tokens], [{"x": embeddings}], encoder).hidden_states
        expected = hidden_states(f"a photo of {A} in space", encoder)
        assert torch.allclose(ours, expected, atol=1e-12)
    finally:
        model.float()


def test_texts_of_different_people_in_one_batch(models, basis):
    other = celebrity_names()[1]
    people = [{"x": person_embeddings(name, basis, models)} for name in (A, other)]
    ours = encode_texts(["<x> smiling", "a hat on <x>"], people, 2, models.encoders).hidden_states
    for row, text in enumerate((f"{A} smiling", f"a hat on {other}")):
        assert torch.allclose(ours[row], hidden_states(text, models.encoders[0])[0], atol=1e-5)


def test_gradients_reach_the_embeddings_and_nothing_else(encoder):
    embeddings = torch.zeros(2, 48, requires_grad=True)
    encoded = encode_tokens([tokenize("<x> with a hat", encoder, 2)], [{"x": embeddings}], encoder)
    encoded.hidden_states.square().sum().backward()
    assert (embeddings.grad.abs().sum(1) > 0).all()
    assert all(weight.grad is None for weight in encoder.model.parameters())


def test_the_encoder_is_restored_even_after_an_error(encoder):
    before = hidden_states("a photo", encoder)
    with (
        pytest.raises(RuntimeError, match="stop"),
        inject_embeddings(encoder.model, [0], [1], torch.ones(1, 48)),
    ):
        assert not torch.allclose(hidden_states("a photo", encoder), before)
        raise RuntimeError("stop")
    assert torch.equal(hidden_states("a photo", encoder), before)


def test_other_threads_see_the_plain_encoder(encoder):
    before, others = hidden_states("a photo", encoder), []
    with inject_embeddings(encoder.model, [0], [1], torch.ones(1, 48)):
        thread = threading.Thread(target=lambda: others.append(hidden_states("a photo", encoder)))
        thread.start()
        thread.join()
    assert torch.equal(others[0], before)


def test_names_are_compared_in_one_form():
    assert normal_name(" Jose\u0301 ") == "Jos\u00e9"


# --- two encoders


def test_each_encoder_has_a_basis_of_its_own(sdxl, sdxl_basis):
    basis = sdxl_basis
    assert basis.widths == (32, 48) and basis.mean.shape == (2, 80) and len(basis.ranks) == 4
    size = basis.p // 2
    embeddings = person_embeddings(A, basis, sdxl)
    for number, encoder in enumerate(sdxl.encoders):
        own = slice(number * size, (number + 1) * size)
        inside = basis.components[:, own, encoder.columns]
        for position in (0, 1):
            rank = basis.ranks[2 * position + number]
            used = inside[position, :rank].double()
            assert torch.allclose(used @ used.T, torch.eye(rank).double(), atol=1e-5)
        outside = basis.components[:, own].clone()
        outside[..., encoder.columns] = 0
        assert (outside == 0).all()
        rows = encoder.embed(encoder.token_ids(A))
        assert torch.equal(embeddings[:, encoder.columns], rows)
    assert torch.allclose(compose(basis, project(basis, embeddings)), embeddings, atol=2e-3)


def test_the_basis_is_that_of_both(sdxl, sdxl_basis, tmp_path):
    save_basis(sdxl_basis, tmp_path / "basis.pt")
    again = load_basis(tmp_path / "basis.pt")
    assert (again.id, again.widths, again.ranks) == (
        sdxl_basis.id, sdxl_basis.widths, sdxl_basis.ranks,
    )  # fmt: skip
    encoder = sdxl.encoders[1]
    token = encoder.token_ids(A)[0]
    before = encoder.table.data[token, 0].item()
    try:
        encoder.table.data[token, 0] += 0.5
        assert build_basis(celebrity_names(), sdxl).id != sdxl_basis.id
    finally:
        encoder.table.data[token, 0] = before


def test_embeddings_and_gradients_are_those_of_real_tokens(sdxl):
    """In both encoders and in the pooled output, in float64."""
    text, slots = "a photo of {} in space", slice(4, 6)
    try:
        for encoder in sdxl.encoders:
            encoder.model.double()
        real, embeddings = [], []
        for encoder in sdxl.encoders:
            ids = encoder.tokenizer(text.format(A), padding="max_length", return_tensors="pt")
            rows = encoder.table.detach()[ids.input_ids].requires_grad_()
            hook = encoder.model.get_input_embeddings().register_forward_hook(
                lambda *_, rows=rows: rows
            )
            real.append((encoder.encode_ids(ids.input_ids), rows))
            hook.remove()
            embeddings.append(rows[0, slots].detach())
        states = torch.cat([encoded.hidden_states for encoded, _ in real], -1)
        pooled = real[1][0].pooled
        person = torch.cat(embeddings, -1).requires_grad_()
        ours = encode_texts([text.format("<x>")], [{"x": person}], 2, sdxl.encoders)
        assert torch.allclose(ours.hidden_states, states, atol=1e-12)
        assert torch.allclose(ours.pooled, pooled, atol=1e-12) and pooled.shape == (1, 24)
        generator = torch.Generator().manual_seed(0)
        likes = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in (states, pooled)]
        for outputs in ((states, pooled), (ours.hidden_states, ours.pooled)):
            sum((a * b).sum() for a, b in zip(outputs, likes, strict=True)).backward()
        expected = torch.cat([rows.grad[0, slots] for _, rows in real], -1)
        assert expected.abs().min() > 0
        assert torch.allclose(person.grad, expected, rtol=1e-6, atol=1e-9)
        assert all(w.grad is None for encoder in sdxl.encoders for w in encoder.model.parameters())
    finally:
        for encoder in sdxl.encoders:
            encoder.model.float()


def test_coefficients_are_normed_per_encoder(sdxl_basis):
    mapper = CoefficientMapper(sdxl_basis, "paper")
    face = torch.nn.functional.normalize(torch.randn(1, 512), dim=1)
    numbers = mapper(face).detach() * sdxl_basis.std
    lengths = numbers.unflatten(-1, (2, -1)).norm(dim=-1).flatten()
    full = torch.tensor(sdxl_basis.ranks) == sdxl_basis.p // 2  # padding has a part of the others'
    assert full.any() and torch.allclose(lengths[full], torch.ones(int(full.sum())), atol=1e-5)


def test_training_and_generating_give_the_unet_the_same(sdxl, sdxl_basis, person, monkeypatch):
    conditions = []
    forward = sdxl.unet.forward

    def listening(*args, **kwargs):
        conditions.append(kwargs["added_cond_kwargs"])
        return forward(*args, **kwargs)

    monkeypatch.setattr(sdxl.unet, "forward", listening)
    fit([person], sdxl, sdxl_basis, BRIEF.changed(steps=1))
    config = SampleConfig(steps=1, guidance_scale=1.0)
    generate(parse_prompt("a photo", {}), sdxl, sdxl_basis, config)
    trained, generated = conditions
    sizes = [64, 64, 0, 0, 64, 64]  # original size, nothing cropped, target size
    assert trained["time_ids"].tolist() == [sizes] * 2
    assert generated["time_ids"].tolist() == [sizes]
    assert trained["text_embeds"].shape == (2, 24) and generated["text_embeds"].shape == (1, 24)


def test_people_train_together_and_go_on_later(sdxl, sdxl_basis, people, tmp_path):
    config = BRIEF.changed(steps=4)
    whole = fit(people[:2], sdxl, sdxl_basis, config)
    for step in fit_identities(people[:2], sdxl, sdxl_basis, config):
        if step.step == 2:
            save_checkpoint(step, tmp_path / "run")
            break
    *_, last = fit_identities(people[:2], sdxl, sdxl_basis, config, resume=tmp_path / "run")
    for name, identity in whole.items():
        assert torch.equal(last.identities[name].coefficients, identity.coefficients)
        size = sdxl_basis.p // 2
        earlier = step.identities[name].coefficients
        for own in (slice(size), slice(size, None)):  # each encoder's coefficients are learned
            assert not torch.equal(identity.coefficients[:, own], earlier[:, own])


def test_the_initialisation_finds_embeddings_for_both(sdxl, sdxl_basis):
    """With faces that are a linear function of what the encoders make of known people."""
    basis = sdxl_basis
    known = torch.randn(64, basis.k, basis.p, generator=torch.Generator().manual_seed(3))
    states = encode_people(compose(basis, known), sdxl)
    mixing = torch.randn(states.shape[1], 512, generator=torch.Generator().manual_seed(2))
    faces = torch.nn.functional.normalize((states - states.mean(0)) @ mixing, dim=1)
    down, up, bias, directions = fit_initialisation(faces, known, basis, sdxl)
    assert directions.unflatten(0, (basis.k, 2, -1)).norm(dim=2).min() > 0  # of both encoders
    found = (faces[:6] @ down.T @ up.T + bias).unflatten(1, (basis.k, basis.p))
    ours = encode_people(compose(basis, found), sdxl)
    first = states.shape[1] * basis.widths[0] // basis.mean.shape[1]
    for part in (slice(0, first), slice(first, None)):
        nearest = torch.cdist(ours[:, part], states[:, part]).argmin(1)
        assert (nearest == torch.arange(6)).float().mean() >= 0.8


def test_calibration_generates_the_celebrities(sdxl, sdxl_basis, studio, tmp_path):
    one = replace(sdxl_basis, names=(A,))
    own = Studio(replace(sdxl, steps=1), studio.faces, one, None, Scorers(studio.faces))
    plan = PortraitPlan((A,))
    assert list(generate_people(plan, own, tmp_path)) == [0, 1]
    people = load_people(plan, own, tmp_path)
    assert people.coefficients.shape == (1, sdxl_basis.k, sdxl_basis.p)


def test_mixtures_are_of_both(sdxl, sdxl_basis):
    a, b = (person_embeddings(name, sdxl_basis, sdxl) for name in celebrity_names()[:2])
    mixture = interpolate(a, celebrity_names()[1], 0.25, sdxl_basis, sdxl)
    assert torch.allclose(mixture, 0.25 * a + 0.75 * b)
    encoded = [
        encode_prompt(parse_prompt("<x>", {"x": one}), sdxl_basis, sdxl) for one in (mixture, a)
    ]
    for output in ("hidden_states", "pooled"):
        assert not torch.equal(*(getattr(one, output) for one in encoded))


def test_the_page_trains_and_generates(sdxl, sdxl_basis, studio, tmp_path):
    own = replace(studio, models=replace(sdxl, steps=2), basis=sdxl_basis)
    train_and_generate(make_page(own, tmp_path), portrait())
