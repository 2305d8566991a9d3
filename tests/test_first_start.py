"""From the id of a published layout to a page in which a person is trained and generated."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import celebrity_names, portrait
from hub import LoopbackHub, use_hub
from stable_diffusion import change_file, copy_layout, without, write_models
from ui_help import make_page, train_and_generate

from celeb_core import load_studio, loading


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return write_models(tmp_path_factory.mktemp("sd"))


@pytest.fixture
def model(request, folders, tmp_path, monkeypatch):
    """The model's name for --model, of a replica on a hub or on the disk."""
    kind, layout = request.param
    monkeypatch.setattr(loading, "CONFIGS", folders["configs"])
    with LoopbackHub() as hub:
        use_hub(hub.address, tmp_path / "hub", monkeypatch)
        if layout == "file":
            shutil.copytree(folders[kind] / "tokenizer", tmp_path / "tokenizer")
            yield str(shutil.copy(folders[f"{kind} file"], tmp_path / "tuned.safetensors"))
        elif layout == "file without a VAE":
            shutil.copytree(folders[kind] / "tokenizer", tmp_path / "tokenizer")
            hub.add(loading.VAES[loading.SD if kind == "sd1" else loading.SDXL], folders[kind])
            tuned = tmp_path / "tuned.safetensors"
            yield str(change_file(folders[f"{kind} file"], tuned, without("first_stage_model.")))
        else:
            networks = {path.parent.name for path in folders[kind].glob("*/*.safetensors")}
            half = tuple(networks) if layout == "fp16 only" else ()
            hub.add("owner/model", copy_layout(folders[kind], tmp_path / "served", half))
            yield "owner/model"


LAYOUTS = [
    ("sd2", "hub"), ("sdxl", "fp16 only"), ("sdxl", "file"), ("sd1", "file without a VAE")
]  # fmt: skip
"""Each family and each layout; that all pairs of them load is tested in `test_loading.py`."""


@pytest.mark.parametrize("model", LAYOUTS, indirect=True, ids=lambda pair: ", ".join(pair))
def test_a_person_is_trained_and_generated(model, world, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(celebrity_names()))
    pack = tmp_path / "faces"
    shutil.copytree(world / "faces", pack)
    studio = load_studio(model, device="cpu", face_pack=pack, names=names, cache=tmp_path / "made")
    page = make_page(studio, tmp_path)
    assert page.train.prepare.offered
    train_and_generate(page, portrait().resize((256, 256)))
