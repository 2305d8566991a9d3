from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from celeb_core import loading
from celeb_core.__main__ import main
from celeb_core.cli import doctor
from celeb_core.cli.doctor import Check, examine
from celeb_core.errors import ModelNotFound
from celeb_core.loading import CONFIGS

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
NO_MODEL = "nonsense"  # what does not depend on one is checked all the same
OFFLINE = "huggingface_hub.constants.HF_HUB_OFFLINE"


def checks(model: Path | str, tmp_path: Path, device: str = "cpu", **options) -> dict[str, Check]:
    """All checks by name; of several with the same name the worst."""
    found = list(examine(str(model), device, cache=tmp_path / "cache", **options))
    order = ("ok", "warning", "error")
    return {check.name: check for check in sorted(found, key=lambda one: order.index(one.status))}


@pytest.fixture
def disk(monkeypatch):
    """Set the free bytes of every disk."""
    usage = namedtuple("usage", "total used free")

    def change(free: float) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(9, 9, int(free)))

    return change


@pytest.fixture
def hub(monkeypatch, world):
    """A hub with owner/name, of which `size` bytes are to be downloaded, or that gives an error."""
    hub = SimpleNamespace(size=4e9, error=None)

    def plan_model(hub_id, half):
        assert hub_id == "owner/name" and not half
        if hub.error:
            raise hub.error
        return hub

    monkeypatch.setattr(loading, "plan_model", plan_model)
    monkeypatch.setattr(doctor, "snapshot_download", lambda hub_id, **options: str(world))
    monkeypatch.setattr(loading, "unet_size", lambda source: 10**6)
    return hub


@pytest.fixture
def card(monkeypatch):
    """A machine with a CUDA device, of which nothing is computed on."""
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *size, device=None, **options: ones(*size, **options))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    card = SimpleNamespace(name="NVIDIA A100-SXM4-40GB")
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "mem_get_info": lambda *_: (39_000_000_000, 40_000_000_000),
        "get_device_capability": lambda *_: (8, 0),
        "get_device_name": lambda *_: card.name,
        "is_bf16_supported": lambda **_: True,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return card


@pytest.mark.toonville
def test_a_sound_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    where = ("--device", "cpu", "--cache", "cache", "--json", "facts.json")
    assert main(["doctor", "--model", "toonville", *where]) == 0
    *lines, summary = capsys.readouterr().out.splitlines()
    rows = json.loads(Path("facts.json").read_text())
    facts = {row["name"]: row["facts"] for row in rows}
    assert len([line for line in lines if line.startswith(("ok ", "warning "))]) == len(rows)
    assert summary.startswith(f"{len(rows)} checks, 0 errors")
    assert facts["torch"] == torch.__version__ and facts["device"] == "cpu"
    assert facts["model"].endswith("toonville: chosen with --model")
    assert facts["basis"] == facts["calibration"] == "700 names"
    assert facts["precision"].startswith("float32") and facts["memory"].startswith("mode full")
    assert facts["seconds"].endswith("for an image: measured")
    assert CPU in facts["onnx models"] and facts["face pack"].startswith("toonville-")


def test_what_is_missing_is_an_error_and_does_not_stop_the_other_checks(world, tmp_path, capsys):
    own = tmp_path / "tinyville"
    shutil.copytree(world, own)
    shutil.rmtree(own / "vae")
    found = checks(own, tmp_path, face_pack="buffalo_none")
    assert found["faces"].status == "error" and "no face pack at" in found["faces"].facts
    assert found["model"].status == "error" and "vae" in found["model"].facts
    assert found["torch"].status == found["disk"].status == "ok"
    arguments = ("--device", "cpu", "--cache", str(tmp_path), "--json", str(tmp_path / "facts"))
    assert main(["doctor", "--model", str(own), *arguments]) == 1
    captured = capsys.readouterr()
    assert "1 errors" in captured.out and "celeb-basis prepare" in captured.out
    assert "error: This will not work yet" in captured.err
    assert "error" in {row["status"] for row in json.loads((tmp_path / "facts").read_text())}


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_weights_that_are_not_whole(damage, world, tmp_path):
    own = tmp_path / "tinyville"
    shutil.copytree(world, own)
    weights = own / "text_encoder" / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    if damage == "cut":
        weights.write_bytes(content[:-100])
    found = checks(own, tmp_path)
    wrong = found["model" if damage == "cut" else "files"]
    assert wrong.status == "error" and found["face pack"].status == "ok"
    assert ("no weights in text_encoder" in wrong.facts) == (damage == "gone")


def test_a_calibration_and_a_basis_of_the_cache(world, tmp_path):
    found = checks(world, tmp_path)
    assert "first use" in found["basis"].facts and found["calibration"].status == "warning"
    (tmp_path / "few.txt").write_text("Baven Dolba\nNeven Dolne\nTiven Dolti\nLoven Dollo")
    names = ("--names", str(tmp_path / "few.txt"), "--cache", str(tmp_path / "cache"))
    assert main(["basis", "--model", str(world), "--device", "cpu", *names]) == 0
    assert checks(world, tmp_path, names=tmp_path / "few.txt")["basis"].facts == "4 names"
    (tmp_path / "other.txt").write_text("Grezin Grezin")
    assert "first use" in checks(world, tmp_path, names=tmp_path / "other.txt")["basis"].facts


