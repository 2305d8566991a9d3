from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from conftest import portrait

from bench import paper_ablation as module
from celeb_core import load_studio
from celeb_core.basis import person_embeddings
from celeb_core.evaluation.data import load_evaluation_set
from celeb_core.types import PRESETS


@pytest.fixture(scope="module")
def measured(measured_world):
    return load_studio(measured_world, device="cpu")


def test_every_variant_changes_the_preset(measured):
    configs = [PRESETS["paper"].changed(**changes) for changes in module.VARIANTS.values()]
    assert len({str(config) for config in configs}) == len(module.VARIANTS)
    assert configs[0] == PRESETS["paper"]


def test_people_are_trained_and_scored(measured):
    data = load_evaluation_set(measured, 0, 2)
    result = module.measure(measured, data, {"norm": "free"}, steps=2)
    assert set(result) == {"identity", "found", "norm", "seconds"}
    unit = module.measure(measured, data, {}, steps=2)
    assert unit["norm"] > result["norm"] > 0 and unit["seconds"] > 0


def test_celebrities_are_moved_to_unit_norm(measured, monkeypatch):
    data, drawn = load_evaluation_set(measured, 0, 2), []
    monkeypatch.setattr(
        module, "score_portraits", lambda studio, data, people, _: drawn.append(people) or {}
    )
    own, unit = (module.measure_celebrities(measured, data, unit) for unit in (False, True))
    (own_people, unit_people), mean = drawn, measured.basis.mean
    for name, celebrity in zip(own_people, data.celebrities, strict=True):
        offset = own_people[name] - mean
        assert torch.equal(
            own_people[name], person_embeddings(celebrity, measured.basis, measured.models)
        )
        moved = unit_people[name] - mean
        assert torch.allclose(moved.norm(dim=1), torch.ones(2), atol=1e-5)
        assert torch.cosine_similarity(moved, offset).min() > 0.9999
    assert own["norm"] != unit["norm"]


def test_an_image_without_a_face_counts_as_zero(measured, monkeypatch):
    data = load_evaluation_set(measured, 0, 1)
    (index,) = data.index
    images = [portrait(255 - 4 * index), portrait(100)]  # the person; too dark to be a face
    monkeypatch.setattr(module, "generate_each", lambda *_: images)
    people = {"ada": measured.basis.mean}
    result = module.score_portraits(measured, data, people, data.gallery[data.index])
    assert result["found"] == 0.5 and result["identity"] == pytest.approx(0.5, abs=1e-3)


def test_jitter_changes_embeddings_and_flips_alone_do_not(measured, monkeypatch):
    data = load_evaluation_set(measured, 0, 2)
    jittered = module.jittered_embeddings(measured, data, count=4)
    assert -1 <= jittered["least"] < jittered["mean"] < 0.9999
    still = PRESETS["paper"].changed(colour_jitter=0.0)
    monkeypatch.setattr(module, "PRESETS", {"paper": still})
    assert module.jittered_embeddings(measured, data, count=4)["least"] > 0.9999


def test_repeated_rows_move_the_mean(measured):
    once = module.describe_basis(measured)
    names = measured.basis.names + measured.basis.names[:5]
    found = module.describe_basis(replace(measured, basis=replace(measured.basis, names=names)))
    assert found["distinct"] == once["distinct"]
    assert found["rows"] == [rows + 5 for rows in once["rows"]]
    assert all(a > b for a, b in zip(found["shift"], once["shift"], strict=True))
    assert min(found["distance"]) > max(found["shift"])


def test_command(world, measured_world, monkeypatch, capsys):
    command = ["prog", "--people", "1", "--steps", "1", "--variants", "paper", "no norm"]
    monkeypatch.setattr(sys, "argv", [*command, "--model", str(measured_world)])
    assert module.main() == 0
    lines = capsys.readouterr().out.splitlines()
    labels = ["celebrities, two embeddings", "the same, unit norm", "paper", "no norm"]
    assert [line[:30].strip() for line in lines[-4:]] == labels
    monkeypatch.setattr(sys, "argv", [*command, "--model", str(world)])
    assert module.main() == 1
    assert "no evaluation set" in capsys.readouterr().err


def test_the_signal_of_a_known_gradient(measured, monkeypatch):
    """A loss whose gradients point to the celebrity, of any length."""
    data = load_evaluation_set(measured, 0, 2)
    mean, ways, names = measured.basis.mean, [], iter(data.celebrities)

    def generated(*_):
        ways.append(person_embeddings(next(names), measured.basis, measured.models) - mean)
        return [portrait()]

    def backward(loss, embeddings, latents, masks):
        assert torch.equal(embeddings[0], mean) and latents.shape[:2] == (1, 2)
        size = 1.0 + float(torch.rand((), generator=loss.generator))
        (-(size * ways[-1] * embeddings[0])).sum().backward()

    monkeypatch.setattr(module, "generate_each", generated)
    monkeypatch.setattr(module.DenoisingLoss, "backward", backward)
    found = module.measure_signal(measured, data, {}, steps=8)
    assert found["cosine"] == pytest.approx(1, abs=1e-5) and found["signal"] > 2


def test_command_for_the_signal(measured_world, monkeypatch, capsys):
    monkeypatch.setattr(module, "measure_signal", lambda *_: {"cosine": 0.25, "signal": -0.5})
    command = ["prog", "--signal", "--model", str(measured_world), "--variants", "mask", "no norm"]
    monkeypatch.setattr(sys, "argv", command)
    assert module.main() == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["mask", "0.250", "-0.500"]
