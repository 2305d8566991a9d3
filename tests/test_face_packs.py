from __future__ import annotations

import hashlib
import os
import shutil
import urllib.error
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer, serving

from celeb_core import load_face_model
from celeb_core.errors import FacePackMissing
from celeb_core.face_packs import (
    PACKS,
    RESEARCH,
    Pack,
    download_pack,
    execution_providers,
    pack_folder,
    usual_pack,
    verify_checksums,
)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as server:
        yield server


@pytest.fixture
def published(server, world, tmp_path, monkeypatch) -> Path:
    """The tiny pack as antelopev2 is published: a zip, one folder too deep."""
    path = tmp_path / "antelopev2.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name in ("det.onnx", "rec.onnx"):
            packed.write(world / "faces" / name, f"antelopev2/{name}")
        packed.writestr("antelopev2/readme.txt", os.urandom(3_000_000))
    server.files[path.name] = path.read_bytes()
    monkeypatch.setitem(PACKS, "antelopev2", Pack(f"{server.url}/{path.name}", RESEARCH))
    return path


def test_a_pack_is_downloaded_once(published, server, tmp_path):
    progress = []
    folder = download_pack("antelopev2", tmp_path, lambda *at: progress.append(at))
    assert folder == tmp_path / "models" / "antelopev2"
    assert progress[-1] == (published.stat().st_size,) * 2
    assert sorted(path.name for path in folder.iterdir()) == ["SHA256SUMS", "det.onnx", "rec.onnx"]
    assert list(folder.parent.iterdir()) == [folder]  # nothing temporary
    assert load_face_model("antelopev2", root=tmp_path).id.startswith("antelopev2-")
    assert download_pack("antelopev2", tmp_path) == folder  # it is there
    assert server.asked == [(published.name, None)]


class Killed(BaseException):
    """What happens in the middle of a download."""


def kill_after(chunks: int):
    def progress(done, total):
        nonlocal chunks
        chunks -= 1
        if not chunks:
            raise Killed

    return progress


@pytest.mark.parametrize("ranges", [True, False])
def test_a_killed_download_resumes(ranges, published, server, tmp_path):
    server.ranges, progress = ranges, []
    with pytest.raises(Killed):
        download_pack("antelopev2", tmp_path, kill_after(2))
    part = tmp_path / "models" / "antelopev2.part" / "zip.part"
    assert part.stat().st_size == 2 << 20
    folder = download_pack("antelopev2", tmp_path, lambda *at: progress.append(at))
    assert server.asked[1:] == [(published.name, f"bytes={2 << 20}-")]
    assert progress[0][0] == (3 << 20 if ranges else 1 << 20)
    assert progress[-1] == (published.stat().st_size,) * 2
    assert load_face_model(folder).id.startswith("antelopev2-")
    assert list(folder.parent.iterdir()) == [folder]


def test_a_download_that_was_whole_when_it_was_killed(published, server, tmp_path):
    part = tmp_path / "models" / "antelopev2.part"
    part.mkdir(parents=True)
    shutil.copy(published, part / "zip.part")
    assert load_face_model(download_pack("antelopev2", tmp_path))
    assert server.asked == [(published.name, f"bytes={published.stat().st_size}-")]


def test_a_broken_connection(published, server, tmp_path):
    server.breaks_after = 1_500_000
    with pytest.raises(FacePackMissing, match="broke after 2 of 4 MB.*it goes on from here"):
        download_pack("antelopev2", tmp_path)
    server.breaks_after = None
    assert load_face_model(download_pack("antelopev2", tmp_path))
    assert server.asked[-1][1] == "bytes=1500000-"


def test_files_are_compared_with_those_of_the_download(published, tmp_path):
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
    assert not pack_folder("buffalo_l", tmp_path).exists()


def test_auraface_comes_from_the_hub(world, server, tmp_path, monkeypatch):
    server.use_as_hub(tmp_path / "cache", monkeypatch)
    for name, published in (("det", "scrfd_10g_bnkps"), ("rec", "glintr100")):
        content = (world / "faces" / f"{name}.onnx").read_bytes()
        server.files[f"{published}.onnx"] = content
    size = sum(map(len, server.files.values()))
    server.files |= {"1k3d68.onnx": b"of no use", "README.md": b"licence"}
    progress = []
    folder = download_pack("auraface", tmp_path, lambda *at: progress.append(at))
    assert progress[-1] == (size, size)
    assert {path.name for path in folder.iterdir()} == {
        "SHA256SUMS", "glintr100.onnx", "scrfd_10g_bnkps.onnx",
    }  # fmt: skip
    assert list(folder.parent.iterdir()) == [folder]
    assert load_face_model(folder).id.startswith("auraface-")
    assert "Apache" in PACKS["auraface"].licence and "non-commercial" in PACKS["auraface"].licence


def test_a_download_from_the_hub_can_be_ended_and_goes_on(world, server, tmp_path, monkeypatch):
    server.use_as_hub(tmp_path / "cache", monkeypatch)
    for name, published in (("det", "scrfd_10g_bnkps"), ("rec", "glintr100")):
        content = (world / "faces" / f"{name}.onnx").read_bytes()
        server.files[f"{published}.onnx"] = content

    def stop(done, total):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        download_pack("auraface", tmp_path, stop)
    assert not pack_folder("auraface", tmp_path).exists()
    assert load_face_model(download_pack("auraface", tmp_path)).id.startswith("auraface-")


def test_the_hub_out_of_reach(server, tmp_path, monkeypatch):
    server.use_as_hub(tmp_path / "cache", monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FacePackMissing, match="fal/AuraFace-v1 .*--face-pack FOLDER"):
        download_pack("auraface", tmp_path)


def test_too_little_disk_is_found_before_the_download(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(9, 9, 1000))
    monkeypatch.setattr("socket.socket", None)
    for name in ("buffalo_l", "auraface"):
        with pytest.raises(FacePackMissing, match=r"needs 6\d\d MB .* has 0 MB left. Free some"):
            download_pack(name, tmp_path)


@pytest.mark.parametrize("size", [None, 200, 3_000_000])
def test_what_is_no_archive_is_downloaded_anew(size, published, server, tmp_path):
    whole = server.files[published.name]
    server.files[published.name] = whole[:size] if size else b"<html>log in</html>"
    with pytest.raises(FacePackMissing, match="no archive"):
        download_pack("antelopev2", tmp_path)
    server.files[published.name] = whole
    assert load_face_model(download_pack("antelopev2", tmp_path))


def test_an_archive_without_models_and_an_unknown_name(published, server, tmp_path):
    with zipfile.ZipFile(published, "w") as packed:
        packed.writestr("readme.txt", "hello")
    server.files[published.name] = published.read_bytes()
    with pytest.raises(FacePackMissing, match="no .*onnx"):
        download_pack("antelopev2", tmp_path)
    with pytest.raises(FacePackMissing, match="Choose buffalo_l"):
        download_pack("buffalo", tmp_path)


def test_the_usual_pack_is_one_that_is_there(tmp_path):
    assert usual_pack(tmp_path) == "buffalo_l"
    for name in ("auraface", "buffalo_l"):
        pack_folder(name, tmp_path).mkdir(parents=True)
        (pack_folder(name, tmp_path) / "det.onnx").touch()
        assert usual_pack(tmp_path) == name


def test_cuda_where_onnxruntime_has_it(monkeypatch):
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    for available in ([cpu], [cuda, cpu]):
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda a=available: a)
        assert execution_providers("cuda:0") == available
        assert execution_providers("cpu") == execution_providers("mps") == [cpu]