def test_a_download(hub, disk, world, tmp_path):
    disk(5e9)
    found = checks("owner/name", tmp_path, face_pack=str(world / "faces"))
    assert found["files"] == Check("files", "4.0 GB to download") and found["hub"].status == "ok"
    assert "rough" in found["seconds"].facts  # its weights are not here
    disk(4.2e9)
    found = checks("owner/name", tmp_path)
    assert found["files"].status == "error" and "HF_HOME" in found["files"].remedy
    assert found["disk"].status == "ok"
    disk(0.2e9)
    assert checks("owner/name", tmp_path)["disk"].status == "warning"


def test_a_hub_that_does_not_answer(hub, world, tmp_path):
    hub.error = ModelNotFound("no route")
    found = checks("owner/name", tmp_path)
    assert found["hub"].status == "warning" and "no route" in found["hub"].facts
    assert found["files"] == Check("files", f"all in {world}")


def test_a_model_out_of_reach_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setattr(OFFLINE, True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = list(examine("owner/name", "cpu", cache=tmp_path))
    errors = [check for check in found if check.status == "error"]
    assert [check.name for check in errors] == ["faces", "model"]
    assert "owner/name is not on this machine" in errors[1].facts
    assert "--model toonville" in errors[1].facts
    assert "precision" not in {check.name for check in found}
    errors = [check for check in examine("nonsense", "cpu") if check.status == "error"]
    assert len(errors) == 1 and "no model “nonsense”" in errors[0].facts


def test_pytorch_for_cuda_without_a_device(tmp_path, monkeypatch):
    def init():
        raise RuntimeError("The NVIDIA driver on your system is too old.\nUpdate it.")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", init)
    found = checks(NO_MODEL, tmp_path)
    assert found["cuda"].status == "warning" and found["cuda"].facts.endswith("is too old.")
    assert "driver for" in found["cuda"].remedy and found["device"].facts == "cpu"
    assert "no device “cuda”" in checks(NO_MODEL, tmp_path, "cuda")["device"].facts


def test_a_driver_without_a_pytorch_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    assert "built without CUDA" in checks(NO_MODEL, tmp_path)["cuda"].facts


def packages(monkeypatch, **versions: str | None) -> None:
    """Change what is installed; None removes."""
    changed = {name.replace("_", "-"): version for name, version in versions.items()}
    real = [one for one in doctor.metadata.distributions() if one.name not in changed]
    made = [SimpleNamespace(name=n, version=v) for n, v in changed.items() if v]
    monkeypatch.setattr(doctor.metadata, "distributions", lambda: [*made, *real])


def test_versions(tmp_path, monkeypatch):
    packages(monkeypatch, gradio="5.0", peft=None)
    found = checks(NO_MODEL, tmp_path)
    assert found["gradio"].status == "warning" and found["gradio"].facts.startswith("5.0 is not ")
    assert found["peft"].status == "error" and "pip install" in found["peft"].remedy


def test_two_onnxruntimes(tmp_path, monkeypatch):
    packages(monkeypatch, onnxruntime_gpu="1.31.1")
    found = checks(NO_MODEL, tmp_path)["onnxruntime"]
    assert found.status == "error"
    assert found.remedy == "pip uninstall -y onnxruntime onnxruntime-gpu; pip install onnxruntime"


def test_onnxruntime_without_cuda_on_a_machine_with_it(card, tmp_path, monkeypatch):
    packages(monkeypatch, onnxruntime="1.32.0")
    found = checks(NO_MODEL, tmp_path, "cuda")["onnxruntime"]
    assert found.status == "warning" and found.remedy.endswith("pip install onnxruntime-gpu")
    packages(monkeypatch, onnxruntime=None, onnxruntime_gpu="1.31.1")
    found = checks(NO_MODEL, tmp_path, "cuda")
    assert "onnxruntime" not in found and found["onnxruntime-gpu"].status == "ok"


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_providers_that_onnxruntime_does_not_take(tmp_path, monkeypatch):
    monkeypatch.setattr("celeb_core.face_packs.execution_providers", lambda device: [CUDA, CPU])
    found = checks(NO_MODEL, tmp_path)["onnx models"]
    assert found.status == "warning" and found.facts == f"asked for {CUDA}, got {CPU}"
    assert "onnxruntime-gpu" in found.remedy


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        (
            "NVIDIA A100-SXM4-40GB",
            "49 for a person (best, not prepared), 1.0 for an image: assumed of",
        ),
        ("Tesla T4", "204 for a person (best, not prepared), 4.0 for an image: assumed of"),
        (
            "NVIDIA GeForce RTX 4090",
            "41 for a person (best, not prepared), 0.8 for an image: assumed of",
        ),
    ],
)
def test_the_time_on_known_cards(name, seconds, card, tmp_path):
    card.name = name
    found = checks(CONFIGS / "sd1", tmp_path, "cuda")
    assert found["cuda:0"].facts.startswith(
        f"{name}, 39.0 GB of 40.0 GB free, compute capability 8.0"
    )
    assert found["precision"].facts == "bfloat16, for a UNet of 860 million parameters"
    assert found["memory"].facts.startswith("mode full, 3.6 GB or more of 39.0 GB free")
    assert found["seconds"].facts.startswith(seconds)


def test_a_large_model_on_a_cpu(tmp_path, monkeypatch):
    found = checks(CONFIGS / "sd1", tmp_path, dtype="mixed")
    assert found["precision"].facts.startswith("mixed, for a UNet of 860 million")
    assert found["seconds"].facts.endswith("rough, by the speed of matrix products")
    monkeypatch.setattr("celeb_core.device.free_memory", lambda where: 4e9)
    found = checks(CONFIGS / "sd1", tmp_path, dtype="float32")
    assert found["memory"].status == "error" and "smaller model" in found["memory"].remedy
