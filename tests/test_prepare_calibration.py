from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import celebrity_names, initial_coefficients, portrait
from PIL import Image

from celeb_core import (
    compose,
    encode_prompt,
    find_face,
    parse_prompt,
    project,
)
from celeb_core.basis import person_embeddings
from celeb_core.errors import FeatureMissing
from celeb_core.many.workers import Here
from celeb_core.prepare import calibration as module
from celeb_core.prepare.calibration import (
    DIRECTIONS,
    PortraitPlan,
    encode_people,
    fit_calibration,
    fit_initialisation,
    generate_people,
    load_people,
    ridge,
)
from celeb_core.types import Framing

NAMES = tuple(celebrity_names()[:12])


@pytest.fixture
def few(studio):
    """A studio whose basis has few celebrities."""
    return replace(studio, basis=replace(studio.basis, names=NAMES))


@pytest.fixture
def generated(monkeypatch):
    """Portraits instead of generated images, none for the second name; collects the prompts."""
    prompts = []

    def generate(batch, models, basis, config):
        prompts.extend(batch)
        blank = Image.new("RGB", (128, 128))
        return [blank if NAMES[1] in prompt.text else portrait() for prompt in batch]

    monkeypatch.setattr(module, "generate_each", generate)
    return prompts


@pytest.fixture
def made(few, tmp_path):
    """Generate a plan's people and load them."""

    def make(seed=0, studio=few):
        plan = PortraitPlan(studio.basis.names, seed=seed)
        *_, batches = generate_people(plan, studio, tmp_path)
        assert batches == -(-len(plan.names) // 8)
        return load_people(plan, studio, tmp_path)

    return make


def test_celebrities_by_name(few, generated, made):
    basis, faces = few.basis, made()
    assert [prompt.text for prompt in generated] == [f"a photo of {name}" for name in NAMES]
    wanted = torch.stack([project(basis, person_embeddings(n, basis, few.models)) for n in NAMES])
    assert faces.names == NAMES and torch.allclose(faces.coefficients, wanted, atol=1e-5)


def test_faces_are_embedded_and_missing_ones_are_zeros(few, generated, made):
    faces = made()
    expected = find_face(portrait(), few.faces).embedding
    assert torch.allclose(faces.face_embeddings[0], expected, atol=1e-3)
    assert faces.found.tolist() == [True, False] + [True] * 10
    assert not faces.face_embeddings[1].any() and not faces.framings[1].any()


def test_the_largest_face_of_an_image_counts(few, made, monkeypatch):
    sizes = []

    class Faces:
        id = few.faces.id

        def find(self, image):
            face = find_face(portrait(), few.faces)
            left, top, right, bottom = face.box
            sizes.append(right - left)
            larger = replace(face, box=(left, top, right + 9, bottom), embedding=-face.embedding)
            return [face, larger]

    monkeypatch.setattr(module, "generate_each", lambda prompts, *_: [portrait()] * len(prompts))
    faces = made(studio=replace(few, faces=Faces()))
    expected = -find_face(portrait(), few.faces).embedding
    assert torch.allclose(faces.face_embeddings[0], expected, atol=1e-3)
    assert faces.framings[0, 0] == pytest.approx(128 / (sizes[0] + 9))


def test_a_stopped_run_goes_on_and_another_one_does_not(few, generated, made, tmp_path):
    plan = PortraitPlan(NAMES)
    batches = generate_people(plan, few, tmp_path)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(FeatureMissing, match="1 of 2 batches .*celeb-basis prepare"):
        load_people(plan, few, tmp_path)
    generated.clear()
    made()
    assert len(generated) == 4
    generated.clear()
    made(seed=9)
    assert len(generated) == 12


def test_two_processes_divide_the_portraits_and_get_the_same(few, generated, made, tmp_path):
    plan, folder = PortraitPlan(tuple(celebrity_names()[:32])), tmp_path / "two"
    turns = [generate_people(plan, few, folder, Here(few, (index, 2))) for index in (0, 1)]
    assert list(zip(*turns, strict=True)) == [(0, 0), (1, 2), (3, 4)]
    assert len(generated) == 32
    own = replace(few, basis=replace(few.basis, names=plan.names))
    both, alone = load_people(plan, few, folder), made(studio=own)
    assert torch.equal(both.face_embeddings, alone.face_embeddings)
    assert torch.equal(both.framings, alone.framings)


def test_calibration_of_generated_faces(few, generated, made):
    faces = made()
    result = fit_calibration(faces, few)
    assert result.face_embeddings.shape == (12, 512) and result.face_embeddings[1].norm() == 0
    assert (result.names, result.recogniser) == (NAMES, few.faces.id)
    assert (result.basis_id, result.framing) == (few.basis.id, Framing(2.0, 0.5, 0.5))
    assert result.up.shape == (few.basis.k * few.basis.p, len(result.down))


def test_who_is_held_out_is_known_but_not_learned_from(few, generated, made):
    embeddings = torch.randn(12, 512, generator=torch.Generator().manual_seed(0))
    faces = replace(made(), face_embeddings=torch.nn.functional.normalize(embeddings))
    result, whole = fit_calibration(faces, few, [NAMES[2]]), fit_calibration(faces, few)
    changed = faces.face_embeddings.clone()
    changed[2] = -changed[2]
    other = fit_calibration(replace(faces, face_embeddings=changed), few, [NAMES[2]])
    for part in ("down", "up", "bias", "directions"):
        assert torch.equal(getattr(result, part), getattr(other, part))
    assert not torch.equal(result.up @ result.down, whole.up @ whole.down)
    assert torch.equal(result.face_embeddings, faces.face_embeddings[:12])


def test_images_are_really_generated(few, made):
    two = replace(few, basis=replace(few.basis, names=NAMES[:2]))
    assert made(studio=two).face_embeddings.shape == (2, 512)


def test_ridge_is_the_textbook_solution():
    x, y = torch.randn(30, 6).double(), torch.randn(30, 3).double()
    weight, bias, lam = ridge(x, y)
    xc, yc = x - x.mean(0), y - y.mean(0)
    expected = torch.linalg.solve(xc.T @ xc + lam * torch.eye(6).double(), xc.T @ yc).T
    assert torch.allclose(weight, expected, atol=1e-10)
    assert torch.allclose(x.mean(0) @ weight.T + bias, y.mean(0))


def test_lambda_has_the_least_leave_one_out_error():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, 10, generator=generator).double()
    truth = torch.randn(10, 2, generator=generator).double()
    y = x @ truth + 3 * torch.randn(24, 2, generator=generator).double()
    _, _, lam = ridge(x, y)

    def left_out(value: float) -> float:
        error = 0.0
        for i in range(24):
            rest = torch.arange(24) != i
            xm, ym = x[rest].mean(0), y[rest].mean(0)
            xc, yc = x[rest] - xm, y[rest] - ym
            w = torch.linalg.solve(xc.T @ xc + value * torch.eye(10).double(), xc.T @ yc)
            error += float(((x[i] - xm) @ w + ym - y[i]).square().sum())
        return error

    assert left_out(lam) < left_out(lam / 5) and left_out(lam) < left_out(lam * 5)


