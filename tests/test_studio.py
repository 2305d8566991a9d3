from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial

import pytest
from conftest import portrait
from file_server import serving

from celeb_core import (
    SampleConfig,
    find_face,
    generate,
    load_studio,
    parse_prompt,
    save_calibration,
)
from celeb_core.errors import CalibrationUnusable, FacePackMissing
from celeb_core.studio import calibration_path, with_calibration, with_faces
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


def test_the_face_pack_is_missed_before_a_model_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("socket.socket", None)
    with pytest.raises(FacePackMissing, match="celeb-basis pack buffalo_l"):
        load_studio("owner/model", device="cpu")
    with pytest.raises(FacePackMissing, match="no face pack at .*auraface"):
        load_studio("owner/model", device="cpu", face_pack="auraface", require_faces=False)


def test_a_face_pack_comes_later(faceless, world, calibration, tmp_path):
    studio = load_studio(faceless, device="cpu", cache=tmp_path, require_faces=False)
    assert not studio.faces.ready and not studio.scorers.faces.ready
    with pytest.raises(FacePackMissing, match="celeb-basis pack buffalo_l"):
        find_face(portrait(), studio.faces)
    with pytest.raises(FacePackMissing, match="nowhere"):
        with_faces(studio, "nowhere")
    pack = shutil.copytree(world / "faces", tmp_path / "mine")
    later = with_faces(studio, pack)
    assert find_face(portrait(), later.faces) and later.scorers.faces is later.faces
    assert later.calibration is None and later.models is studio.models
    assert later.faces.note == "Tinyville knows only red squares."
    made = replace(calibration, recogniser=later.faces.id, basis_id=later.basis.id)
    save_calibration(made, calibration_path(later.models, later.faces, tmp_path))
    found = with_faces(studio, pack).calibration
    assert found is not None and found.names == calibration.names
    assert found.source.startswith(str(tmp_path))


def test_an_installed_pack_is_found(faceless, world, tmp_path):
    shutil.copytree(world / "faces", tmp_path / "home" / ".insightface" / "models" / "auraface")
    assert load_studio(faceless, device="cpu").faces.id.startswith("auraface-")


def test_a_new_calibration_frames_photos(studio, calibration, faceless, world):
    framed = replace(calibration, framing=Framing(2.5, 0.5, 0.4))
    own = with_calibration(studio, framed)
    assert own.calibration is framed and own.faces is studio.faces  # studio.json decides
    about = json.loads((faceless / "studio.json").read_text())
    del about["faces"]["framing"]
    (faceless / "studio.json").write_text(json.dumps(about))
    before = load_studio(faceless, device="cpu", face_pack=world / "faces")
    after = with_calibration(before, framed)
    assert before.faces.framing == Framing() and after.faces.framing == framed.framing
    assert after.scorers.faces is after.faces


def test_a_calibration_by_its_file_or_hub_id(studio, world, calibration, tmp_path, monkeypatch):
    made = replace(calibration, basis_id=studio.basis.id)
    path = tmp_path / "mine.safetensors"
    save_calibration(made, path)
    load = partial(load_studio, world, device="cpu")
    assert load(calibration=path).calibration.source == str(path)
    with serving() as server:
        server.use_as_hub(tmp_path / "hub", monkeypatch)
        server.files["calibration.safetensors"] = path.read_bytes()
        assert load(calibration="owner/calibrations").calibration.names == made.names
        server.files.clear()
        for missing in ("owner/none", "no/such/file", tmp_path / "none"):
            with pytest.raises(CalibrationUnusable, match=f"no file {missing}.*hub id"):
                load(calibration=missing)
    for change, wrong in (
        ({"recogniser": "other"}, "another recogniser"),
        ({"basis_id": "other"}, "another celeb basis"),
    ):
        save_calibration(replace(made, **change), path)
        with pytest.raises(CalibrationUnusable, match=wrong):
            load(calibration=path)
    path.write_bytes(b"broken")
    with pytest.raises(CalibrationUnusable, match="damaged"):
        load(calibration=path)


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
