from __future__ import annotations

from collections import Counter

import pytest
import torch
from safetensors.torch import save, save_file

from celeb_core.errors import ModelNotFound, ModelUnsupported
from celeb_core.formats.checkpoint_file import UNET_IN, checkpoint_kind, read_weights

TENSORS = {"weight": torch.arange(3.0)}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.gguf", b"GGUF\x03", "quantised weights for other programs"),
        ("model.onnx", b"\x08\x07\x12\x07pytorch", "an ONNX file"),
        ("model.safetensors", b"<!DOCTYPE html><html>", "a web page"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        ("model", b"anything that is no model", "no file of weights"),
        ("model.ckpt", b"", "no file of weights"),
    ],
)
def test_files_of_other_formats_say_what_they_are(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelUnsupported, match=f"{name} is .*{message}.* Supported are"):
        read_weights(tmp_path / name, allow_pickle=True)


@pytest.mark.parametrize("suffix", ["part", "crdownload", "incomplete"])
def test_unfinished_downloads(suffix, tmp_path):
    path = tmp_path / f"model.safetensors.{suffix}"
    path.write_bytes(save(TENSORS))
    with pytest.raises(ModelNotFound, match="unfinished download"):
        read_weights(path)


@pytest.mark.parametrize("name", ["model.safetensors", "model.SAFETENSORS", "model", "model.ckpt"])
def test_safetensors_whatever_the_suffix(name, tmp_path):
    save_file(TENSORS, tmp_path / name)
    assert torch.equal(read_weights(tmp_path / name)["weight"], TENSORS["weight"])


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.bin"])
def test_pickles_whatever_the_suffix(name, zipped, tmp_path):
    path = tmp_path / name
    content = {"state_dict": {"state_dict": TENSORS | {"note": "x"}}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelUnsupported, match="is a pickle, which may run code .*--allow-pickle"):
        read_weights(path)
    with pytest.raises(ModelUnsupported, match="is a pickle"):
        read_weights(path.replace(path.with_suffix(".safetensors")))
    path.with_suffix(".safetensors").replace(path)
    assert read_weights(path, allow_pickle=True).keys() == {"weight"}
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelUnsupported, match="damaged or holds more than tensors"):
        read_weights(path, allow_pickle=True)


def test_a_safetensors_header_that_begins_like_a_pickle(tmp_path):
    """Its first byte is a length."""
    for size in range(200):
        content = save(TENSORS, {"pad": "x" * size})
        if content[0] == 0x80:
            break
    (tmp_path / "model.safetensors").write_bytes(content)
    assert content[0] == 0x80 and read_weights(tmp_path / "model.safetensors")


def test_names_of_old_merges(tmp_path):
    old, new = "cond_stage_model.transformer.", "cond_stage_model.transformer.text_model."
    name = "embeddings.position_embedding.weight"
    for prefix in (old, new, f"state_dict.{old}", f"state_dict.{new}"):
        save_file({prefix + name: torch.zeros(1)}, tmp_path / "x.safetensors")
        weights = read_weights(tmp_path / "x.safetensors")
        assert list(weights) == [new + name]
        assert checkpoint_kind(tmp_path / "x.safetensors", weights) == "sd1"


def test_damaged_files(tmp_path):
    path, whole = tmp_path / "model.safetensors", save(TENSORS)
    for content in (whole[:-1], whole.replace(b"F32", b"F33"), whole.replace(b"[3]", b"[4]")):
        path.write_bytes(content)
        with pytest.raises(ModelNotFound, match="damaged or was downloaded in part .*get it again"):
            read_weights(path)
    wrong = [[TENSORS], {"a": torch.zeros(1).expand(10**6, 10**6)}, {"state_dict": Counter()}]
    for content in wrong:
        torch.save(content, path)
        with pytest.raises(ModelUnsupported, match="damaged or holds more than tensors") as caught:
            read_weights(path, allow_pickle=True)
        assert "weights_only" not in str(caught.value)


def test_weights_are_mapped_and_not_copied(tmp_path):
    """A model of gigabytes is not read into memory at once; it can be written to all the same."""
    for zipped in (True, False):
        path = tmp_path / f"model-{zipped}.ckpt"
        torch.save(TENSORS, path, _use_new_zipfile_serialization=zipped)
        before = path.read_bytes()
        weight = read_weights(path, allow_pickle=True)["weight"]
        weight += 1
        assert weight.tolist() == [1, 2, 3] and path.read_bytes() == before


def test_a_unet_of_no_convolution(tmp_path):
    text = "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight"
    weights = {text: torch.zeros(1), UNET_IN: torch.zeros(4)}
    with pytest.raises(ModelUnsupported, match="1 channels"):
        checkpoint_kind(tmp_path / "x", weights)
