from __future__ import annotations

import torch
from conftest import celebrity_names, portrait
from PIL import Image

from celeb_core import calibrate, find_face, load_calibration, save_calibration
from celeb_core import calibration as module
from celeb_core.calibration import largest
from celeb_core.types import Framing


def test_calibration_embeds_what_the_model_draws(studio, monkeypatch):
    names = celebrity_names()[:3]
    texts = []

    def draw(prompts, models, basis, config):
        texts.extend(prompt.text for prompt in prompts)
        blank = Image.new("RGB", (128, 128))
        return [blank if names[1] in prompt.text else portrait() for prompt in prompts]

    monkeypatch.setattr(module, "generate_each", draw)
    steps = list(calibrate(studio, pictures=2, names=names))
    assert [done for done, _ in steps][-1] == 3
    assert texts == [f"a photo of {name}" for name in names for _ in range(2)]
    result = steps[-1][1]
    expected = find_face(portrait(), studio.faces).embedding
    assert torch.allclose(result.face_embeddings[0], expected, atol=1e-5)
    assert result.face_embeddings[1].norm() == 0
    assert (result.names, result.recogniser) == (tuple(names), studio.faces.id)
    assert result.framing == Framing(2.0, 0.5, 0.5)


def test_calibration_really_draws(studio):
    done, result = list(calibrate(studio, names=celebrity_names()[:2]))[-1]
    assert done == 2 and result.face_embeddings.shape == (2, 512)


def test_file_round_trip_and_other_recognisers(calibration, tmp_path):
    path = tmp_path / "calibration.safetensors"
    save_calibration(calibration, path)
    assert path.stat().st_size < 1100 * len(calibration.names) + 3000
    places = [tmp_path / "none", path]
    again = load_calibration(places, calibration.recogniser)
    assert again.names == calibration.names and again.framing == calibration.framing
    assert torch.allclose(again.face_embeddings, calibration.face_embeddings, atol=1e-3)
    assert load_calibration(places, "another") is None
    path.write_bytes(b"broken")
    assert load_calibration(places, calibration.recogniser) is None


def test_largest_face(studio):
    small = find_face(portrait(), studio.faces)
    large = find_face(portrait(side=256), studio.faces)
    assert largest([small, large]) is large
