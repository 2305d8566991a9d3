from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from celeb_core import SampleConfig, generate, load_studio, parse_prompt, save_calibration
from celeb_core.errors import FacePackMissing
from celeb_core.types import Framing


def test_optional_files_turn_features_on(studio, measured_world):
    assert studio.scorers.judge is None and studio.scorers.clip is None
    full = load_studio(measured_world, device="cpu").scorers
    assert full.judge and full.reader and full.clip


def test_photos_are_framed_like_the_portraits_of_the_calibration(world, calibration, tmp_path):
    folder = tmp_path / "tinyville"
    shutil.copytree(world, folder)
    framed = replace(calibration, framing=Framing(2.5, 0.5, 0.4))
    save_calibration(framed, folder / "calibration.safetensors")
    assert load_studio(folder, device="cpu").faces.framing.side == 2.0  # studio.json decides
    about = json.loads((folder / "studio.json").read_text())
    del about["faces"]["framing"]
    (folder / "studio.json").write_text(json.dumps(about))
    studio = load_studio(folder, device="cpu")
    assert studio.faces.framing == Framing(2.5, 0.5, 0.4)
    assert studio.calibration is not None and studio.calibration.names == calibration.names


def test_an_unknown_face_pack(world):
    with pytest.raises(FacePackMissing, match="no-such-pack"):
        load_studio(world, device="cpu", face_pack="no-such-pack")


def test_a_tiny_vae_decodes_images_and_another_one_replaces_the_models(world, tiny_vae):
    plain, tiny, other = (
        load_studio(world, device="cpu", vae=vae) for vae in (None, str(tiny_vae), str(world))
    )
    kinds = [type(studio.models.vae).__name__ for studio in (plain, tiny, other)]
    assert kinds == ["AutoencoderKL"] * 3  # photos are encoded by it
    assert type(tiny.models.tiny_vae).__name__ == "AutoencoderTiny"
    prompt = parse_prompt("a hat", {})
    images = [
        generate(prompt, studio.models, studio.basis, SampleConfig(steps=1))[0].tobytes()
        for studio in (plain, tiny, other)
    ]
    assert images[0] == images[2] != images[1]