def test_short_prompts_give_the_hidden_states_of_padded_ones(basis, models):
    embeddings = compose(basis, torch.ones(1, basis.k, basis.p))
    prompt = parse_prompt("a photo of <x>", {"x": embeddings[0]})
    full = encode_prompt(prompt, basis, models).hidden_states[0]
    short = encode_people(embeddings, models)[0].unflatten(0, (-1, full.shape[1]))
    first = next(i for i in range(len(full)) if torch.allclose(full[i], short[0], atol=1e-5))
    assert torch.allclose(short[:-1], full[first : first + len(short) - 1], atol=1e-5)


@pytest.fixture(scope="module")
def known(basis, models):
    """People whose faces are a linear function of their hidden states."""
    generator = torch.Generator().manual_seed(2)
    coefficients = torch.randn(160, basis.k, basis.p, generator=generator)
    states = encode_people(compose(basis, coefficients), models)
    mixing = torch.randn(states.shape[1], 512, generator=generator)
    return torch.nn.functional.normalize((states - states.mean(0)) @ mixing, dim=1), coefficients


@pytest.fixture(scope="module")
def fitted(known, basis, models, calibration):
    faces, coefficients = known
    down, up, bias, directions = fit_initialisation(faces[:120], coefficients[:120], basis, models)
    return replace(calibration, down=down, up=up, bias=bias, directions=directions)


def test_new_people_get_the_hidden_states_of_such_a_face(known, fitted, basis, models):
    faces, truth = (part[120:] for part in known)
    found = initial_coefficients(faces, fitted, basis)
    assert found.shape == truth.shape
    states, wanted = (encode_people(compose(basis, c), models) for c in (found, truth))
    nearest = torch.cdist(states, wanted).argmin(1)
    assert (nearest == torch.arange(len(faces))).float().mean() >= 0.8


def test_faces_are_reduced_to_principal_components_of_the_prediction(known, fitted):
    faces = known[0][:120]
    z = (faces - faces.mean(0)) @ fitted.down.T
    covariance = z.T @ z
    variances = covariance.diagonal()
    assert (variances.diff() <= 0).all() and len(variances) > 10
    scale = (variances[:, None] * variances).sqrt()
    correlations = (covariance / scale)[:10, :10]
    assert torch.allclose(correlations, torch.eye(10), atol=1e-2)


def test_directions_change_what_hidden_states_tell_of_faces_most(known, fitted, basis, models):
    """More than as large a step of random coefficients does; the first ones, much more."""
    faces, coefficients = known
    weight, _, _ = ridge(encode_people(compose(basis, coefficients), models), faces)

    def change(steps):  # (n, k * p) -> how much the predicted faces change (n,)
        moved = steps.unflatten(1, (basis.k, basis.p)) / 10
        told = encode_people(compose(basis, torch.cat([moved, -moved])), models) @ weight.T
        return (told[: len(steps)] - told[len(steps) :]).norm(dim=1)

    along = fitted.directions.T
    assert along.shape == (DIRECTIONS, basis.k * basis.p)
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(along.shape, generator=generator)
    random *= along.norm(dim=1, keepdim=True) / random.norm(dim=1, keepdim=True)
    ours, others = change(along), change(random)
    assert ours.mean() > others.mean() and ours[:24].mean() > 1.5 * others[:24].mean()


def test_the_model_stays_as_it_was(known, basis, models):
    (encoder,) = models.encoders
    before = [weight.clone() for weight in encoder.model.parameters()]
    fit_initialisation(known[0][:20], known[1][:20], basis, models)
    after = list(encoder.model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(weight.grad is None for weight in after)


def test_too_few_people(known, basis, models):
    with pytest.raises(FeatureMissing, match="only 5 of .*--names FILE"):
        fit_initialisation(known[0][:5], known[1][:5], basis, models)
