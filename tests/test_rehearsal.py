from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import portrait
from PIL import Image
from test_training import frozen_weights

from celeb_core import find_face, load_calibration, save_calibration
from celeb_core import rehearsal as module
from celeb_core.basis import compose
from celeb_core.errors import FeatureMissing
from celeb_core.presets import PRESETS
from celeb_core.rehearsal import SPREAD, fit_correction, rehearse
from celeb_core.start import start_coefficients
from celeb_core.types import Identity


def test_correction_undoes_what_all_trainings_do():
    """Found is twice the first coordinate, less of the second, all moved, and some noise."""
    generator = torch.Generator().manual_seed(0)
    meant = torch.randn(200, 3, generator=generator)
    noise = torch.randn(meant.shape, generator=generator)
    found = meant * torch.tensor([2.0, 0.5, 1.0]) + torch.tensor([0.3, 0.0, -1.0]) + 0.1 * noise
    correction = fit_correction(found, meant)
    again = found + found @ correction[:, :3].T + correction[:, 3]
    assert (again - meant).square().mean() < 0.1 * (found - meant).square().mean()


@pytest.fixture
def photos(studio):
    return [find_face(portrait(shade), studio.faces) for shade in range(255, 175, -8)]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(module, "FEWEST_PEOPLE", 8)
    monkeypatch.setitem(PRESETS, "best", replace(PRESETS["best"], steps=2, views=2, batch_size=2))


def test_what_is_too_loud_is_turned_down(studio, basis, calibration, photos, monkeypatch):
    """Trainings that find 1.5 times what was meant; the third picture has no face."""
    generator = torch.Generator().manual_seed(0)
    faces = torch.nn.functional.normalize(torch.randn(30, 512, generator=generator), dim=1)
    people = [replace(photos[0], embedding=face) for face in faces]
    # directions that are all that the map moves
    known = replace(
        calibration,
        directions=torch.linalg.qr(calibration.up)[0],
        correction=torch.ones(5, 6),
    )
    start = start_coefficients(faces, known, basis)
    meant = start.mean(0) + SPREAD * (start - start.mean(0))
    asked = []

    def draw(prompt, models, basis, config):
        words = compose(basis, meant[len(asked)][None])[0]
        assert torch.allclose(prompt.identities["x"], words, atol=1e-3)
        asked.append(prompt)
        return [Image.new("RGB", (128, 128)) if len(asked) == 3 else portrait()]

    def train(people, models, basis, config, calibration):
        assert not calibration.correction.any() and config.preset == "best"
        return {"x": Identity("x", 1.5 * meant[len(asked) - 1], basis.id)}

    monkeypatch.setattr(module, "generate", draw)
    monkeypatch.setattr(module, "fit", train)
    steps = list(rehearse(known, people, studio))
    assert [step.people for step in steps] == [1, 2, 2, *range(3, 30)]
    correction = steps[-1].result().correction
    assert torch.allclose(correction[:, :5], -torch.eye(5) / 3, atol=0.05)
    asked.clear()
    with pytest.raises(FeatureMissing, match="1 people .* 8 are"):
        next(rehearse(known, people, studio)).result()


def test_nothing_but_the_correction_changes(studio, calibration, photos, monkeypatch):
    monkeypatch.setattr(module, "generate", lambda *_: [portrait()])
    before = frozen_weights(studio.models)
    *_, last = rehearse(calibration, photos, studio)
    after = last.result()
    assert after.correction.shape == (4, 5) and after.correction.isfinite().all()
    assert all(getattr(after, n) is getattr(calibration, n) for n in ("down", "up", "directions"))
    assert all(
        torch.equal(a, b) for a, b in zip(before, frozen_weights(studio.models), strict=True)
    )


def test_too_few_photos(studio, calibration, photos):
    with pytest.raises(FeatureMissing, match="7 photos .* 8 are"):
        next(rehearse(calibration, photos[:7], studio))


def test_command(world, calibration, tmp_path, monkeypatch, capsys):
    from celeb_core import load_studio
    from celeb_core.__main__ import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "generate", lambda *_: [portrait()])
    studio = load_studio(world, device="cpu")
    own = replace(calibration, basis_id=studio.basis.id)
    (tmp_path / "photos").mkdir()
    for i, shade in enumerate(range(255, 175, -8)):
        portrait(shade).save(tmp_path / "photos" / f"{i}.png")
    arguments = ("rehearse", "photos", "--model", str(world), "--out", "c.safetensors")
    assert main(list(arguments)) == 1
    assert "celeb_core calibrate" in capsys.readouterr().err
    place = world / "calibration.safetensors"
    save_calibration(own, place)
    try:
        assert main([*arguments, "--people", "9"]) == 0
    finally:
        place.unlink()
    assert "corrected with 9 people" in capsys.readouterr().out
    again = load_calibration([tmp_path / "c.safetensors"], own.recogniser, own.basis_id)
    assert again.correction.shape == (4, 5)
