from __future__ import annotations

import hashlib
import urllib.error
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from celeb_core import face_packs, load_face_model
from celeb_core.errors import FacePackMissing
from celeb_core.face_packs import (
    PACKS,
    RESEARCH,
    Pack,
    download_pack,
    execution_providers,
    verify_checksums,
)


@pytest.fixture
def archive(world, tmp_path, monkeypatch) -> Path:
    """The tiny pack as antelopev2 is published: a zip, one folder too deep."""
    path = tmp_path / "antelopev2.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name in ("det.onnx", "rec.onnx"):
            packed.write(world / "faces" / name, f"antelopev2/{name}")
        packed.writestr("antelopev2/readme.txt", "hello")
    monkeypatch.setitem(PACKS, "antelopev2", Pack(path.as_uri(), RESEARCH))
    return path


def test_a_pack_is_downloaded_once(archive, tmp_path):
    progress = []
    folder = download_pack("antelopev2", tmp_path, lambda *at: progress.append(at))
    assert folder == tmp_path / "models" / "antelopev2"
    assert progress[-1] == (archive.stat().st_size,) * 2
    assert sorted(path.name for path in folder.iterdir()) == ["SHA256SUMS", "det.onnx", "rec.onnx"]
    assert list(folder.parent.iterdir()) == [folder]  # nothing temporary
    assert load_face_model("antelopev2", root=tmp_path).id.startswith("antelopev2-")
    archive.unlink()
    assert download_pack("antelopev2", tmp_path) == folder  # it is there


def test_files_are_compared_with_those_of_the_download(archive, tmp_path):
    folder = download_pack("antelopev2", tmp_path)
    digest = hashlib.sha256((folder / "rec.onnx").read_bytes()).hexdigest()
    assert f"{digest}  rec.onnx" in (folder / "SHA256SUMS").read_text()
    verify_checksums(folder)
    with open(folder / "rec.onnx", "ab") as file:
        file.write(b"changed")
    with pytest.raises(FacePackMissing, match="rec.onnx is not the file that was downloaded"):
        load_face_model(folder)


def test_without_a_connection(tmp_path, monkeypatch):
    def offline(url, timeout):
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(FacePackMissing, match="Temporary failure in name .*--face-pack FOLDER"):
        download_pack("buffalo_l", tmp_path)
    assert not list((tmp_path / "models").iterdir())


def test_auraface_comes_from_the_hub(world, tmp_path, monkeypatch):
    def snapshot(repository, local_dir, allow_patterns):
        assert (repository, allow_patterns) == ("fal/AuraFace-v1", "*.onnx")
        for name in ("det.onnx", "rec.onnx"):
            (local_dir / name).write_bytes((world / "faces" / name).read_bytes())

    monkeypatch.setattr(face_packs, "snapshot_download", snapshot)
    folder = download_pack("auraface", tmp_path)
    assert load_face_model(folder).id.startswith("auraface-")
    assert "Apache" in PACKS["auraface"].licence and "non-commercial" in PACKS["auraface"].licence

    def offline(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(face_packs, "snapshot_download", offline)
    with pytest.raises(FacePackMissing, match="fal/AuraFace-v1 .no route"):
        download_pack("auraface", tmp_path / "other")


def test_too_little_disk(archive, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(9, 9, 1000))
    with pytest.raises(FacePackMissing, match="has 0 MB left. Free some space"):
        download_pack("antelopev2", tmp_path)


@pytest.mark.parametrize("content", [b"<html>log in</html>", None])
def test_what_is_no_archive(content, archive, tmp_path):
    archive.write_bytes(content or archive.read_bytes()[:200])
    with pytest.raises(FacePackMissing, match="no archive"):
        download_pack("antelopev2", tmp_path)


def test_an_archive_without_models_and_an_unknown_name(archive, tmp_path):
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("readme.txt", "hello")
    with pytest.raises(FacePackMissing, match="no .*onnx"):
        download_pack("antelopev2", tmp_path)
    with pytest.raises(FacePackMissing, match="Choose buffalo_l"):
        download_pack("buffalo", tmp_path)


def test_cuda_where_onnxruntime_has_it(monkeypatch):
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    for available in ([cpu], [cuda, cpu]):
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda a=available: a)
        assert execution_providers("cuda:0") == available
        assert execution_providers("cpu") == execution_providers("mps") == [cpu]
