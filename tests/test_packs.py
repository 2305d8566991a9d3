from __future__ import annotations

import hashlib
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from celeb_core import load_face_model, packs
from celeb_core.__main__ import main
from celeb_core.errors import FacePackMissing
from celeb_core.packs import PACKS, Pack, check_sums, fetch_pack


@pytest.fixture
def archive(world, tmp_path, monkeypatch) -> Path:
    """The tiny pack as antelopev2 is published: a zip, one folder too deep."""
    path = tmp_path / "antelopev2.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name in ("det.onnx", "rec.onnx"):
            packed.write(world / "faces" / name, f"antelopev2/{name}")
        packed.writestr("antelopev2/readme.txt", "hello")
    monkeypatch.setitem(packs.PACKS, "antelopev2", Pack(path.as_uri(), packs.RESEARCH))
    return path


def test_a_pack_on_request(archive, tmp_path, capsys):
    root = tmp_path / "home"
    assert main(["pack", "antelopev2", "--root", str(root)]) == 0
    out, err = capsys.readouterr()
    folder = root / "models" / "antelopev2"
    assert out.strip() == str(folder) and "non-commercial research only" in err
    assert sorted(path.name for path in folder.iterdir()) == ["SHA256SUMS", "det.onnx", "rec.onnx"]
    assert not list(folder.parent.glob(".*"))
    assert load_face_model("antelopev2", root=root).id.startswith("antelopev2-")
    archive.unlink()
    assert fetch_pack("antelopev2", root) == folder  # it is there


def test_progress_and_the_sums_of_the_first_download(archive, tmp_path):
    seen = []
    folder = fetch_pack("antelopev2", tmp_path, lambda *at: seen.append(at))
    assert seen[-1] == (archive.stat().st_size,) * 2
    wanted = hashlib.sha256((folder / "rec.onnx").read_bytes()).hexdigest()
    assert f"{wanted}  rec.onnx" in (folder / "SHA256SUMS").read_text()
    check_sums(folder)
    with open(folder / "rec.onnx", "ab") as file:
        file.write(b"changed")
    with pytest.raises(FacePackMissing, match="rec.onnx is not the file that was downloaded"):
        load_face_model(folder)


def test_without_a_connection(tmp_path, monkeypatch, capsys):
    def offline(url, timeout):
        raise packs.urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr(packs.urllib.request, "urlopen", offline)
    assert main(["pack", "buffalo_l", "--root", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "Temporary failure in name resolution" in error and "--face-pack FOLDER" in error
    assert not list((tmp_path / "models").iterdir())


def test_auraface_comes_from_the_hub(world, tmp_path, monkeypatch):
    def snapshot(repository, local_dir, allow_patterns):
        assert (repository, allow_patterns) == ("fal/AuraFace-v1", "*.onnx")
        for name in ("det.onnx", "rec.onnx"):
            (local_dir / name).write_bytes((world / "faces" / name).read_bytes())

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    folder = fetch_pack("auraface", tmp_path)
    assert load_face_model(folder).id.startswith("auraface-")
    assert "Apache" in PACKS["auraface"].licence and "non-commercial" in PACKS["auraface"].licence

    def offline(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(FacePackMissing, match="fal/AuraFace-v1 .no route"):
        fetch_pack("auraface", tmp_path / "other")


def test_too_little_disk(archive, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(packs.shutil, "disk_usage", lambda folder: usage(9, 9, 1000))
    with pytest.raises(FacePackMissing, match="has 0 MB left. Free some space"):
        fetch_pack("antelopev2", tmp_path)


@pytest.mark.parametrize("content", [b"<html>log in</html>", None])
def test_what_is_no_archive(content, archive, tmp_path):
    archive.write_bytes(content or archive.read_bytes()[:200])
    with pytest.raises(FacePackMissing, match="no archive"):
        fetch_pack("antelopev2", tmp_path)


def test_an_archive_without_models_and_an_unknown_name(archive, tmp_path):
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("readme.txt", "hello")
    with pytest.raises(FacePackMissing, match="no .*onnx"):
        fetch_pack("antelopev2", tmp_path)
    with pytest.raises(FacePackMissing, match="Choose buffalo_l"):
        fetch_pack("buffalo", tmp_path)


def test_cuda_where_onnxruntime_has_it(world, monkeypatch):
    from insightface import app

    asked = []

    class Analysis(app.FaceAnalysis):
        def __init__(self, providers, **options):
            asked.append(providers)
            super().__init__(providers=["CPUExecutionProvider"], **options)

    monkeypatch.setattr(app, "FaceAnalysis", Analysis)
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    for there in ([cpu], [cuda, cpu]):
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda there=there: there)
        load_face_model(world / "faces", device="cuda:0")
        assert asked.pop() == there
        load_face_model(world / "faces")
        assert asked.pop() == [cpu]
