from __future__ import annotations

import logging
from collections import namedtuple
from types import SimpleNamespace

import pytest

from celeb_core import hub
from celeb_core.errors import ModelNotFound
from celeb_core.hub import check_space

Usage = namedtuple("Usage", "total used free")
FILES = {
    "model_index.json": 1000,
    "unet/diffusion_pytorch_model.safetensors": 3_000_000_000,
    "unet/diffusion_pytorch_model.fp16.safetensors": 1_500_000_000,
    "unet/diffusion_pytorch_model.bin": 3_000_000_000,
    "safety_checker/model.safetensors": 1_200_000_000,
    "v1-5-pruned.safetensors": 7_000_000_000,
    "vae/diffusion_pytorch_model.safetensors": 300_000_000,
}


@pytest.fixture
def reachable(monkeypatch, tmp_path):
    """A hub with FILES, an empty cache on a disk of 3.5 GB."""
    siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in FILES.items()]
    info = SimpleNamespace(siblings=siblings)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: info)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda folder: Usage(9, 9, 3_500_000_000))


def test_too_little_disk_is_said_before_the_download(reachable):
    with pytest.raises(ModelNotFound, match="needs 3.3 GB of disk, .* has 3.5 GB left.*HF_HOME"):
        check_space("owner/name", None)


def test_what_is_cached_counts_no_more(reachable, monkeypatch, caplog):
    here = lambda hub_id, name, revision: "here" if name.startswith("unet") else None  # noqa: E731
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", here)
    with caplog.at_level(logging.INFO):
        check_space("owner/name", None)
    assert "downloading owner/name: 0.3 GB" in caplog.text


def test_offline_nothing_is_asked(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", None)
    check_space("owner/name", None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def out_of_reach(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", out_of_reach)
    check_space("owner/name", None)
