from __future__ import annotations

import errno
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from celeb_core import files
from celeb_core.errors import SaveFailed
from celeb_core.files import (
    check_writable,
    matching,
    parse_json,
    read_bytes,
    read_tensors,
    share_work,
    write_atomically,
    write_new,
)


def test_a_file_is_written_with_its_folder_and_replaced(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file(call, tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(SaveFailed, match=f"{path}: No space left on device. Free some space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]  # nothing half-written beside it


def test_a_folder_in_the_way_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(SaveFailed, match="file.inside"):
        write_atomically(tmp_path / "file" / "inside", b"new")


CONTENT = save({"x": torch.arange(3)}, metadata={"format": "test 2", "name": "Zoë"})


def test_tensors_and_metadata_are_read(tmp_path, caplog):
    (tmp_path / "file").write_bytes(CONTENT)
    tensors, metadata = read_tensors(tmp_path / "file", "test 2")
    assert list(tensors) == ["x"] and tensors["x"].tolist() == [0, 1, 2]
    assert metadata == {"format": "test 2", "name": "Zoë"}
    assert not caplog.records


def test_a_missing_file_is_none_without_a_word(tmp_path, caplog):
    assert read_tensors(tmp_path / "missing", "test 2") is None
    assert not caplog.records


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"not at all", "damaged"),
        (CONTENT[:-4], "damaged"),
        (CONTENT.replace(b"test 2", b"test 1"), "another version"),
        (save({"x": torch.zeros(1)}), "another version"),
        (CONTENT.replace(b"I64", b"F44"), "damaged"),
        (save({"x": torch.zeros(1)}, {"format": "test 2", "names": "x" * 10_000_001}), "metadata"),
    ],
    ids=["empty", "text", "truncated", "older", "plain", "dtype", "long"],
)
def test_what_is_of_no_use_is_none_with_a_warning(content, message, tmp_path, caplog):
    (tmp_path / "file").write_bytes(content)
    assert read_tensors(tmp_path / "file", "test 2") is None
    (record,) = caplog.records
    assert f"{tmp_path / 'file'} is" in record.getMessage() and message in record.getMessage()


def test_a_huge_file_is_not_read(tmp_path, caplog):
    with open(tmp_path / "file", "wb") as file:
        file.truncate(2_000_000_000)
    assert read_tensors(tmp_path / "file", "test 2") is None and "at most" in caplog.text


def test_processes_divide_work_by_files(tmp_path, caplog):
    paths = [tmp_path / f"{number}" for number in range(5)]
    made = []

    def make(number):
        made.append(number)
        return b"x"

    (tmp_path / "2").touch()
    first, second = share_work(paths, make, (0, 2)), share_work(paths, make, (1, 2))
    assert (next(first), next(second)) == (1, 1)
    assert (next(first), next(second)) == (2, 3) and made == [0, 1]
    with caplog.at_level(logging.INFO):
        assert list(first) == [4, 5]  # its own last one, then the other's from the end
        assert list(second) == []
    assert made == [0, 1, 4, 3]
    assert [r.getMessage() for r in caplog.records] == [
        "process 1 of 2 made 3 of 5 files",
        "process 2 of 2 made 1 of 5 files",
    ]


def test_a_folder_that_cannot_be_written_is_known_before_the_work(tmp_path, monkeypatch):
    check_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SaveFailed, match="file"):
        check_writable(tmp_path / "file")
    monkeypatch.setattr(files, "SPARE", 10**18)
    with pytest.raises(SaveFailed, match="MB are free .* Free some space or choose another"):
        check_writable(tmp_path / "new")


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bytes(tmp_path / "file", 5) == b"12345"
    with pytest.raises(ValueError, match="5 bytes; at most 4 are read"):
        read_bytes(tmp_path / "file", 4)
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "missing", "."):
        with pytest.raises(FileNotFoundError):
            read_bytes(tmp_path / name, 5)


def test_json_that_may_be_anything_is_a_value_or_a_value_error():
    assert parse_json('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    deep = "[" * 17 + "]" * 17
    for text in (
        deep,
        "[" * 100_000,
        "[NaN]",
        "-Infinity",
        "[1e999]",
        '"' + "x" * 10**7 + '"',
        "{",
        b"\xff",
    ):
        with pytest.raises(ValueError):
            parse_json(text)


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_never_takes_the_place_of_another(tmp_path, monkeypatch, links):
    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:  # as on FAT
        monkeypatch.setattr("os.link", no_links)
    contents = [str(number).encode() for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda content: write_new(tmp_path / "a.png", content), contents))
    assert [path.read_bytes() for path in paths] == contents
    names = {"a.png", *(f"a-{number}.png" for number in range(2, 41))}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_new_file_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveFailed, match="Could not write"):
        write_new(tmp_path / "file" / "a.png", b"")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.link", full)
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(SaveFailed, match="No space left on device"):
        write_new(tmp_path / "a.png", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_vanishes_while_it_is_looked_for_does_not_matter(tmp_path):
    for name in ("a[1]/x.png", "b/x.png", ".hidden/x.png", "b/.x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link").symlink_to("nowhere")
    found = {str(path.relative_to(tmp_path)) for path in matching(tmp_path, "*/*.png")}
    assert found == {"a[1]/x.png", "b/x.png"}
    assert matching(tmp_path / "a[1]", "*") == [tmp_path / "a[1]" / "x.png"]
    assert matching(tmp_path / "missing", "*/*") == []

    def vanish():
        for number in range(300):
            folder = tmp_path / f"c{number}"
            folder.mkdir()
            folder.rmdir()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(vanish)
        while not running.done():
            assert len(matching(tmp_path, "*/*.png")) == 2
        running.result()
