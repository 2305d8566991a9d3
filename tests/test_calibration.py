from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import celebrity_names, portrait
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from celeb_core import calibration as module
from celeb_core import (
    calibration_of,
    compose,
    find_face,
    load_calibration,
    look_at_people,
    project,
    save_calibration,
)
from celeb_core.basis import words_of
from celeb_core.calibration import largest, load_sightings, save_sightings
from celeb_core.errors import BasisMismatch
from celeb_core.types import Framing

NAMES = celebrity_names()[:12]


@pytest.fixture
def easel(monkeypatch):
    """Draws portraits without the model, nobody for the second name, and keeps the prompts."""
    asked = []

    def draw(prompts, models, basis, config):
        asked.extend(prompts)
        blank = Image.new("RGB", (128, 128))
        return [blank if NAMES[1] in prompt.text else portrait() for prompt in prompts]

    monkeypatch.setattr(module, "generate_each", draw)
    return asked


def last(rows):
    *_, sightings = rows
    return sightings


def test_celebrities_by_name_then_mixtures_of_two(studio, easel):
    basis = studio.basis
    rows = last(look_at_people(studio, mixtures=5, names=NAMES))
    assert [prompt.text for prompt in easel[:12]] == [f"a photo of {name}" for name in NAMES]
    assert rows.planned == len(rows.coefficients) == len(easel) == 17
    ends = torch.stack([project(basis, words_of(n, basis, studio.models)) for n in NAMES])
    assert torch.allclose(rows.coefficients[:12], ends, atol=1e-5)
    for mixture, prompt in zip(rows.coefficients[12:], easel[12:], strict=True):
        near = torch.cdist(mixture.flatten()[None], ends.flatten(1))[0].topk(2, largest=False)
        a, b = (ends[i].flatten() for i in near.indices)
        lam = (mixture.flatten() - b) @ (a - b) / (a - b).square().sum()
        assert 0 <= lam <= 1
        assert torch.allclose(lam * a + (1 - lam) * b, mixture.flatten(), atol=1e-3)
        assert torch.allclose(prompt.identities["x"], compose(basis, mixture), atol=1e-5)


def test_faces_are_embedded_and_missing_ones_said(studio, easel):
    rows = last(look_at_people(studio, mixtures=0, names=NAMES))
    expected = find_face(portrait(), studio.faces).embedding
    assert torch.allclose(rows.face_embeddings[0], expected, atol=1e-5)
    assert rows.seen.tolist() == [True, False] + [True] * 10


def test_stopped_run_goes_on_and_another_one_does_not(studio, easel, tmp_path):
    whole = last(look_at_people(studio, mixtures=4, names=NAMES))
    first = next(look_at_people(studio, mixtures=4, names=NAMES))
    save_sightings(first, tmp_path / "rows")
    easel.clear()
    again = last(look_at_people(studio, 4, names=NAMES, so_far=load_sightings(tmp_path / "rows")))
    assert len(easel) == 8 and torch.allclose(again.coefficients, whole.coefficients, atol=1e-2)
    easel.clear()
    last(look_at_people(studio, 4, seed=9, names=NAMES, so_far=first))
    assert len(easel) == 16


def test_calibration_of_rows(studio, easel):
    rows = last(look_at_people(studio, mixtures=8, names=NAMES))
    result = calibration_of(rows, studio)
    assert result.face_embeddings.shape == (12, 512) and result.face_embeddings[1].norm() == 0
    assert (result.names, result.recogniser) == (tuple(NAMES), studio.faces.id)
    assert (result.basis_id, result.framing) == (studio.basis.id, Framing(2.0, 0.5, 0.5))
    assert result.up.shape == (studio.basis.k * studio.basis.p, len(result.down))


def test_start_can_be_kept(studio, easel, calibration):
    rows = last(look_at_people(studio, mixtures=8, names=NAMES))
    start = replace(calibration, basis_id=studio.basis.id, correction=torch.ones(4, 5))
    new, result = calibration_of(rows, studio), calibration_of(rows, studio, start)
    for part in ("down", "up", "bias"):
        assert torch.equal(getattr(result, part), getattr(start, part))
    for part in ("face_embeddings", "directions", "correction"):
        assert torch.equal(getattr(result, part), getattr(new, part))
    with pytest.raises(BasisMismatch, match="calibration"):
        calibration_of(rows, studio, replace(start, basis_id="another"))


def test_calibration_really_draws(studio):
    rows = last(look_at_people(studio, mixtures=1, names=NAMES[:2]))
    assert rows.face_embeddings.shape == (3, 512)


def test_file_round_trip_and_what_does_not_fit(calibration, tmp_path, caplog):
    path = tmp_path / "calibration.safetensors"
    save_calibration(calibration, path)
    places = [tmp_path / "none", path]
    fits = (calibration.recogniser, calibration.basis_id)
    again = load_calibration(places, *fits)
    assert again.names == calibration.names and again.framing == calibration.framing
    for part in ("face_embeddings", "down", "up", "bias"):
        assert torch.allclose(getattr(again, part), getattr(calibration, part), atol=4e-3)
    assert load_calibration(places, "another", fits[1]) is None
    assert "another recogniser" in caplog.text
    assert load_calibration(places, fits[0], "another") is None
    assert "another celeb basis" in caplog.text
    path.write_bytes(b"broken")
    assert load_calibration(places, *fits) is None


def test_correction_is_kept(calibration, tmp_path):
    correction = torch.arange(20.0).reshape(4, 5) / 16
    save_calibration(replace(calibration, correction=correction), tmp_path / "c")
    fits = (calibration.recogniser, calibration.basis_id)
    again = load_calibration([tmp_path / "c"], *fits)
    assert torch.equal(again.correction, correction)
    with safe_open(tmp_path / "c", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys() if name != "correction"}
        save_file(tensors, tmp_path / "before", metadata=file.metadata())
    # as it was written when there were no rehearsals
    again = load_calibration([tmp_path / "before"], *fits)
    assert torch.equal(again.correction, torch.zeros(4, 5))


def test_celebrities_cost_half_a_kilobyte_each(calibration, tmp_path):
    sizes = []
    for count in (10, 20):
        few = replace(
            calibration, face_embeddings=torch.zeros(count, 512), names=("Ada Berg",) * count
        )
        save_calibration(few, tmp_path / "c")
        sizes.append((tmp_path / "c").stat().st_size)
    assert sizes[1] - sizes[0] < 5_500


def test_largest_face(studio):
    small = find_face(portrait(), studio.faces)
    large = find_face(portrait(side=256), studio.faces)
    assert largest([small, large]) is large
