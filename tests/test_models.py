from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import celebrity_names

from celeb_core import load_models, load_studio, save_basis, save_calibration
from celeb_core import models as module
from celeb_core.errors import FacePackMissing, FeatureMissing, ModelNotFound, ModelUnsupported
from celeb_core.models import find_basis
from celeb_core.types import Framing


def test_what_a_folder_says_about_itself(models):
    assert (models.id, models.title) == ("tinyville", "Tinyville")
    assert (models.width, models.height, models.steps, models.guidance) == (128, 128, 2, 3.0)
    assert models.names == tuple(celebrity_names())
    assert "Tinyville on cpu" in models.note
    for part in (models.text_encoder, models.unet, models.vae):
        assert not part.training and not any(p.requires_grad for p in part.parameters())


def test_optional_files_turn_features_on(studio, measured_world):
    assert studio.examiners.judge is None and studio.examiners.clip is None
    full = load_studio(measured_world, device="cpu").examiners
    assert full.judge and full.reader and full.clip


def test_auto_takes_the_bundled_model_and_says_why(world, monkeypatch, tmp_path):
    shutil.copytree(world, tmp_path / "toonville")
    monkeypatch.setattr("celeb_core.places.ASSETS", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    models = load_models("auto")
    assert models.id == "toonville" and "no CUDA device" in models.note
    assert load_models("toonville").note.endswith("chosen with --model")


@pytest.mark.parametrize("name", ["nonsense", "./missing", "a/b/c"])
def test_no_such_model(name):
    with pytest.raises(ModelNotFound, match="toonville"):
        load_models(name)


def test_missing_hub_models_say_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFound, match="--model toonville"):
        load_models("nobody/nothing")


def test_wrong_kinds_of_models(tmp_path):
    with pytest.raises(ModelNotFound, match="model_index.json"):
        load_models(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ModelUnsupported, match="FluxPipeline.*StableDiffusionPipeline"):
        load_models(tmp_path)


def test_basis_is_built_once_and_kept(models, tmp_path, monkeypatch):
    first = find_basis(models, cache=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"basis-{first.id}.pt"]
    monkeypatch.setattr(module, "build_basis", None)
    again = find_basis(models, cache=tmp_path)
    assert again.id == first.id and torch.equal(again.components, first.components)


def test_shipped_basis_is_used_only_if_it_fits(models, basis, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ASSETS", tmp_path)
    save_basis(basis, tmp_path / "basis.pt")
    monkeypatch.setattr(module, "build_basis", None)
    assert find_basis(models).id == basis.id
    (tmp_path / "names.txt").write_text("\n".join(celebrity_names()[:20]))
    with pytest.raises(TypeError):  # it would have to be built
        find_basis(models, tmp_path / "names.txt")


def test_own_list_of_names(models, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n\n".join(celebrity_names()[:20] * 2))
    assert find_basis(models, path).names == tuple(celebrity_names()[:20])
    with pytest.raises(FeatureMissing, match="--names"):
        find_basis(models, tmp_path / "none.txt")


def test_photos_are_framed_as_the_calibration_saw_portraits(world, calibration, tmp_path):
    folder = tmp_path / "tinyville"
    shutil.copytree(world, folder)
    shown = replace(calibration, framing=Framing(2.5, 0.5, 0.4))
    save_calibration(shown, folder / "calibration.safetensors")
    assert load_studio(folder, device="cpu").faces.framing.side == 2.0  # studio.json decides
    about = json.loads((folder / "studio.json").read_text())
    del about["faces"]["framing"]
    (folder / "studio.json").write_text(json.dumps(about))
    studio = load_studio(folder, device="cpu")
    assert studio.faces.framing == Framing(2.5, 0.5, 0.4)
    assert studio.calibration is not None and studio.calibration.names == calibration.names


def test_unknown_face_pack(world):
    with pytest.raises(FacePackMissing):
        load_studio(world, device="cpu", face_pack="no-such-pack")


def test_importing_the_library_loads_nothing_heavy():
    code = (
        "import sys, celeb_core; "
        "heavy = {'gradio', 'diffusers', 'transformers', 'insightface', 'onnxruntime'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_exported_names_are_there_and_sorted():
    import celeb_core

    assert all(hasattr(celeb_core, name) for name in celeb_core.__all__)
    assert len(set(celeb_core.__all__)) == len(celeb_core.__all__)
