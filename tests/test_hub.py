"""The loopback hub answers as huggingface_hub expects."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from hub import COMMIT, LoopbackHub, use_hub
from huggingface_hub import errors

WEIGHTS = bytes(range(256)) * 400


@pytest.fixture
def hub(tmp_path) -> Iterator[LoopbackHub]:
    folder = tmp_path / "repository"
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (folder / "unet" / "model.safetensors").write_bytes(WEIGHTS)
    with LoopbackHub() as hub:
        hub.add("owner/name", folder, licence="openrail++")
        yield hub


def test_a_repository_is_listed_and_downloaded(hub, tmp_path, monkeypatch):
    use_hub(hub.address, tmp_path / "cache", monkeypatch)
    info = huggingface_hub.HfApi().model_info("owner/name", files_metadata=True)
    assert info.sha == COMMIT and info.card_data.license == "openrail++"
    assert {file.rfilename: file.size for file in info.siblings} == {
        "model_index.json": 2,
        "unet/model.safetensors": len(WEIGHTS),
    }
    snapshot = Path(huggingface_hub.snapshot_download("owner/name"))
    assert snapshot.name == COMMIT
    assert (snapshot / "unet" / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.sent["owner/name/unet/model.safetensors"] == len(WEIGHTS)


def test_what_is_not_there_or_gated(hub, tmp_path, monkeypatch):
    use_hub(hub.address, tmp_path / "cache", monkeypatch)
    with pytest.raises(errors.RepositoryNotFoundError):
        huggingface_hub.HfApi().model_info("owner/other")
    with pytest.raises(errors.RemoteEntryNotFoundError):
        huggingface_hub.hf_hub_download("owner/name", "vae.json")
    hub.add("owner/gated", tmp_path / "repository", gated=True)
    with pytest.raises(errors.GatedRepoError):
        huggingface_hub.hf_hub_download("owner/gated", "model_index.json")


def test_the_environment_of_a_subprocess(hub, tmp_path):
    code = "import huggingface_hub; print(huggingface_hub.snapshot_download('owner/name'))"
    run = [sys.executable, "-c", code]
    environment = os.environ | hub.environment(tmp_path / "home")
    done = subprocess.run(run, env=environment, capture_output=True, check=True)
    folder = Path(done.stdout.decode().strip())
    assert folder.is_relative_to(tmp_path / "home")
    assert (folder / "unet" / "model.safetensors").read_bytes() == WEIGHTS
