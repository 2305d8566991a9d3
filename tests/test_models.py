from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from conftest import celebrity_names

from celeb_core import basis as basis_module
from celeb_core import load_models, loading, save_basis
from celeb_core.basis import find_basis
from celeb_core.errors import FeatureMissing, ModelError, ModelNotFound
from celeb_core.models import read_about, read_names


def test_what_a_folder_says_about_itself(models):
    assert (models.id, models.title) == ("tinyville", "Tinyville")
    assert (models.width, models.height, models.steps, models.guidance_scale) == (128, 128, 2, 3.0)
    assert models.names == tuple(celebrity_names())
    assert models.note == "Tinyville on cpu: chosen with --model"
    assert models.networks == (models.unet, models.vae, models.pipeline.text_encoder)
    for network in models.networks:
        assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_a_folder_that_says_nothing(world, tmp_path):
    folder = tmp_path / "plain"
    ignored = shutil.ignore_patterns("studio.json", "names.txt")
    shutil.copytree(world, folder, ignore=ignored)
    models = load_models(folder, device="cpu")
    assert (models.id, models.title, models.names) == ("plain", "plain", ())
    assert (models.width, models.height, models.steps, models.guidance_scale) == (128, 128, 30, 7.5)


def test_auto_is_the_bundled_model_and_says_why(world, monkeypatch, tmp_path):
    shutil.copytree(world, tmp_path / "toonville")
    monkeypatch.setattr(loading, "ASSETS", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    models = load_models("auto")
    assert models.id == "toonville" and "no CUDA device" in models.note
    assert load_models("toonville").note.endswith("chosen with --model")


def test_a_hub_model_that_is_not_here(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFound, match="--model toonville"):
        load_models("nobody/nothing")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"device": "tpu"}, "no device “tpu” here"),
        ({"dtype": "int8"}, "float32, bfloat16, float16, mixed"),
        ({"memory": "lean"}, "no memory mode"),
    ],
)
def test_devices_dtypes_and_memory_modes_that_do_not_exist(option, message, world):
    with pytest.raises(ModelError, match=message):
        load_models(world, **{"device": "cpu", **option})


def test_compiled_blocks_are_captured_more_often_than_pytorch_allows_by_default(world, monkeypatch):
    """In any thread: what is set in PyTorch's configuration holds in one of them only."""
    captured, compile_ = [], torch.nn.Module.compile

    def backend(graph, inputs):
        captured.append(graph)
        return graph

    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self, **options: compile_(self, backend=backend, **options),
    )
    unet = load_models(world, device="cpu", compiled=True).unet
    block = next(m for m in unet.modules() if type(m).__name__ == "BasicTransformerBlock")
    torch.compiler.reset()

    def call() -> int:
        with torch.no_grad():
            for number in range(10):
                block.norm1.eps = 1e-5 * (1 + number)  # of which each needs a graph of its own
                block(torch.randn(1, 4, 32), encoder_hidden_states=torch.randn(1, 7, 48))
        return len(captured)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(call).result() == 10 > torch.compiler.config.recompile_limit


def test_a_pytorch_that_is_too_old_to_compile(world, monkeypatch):
    def compiled(self, *, fullgraph):
        raise AssertionError

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    with pytest.raises(ModelError, match="Compiling needs PyTorch 2.13 or later"):
        load_models(world, device="cpu", compiled=True)


def test_names_of_a_file(tmp_path):
    path = tmp_path / "names.txt"
    assert read_names(path) == ()
    path.write_text("\n Ada Lovelace \n\nZoë\nAda Lovelace\n", encoding="utf-8-sig")
    assert read_names(path) == ("Ada Lovelace", "Zoë")
    path.write_bytes("Zoë".encode("latin-1"))
    with pytest.raises(FeatureMissing, match="Save it as UTF-8"):
        read_names(path)


def test_the_shipped_basis_is_used_only_if_it_fits(models, basis, tmp_path, monkeypatch):
    monkeypatch.setattr(basis_module, "ASSETS", tmp_path)
    save_basis(basis, tmp_path / "basis.pt")
    monkeypatch.setattr(basis_module, "build_basis", None)
    assert find_basis(models).id == basis.id
    (tmp_path / "names.txt").write_text("\n".join(celebrity_names()[:20]))
    with pytest.raises(TypeError):  # it would have to be built
        find_basis(models, tmp_path / "names.txt")


@pytest.mark.parametrize("content", [b"{", b"[]", b"[" * 100_000, b"\xff"])
def test_a_damaged_description_of_a_folder_is_none(content, tmp_path, caplog):
    (tmp_path / "studio.json").write_bytes(content)
    assert read_about(tmp_path) == {} and "studio.json" in caplog.text
    assert read_about(None) == read_about(tmp_path / "missing") == {}
