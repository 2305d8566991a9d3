from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from conftest import initial_coefficients, portrait
from PIL import Image

from bench import guidance_correction as module
from bench.guidance_correction import SPREAD, fit_correction, learn, learn_correction
from celeb_core import find_face, load_calibration, save_calibration
from celeb_core.basis import compose
from celeb_core.errors import FeatureMissing
from celeb_core.types import PRESETS, Identity

SHADES = range(255, 175, -8)


def test_correction_undoes_what_all_trainings_do():
    """Found is twice the first coordinate, less of the second, all moved, and some noise."""
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(200, 3, generator=generator)
    noise = torch.randn(true.shape, generator=generator)
    found = true * torch.tensor([2.0, 0.5, 1.0]) + torch.tensor([0.3, 0.0, -1.0]) + 0.1 * noise
    correction = fit_correction(found, true)
    again = found + found @ correction[:, :3].T + correction[:, 3]
    assert (again - true).square().mean() < 0.1 * (found - true).square().mean()


@pytest.fixture
def faces(studio):
    photos = [find_face(portrait(shade), studio.faces) for shade in SHADES]
    return torch.stack([face.embedding for face in photos])


@pytest.fixture(autouse=True)
def few(monkeypatch):
    quick = PRESETS["best"].changed(steps=2, views=2, batch_size=2)
    monkeypatch.setattr(module, "MIN_PEOPLE", 8)
    monkeypatch.setitem(PRESETS, "best", quick)


@pytest.fixture
def portraits(monkeypatch):
    """Portraits instead of generated images."""
    monkeypatch.setattr(module, "generate", lambda *_: [portrait()])


def test_trainings_that_find_too_much_are_turned_down(studio, basis, calibration, monkeypatch):
    """They find 1.5 times the true coefficients; the third image has no face."""
    generator = torch.Generator().manual_seed(0)
    faces = torch.nn.functional.normalize(torch.randn(30, 512, generator=generator), dim=1)
    # directions that are all that the map moves
    known = replace(
        calibration,
        directions=torch.linalg.qr(calibration.up)[0],
        correction=torch.ones(5, 6),
    )
    initial = initial_coefficients(faces, known, basis)
    true = initial.mean(0) + SPREAD * (initial - initial.mean(0))
    prompts = []

    def generate(prompt, models, basis, config):
        expected = compose(basis, true[len(prompts)])
        assert torch.allclose(prompt.identities["x"], expected, atol=1e-3)
        prompts.append(prompt)
        return [Image.new("RGB", (128, 128)) if len(prompts) == 3 else portrait()]

    def fit(people, models, basis, config, calibration):
        assert not calibration.correction.any() and config.preset == "best"
        return {"x": Identity("x", 1.5 * true[len(prompts) - 1], basis.id)}

    monkeypatch.setattr(module, "generate", generate)
    monkeypatch.setattr(module, "fit", fit)
    steps = list(learn_correction(known, faces, studio))
    assert [step.people for step in steps] == [1, 2, 2, *range(3, 30)]
    correction = steps[-1].result().correction
    assert torch.allclose(correction[:, :5], -torch.eye(5) / 3, atol=0.05)
    prompts.clear()
    with pytest.raises(FeatureMissing, match="1 people .* 8 are"):
        next(learn_correction(known, faces, studio)).result()


def test_nothing_but_the_correction_changes(studio, calibration, faces, portraits):
    def weights() -> list[torch.Tensor]:
        networks = studio.models.networks
        return [t.clone() for network in networks for t in network.state_dict().values()]

    before = weights()
    *_, last = learn_correction(calibration, faces, studio)
    after = last.result()
    assert after.correction.shape == (4, 5) and after.correction.isfinite().all()
    assert all(getattr(after, n) is getattr(calibration, n) for n in ("down", "up", "directions"))
    assert all(torch.equal(a, b) for a, b in zip(before, weights(), strict=True))


def test_too_few_photos(studio, calibration, faces):
    with pytest.raises(FeatureMissing, match="7 photos .* 8 are"):
        next(learn_correction(calibration, faces[:7], studio))


@pytest.fixture
def folder(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i, shade in enumerate(SHADES):
        portrait(shade).save(photos / f"{i}.png")
    return photos


def test_the_result_is_stored_as_it_goes(
    studio, calibration, folder, portraits, monkeypatch, capsys
):
    own = replace(studio, calibration=replace(calibration, basis_id=studio.basis.id))
    (folder / "0 notes.txt").write_text("no photo")
    stored = []
    monkeypatch.setattr(module, "save_calibration", lambda result, path: stored.append(path))
    assert learn(folder, own, 9, 0, folder / "c") == 9
    assert len(stored) >= 2  # after the eighth person and after the ninth
    assert "left out: 0 notes.txt" in capsys.readouterr().err


def test_command(world, studio, calibration, folder, portraits, tmp_path, monkeypatch, capsys):
    out = tmp_path / "c.safetensors"
    arguments = ["prog", str(folder), "--model", str(world), "--people", "9", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--cache", str(tmp_path / "cache")])
    assert module.main() == 1
    assert "celeb-basis prepare" in capsys.readouterr().err
    own = replace(calibration, basis_id=studio.basis.id)
    beside = world / "calibration.safetensors"
    save_calibration(own, beside)
    try:
        assert module.main() == 0
        assert "corrected with 9 people" in capsys.readouterr().out
        monkeypatch.setattr(sys, "argv", ["prog", "nowhere", "--model", str(world)])
        assert module.main() == 1
        assert "nowhere is no folder" in capsys.readouterr().err
    finally:
        beside.unlink()
    again = load_calibration([out], own.recogniser, own.basis_id)
    assert again.correction.shape == (4, 5)
