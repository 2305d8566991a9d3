from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import portrait
from test_training import frozen_weights

from celeb_core import find_face, load_calibration, save_calibration, start_coefficients
from celeb_core import refinement as module
from celeb_core.basis import compose
from celeb_core.denoising import Denoising
from celeb_core.errors import BasisMismatch, FeatureMissing
from celeb_core.presets import PRESETS
from celeb_core.refinement import RefineConfig, refine_start
from celeb_core.types import Person

CONFIG = RefineConfig(steps=6, people=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def photos(studio):
    return [find_face(portrait(shade), studio.faces) for shade in range(255, 175, -4)]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(module, "FEWEST_PHOTOS", 20)


def refined(calibration, photos, models, basis, config=CONFIG):
    *_, last = refine_start(calibration, photos, models, basis, config)
    return last.result()


def test_photos_are_said_better_than_at_the_start(calibration, photos, models, basis):
    """On fixed noise and views."""
    people = [Person(f"{i}", (face,)) for i, face in enumerate(photos)]
    probe = Denoising(people, models, replace(PRESETS["best"], smallest=1.0))
    views = [probe.encode(i, 4, 0) for i in range(len(people))]
    latents, heads = (torch.stack(part) for part in zip(*views, strict=True))
    faces = torch.stack([face.embedding for face in photos])

    def loss(start) -> float:
        probe.generator.manual_seed(5)
        words = compose(basis, start_coefficients(faces, start, basis))
        with torch.no_grad():
            return probe.losses(words, latents, heads).mean().item()

    longer = replace(CONFIG, steps=30, people=10)
    assert loss(refined(calibration, photos, models, basis, longer)) < loss(calibration)


def test_only_the_map_changes(calibration, photos, models, basis):
    before = frozen_weights(models)
    result = refined(calibration, photos, models, basis)
    assert all(torch.equal(a, b) for a, b in zip(before, frozen_weights(models), strict=True))
    same = ("names", "face_embeddings", "basis_id", "base_model", "recogniser", "framing")
    assert all(getattr(result, name) is getattr(calibration, name) for name in same)
    faces = torch.stack([face.embedding for face in photos])
    starts = [start_coefficients(faces, one, basis) for one in (calibration, result)]
    assert not torch.allclose(*starts, atol=1e-3)


def test_same_seed_same_map(calibration, photos, models, basis):
    a, b, other = (
        refined(calibration, photos, models, basis, replace(CONFIG, seed=seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(a.up, b.up) and torch.equal(a.bias, b.bias)
    assert not torch.equal(a.bias, other.bias)


def test_map_is_stored_whole(calibration, photos, models, basis, tmp_path):
    result = refined(calibration, photos, models, basis)
    assert len(result.down) <= module.RANK
    save_calibration(result, tmp_path / "c.safetensors")
    again = load_calibration([tmp_path / "c.safetensors"], calibration.recogniser, basis.id)
    faces = torch.stack([face.embedding for face in photos])
    starts = [start_coefficients(faces, one, basis) for one in (result, again)]
    assert torch.allclose(*starts, atol=2e-2)


def test_what_is_too_little_or_does_not_fit(calibration, photos, models, basis):
    with pytest.raises(FeatureMissing, match="19 photos .* 20 are"):
        next(refine_start(calibration, photos[:19], models, basis))
    with pytest.raises(BasisMismatch, match="calibration"):
        next(refine_start(replace(calibration, basis_id="b"), photos, models, basis))


def test_command(world, calibration, tmp_path, monkeypatch, capsys):
    from celeb_core import load_studio
    from celeb_core.__main__ import main

    monkeypatch.chdir(tmp_path)
    studio = load_studio(world, device="cpu")
    own = replace(calibration, basis_id=studio.basis.id)
    model = ("--model", str(world), "--out", "c.safetensors")
    (tmp_path / "photos").mkdir()
    for i, shade in enumerate(range(255, 175, -4)):
        portrait(shade).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    assert main(["refine", "photos", *model]) == 1
    assert "celeb_core calibrate" in capsys.readouterr().err
    place = world / "calibration.safetensors"
    save_calibration(own, place)
    try:
        assert main(["refine", "nowhere", *model]) == 1
        assert "nowhere is no folder" in capsys.readouterr().err
        assert main(["refine", "photos", "--steps", "2", "--people", "3", *model]) == 0
    finally:
        place.unlink()
    said = capsys.readouterr()
    assert "refined with 20 photos" in said.out and "notes.txt" in said.out + said.err
    assert (tmp_path / "c.safetensors").is_file()
