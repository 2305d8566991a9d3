from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from celeb_core import load_studio, save_calibration
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
