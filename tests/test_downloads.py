from __future__ import annotations

import logging
import multiprocessing
from collections import namedtuple
from pathlib import Path

import pytest
from hub import use_hub

from celeb_core.downloads import choose_weights, download
from celeb_core.errors import ModelNotFound, ModelUnsupported
from celeb_core.files import sha256

FULL, HALF = (f"unet/diffusion_pytorch_model{end}.safetensors" for end in ("", ".fp16"))
PICKLE = "unet/diffusion_pytorch_model.bin"
SHARDS = [f"unet/diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
OTHERS = [f"unet/diffusion_pytorch_model.{end}" for end in ("non_ema.safetensors", "msgpack")]
OTHERS += ["unet/model.onnx", "vae/diffusion_pytorch_model.safetensors", "unet/config.json"]
LARGE = bytes(range(256)) * 100_000  # huggingface_hub writes 10 MB at a time


@pytest.mark.parametrize(
    ("names", "half", "here", "chosen"),
    [
        ([FULL, HALF, PICKLE], False, None, [FULL]),
        ([FULL, HALF, PICKLE], True, None, [HALF]),
        ([HALF, PICKLE], False, None, [HALF]),
        ([FULL], True, None, [FULL]),
        ([FULL, HALF], True, [FULL], [FULL]),
        ([FULL, HALF], True, [], [HALF]),
        ([FULL, HALF], False, [HALF], [FULL]),
        ([*SHARDS, HALF], False, None, SHARDS),
        ([*SHARDS, HALF], True, SHARDS[:1], [HALF]),
        (["unet/diffusion_pytorch_model-00001-of-00001.fp16.safetensors"], False, None, None),
        (["unet/diffusion_pytorch_model.fp16-00001-of-00001.safetensors"], False, None, None),
    ],
)
def test_which_files_are_the_weights(names, half, here, chosen):
    found = choose_weights("owner/name", "unet", [*OTHERS, *names], half, here=here)
    assert found == (chosen or names)


def test_weights_that_are_not_there_or_pickled():
    with pytest.raises(ModelNotFound, match="owner/name is incomplete: .* in “unet”"):
        choose_weights("owner/name", "unet", OTHERS)
    with pytest.raises(ModelUnsupported, match="model.bin is a pickle.*--allow-pickle"):
        choose_weights("owner/name", "unet", [*OTHERS, PICKLE])
    assert choose_weights("owner/name", "unet", [PICKLE], allow_pickle=True) == [PICKLE]


@pytest.mark.parametrize(
    ("pickled", "half", "needed"),
    [(False, False, "3.3"), (False, True, "1.8"), (True, False, "3.3")],
)
def test_too_little_disk_is_found_before_the_download(pickled, half, needed, hub, monkeypatch):
    """And what is counted is what is taken."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(9, 9, 1_500_000_000))
    end = "bin" if pickled else "safetensors"
    hub.add(
        "owner/name",
        sizes={
            f"unet/diffusion_pytorch_model.{end}": 3_000_000_000,
            f"unet/diffusion_pytorch_model.fp16.{end}": 1_500_000_000,
            f"unet/diffusion_pytorch_model.non_ema.{end}": 3_000_000_000,
            "safety_checker/model.safetensors": 1_200_000_000,
            "v1-5-pruned.safetensors": 7_000_000_000,
            f"vae/diffusion_pytorch_model.{end}": 300_000_000,
            f"vae_1_0/diffusion_pytorch_model.{end}": 300_000_000,
        },
    )
    with pytest.raises(ModelNotFound, match=f"needs {needed} GB of disk, .* has 1.5 GB.*HF_HOME"):
        download("owner/name", ("unet", "vae"), half, allow_pickle=pickled)
    assert hub.sent == {}


@pytest.fixture
def large(hub, tmp_path) -> Path:
    """A repository with a file of 26 MB, served as owner/name."""
    folder = tmp_path / "large"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text("{}")
    (folder / FULL).write_bytes(LARGE)
    hub.add("owner/name", folder, licence="openrail++")
    return folder


def test_progress_size_and_licence(large, hub, caplog, capsys):
    with caplog.at_level(logging.INFO):
        folder = download("owner/name", ("unet",))
    assert (folder / FULL).read_bytes() == LARGE
    assert "downloading owner/name: 0.0 GB, licence: openrail++" in caplog.text
    bar = capsys.readouterr().err
    assert "owner/name" in bar and "25.6M/25.6M" in bar
    caplog.clear()
    assert download("owner/name", ("unet",)) == folder
    assert hub.sent == {f"owner/name/{FULL}": len(LARGE), "owner/name/unet/config.json": 2}
    assert (caplog.text, capsys.readouterr().err) == ("", "")


def test_a_download_goes_on_after_a_kill(large, hub, tmp_path):
    hub.pause_after = 15_000_000
    forks = multiprocessing.get_context("fork")
    process = forks.Process(target=download, args=("owner/name", ("unet",)))
    process.start()
    assert hub.paused.wait(120)
    blobs = tmp_path / "cache" / "models--owner--name" / "blobs"
    (part,) = blobs.glob("*.part")
    while not part.stat().st_size and process.is_alive():
        pass  # until the first ones are written
    process.kill()
    process.join()
    assert process.exitcode < 0  # it did not end by itself
    kept, sent = part.stat().st_size, hub.sent[f"owner/name/{FULL}"]
    assert 0 < kept <= sent == 15_000_000
    hub.pause_after = None
    hub.go_on.set()
    folder = download("owner/name", ("unet",))
    assert hub.sent[f"owner/name/{FULL}"] == sent + len(LARGE) - kept
    assert (folder / FULL).read_bytes() == LARGE and not part.exists()


def test_a_damaged_beginning_is_thrown_away(large, hub, tmp_path):
    blobs = tmp_path / "cache" / "models--owner--name" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{sha256(large / FULL)}.part").write_bytes(b"something else")
    with pytest.raises(OSError, match="arrived damaged"):
        download("owner/name", ("unet",))
    assert (download("owner/name", ("unet",)) / FULL).read_bytes() == LARGE


def test_without_the_hub_what_is_here_has_to_do(large, hub, tmp_path, monkeypatch):
    folder = download("owner/name", ("unet",))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert download("owner/name", ("unet",)) == folder
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    use_hub("http://127.0.0.1:9", tmp_path / "cache", monkeypatch)
    assert download("owner/name", ("unet",)) == folder
    with pytest.raises(OSError):
        download("owner/other", ("unet",))
