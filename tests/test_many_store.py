from __future__ import annotations

import fsspec
import pytest

from celeb_core.errors import ResumeMismatch, SaveFailed, UsageError
from celeb_core.many import store as store_module
from celeb_core.many.records import Outcome, check_run, load_records, save_outcome
from celeb_core.many.store import Store, read_url


@pytest.fixture(params=["folder", "memory", "other"])
def store(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return Store(str(tmp_path / "out"))
    fsspec.filesystem("memory").rm("/", recursive=True)
    if request.param == "other":  # a file system whose files grow while they are written
        monkeypatch.setattr(store_module, "WHOLE", set())
    return Store("memory://out")


def record(key: str, **more) -> dict:
    return {"key": key, "status": "done", "error": "", **more}


def test_files_are_there_when_they_are_written(store):
    store.check_writable()
    assert store.names("records") == [] and store.read("a/b") is None
    store.write("records/b.json", b"2")
    store.write("records/a.json", b"1")
    store.write("records/a.json", b"3")
    assert store.names("records") == ["a.json", "b.json"] and store.read("records/a.json") == b"3"
    names = ["a.json", "b.json", "c.json"]
    assert store.read_all("records", names) == {"a.json": b"3", "b.json": b"2"}
    assert store.read_all("records", ["b.json"]) == {"b.json": b"2"}
    assert store.read_all("records", []) == {}


def test_the_record_is_written_last(store, monkeypatch):
    written = []
    monkeypatch.setattr(store, "write", lambda path, content: written.append(path))
    save_outcome(Outcome(record("k"), {"identities/ada": b"", "portraits/ada": b""}), store)
    assert written == ["identities/ada", "portraits/ada", "records/k.json"]


def test_damaged_records_do_not_count(store):
    save_outcome(Outcome(record("a", name="ada ñ")), store)
    save_outcome(Outcome(record("b")), store)
    for name, content in {
        "c": b'{"key": "c"',
        "d": b"[]",
        "e": b'{"key": "x", "status": "done"}',
    }.items():
        store.write(f"records/{name}.json", content)
    assert load_records(store) == {"a": record("a", name="ada ñ"), "b": record("b")}
    assert list(load_records(store, ["b", "z"])) == ["b"]


def test_a_folder_is_of_one_kind_of_run(store):
    check_run(store, "options", {"preset": "best", "steps": (1, 2)})
    check_run(store, "options", {"preset": "best", "steps": (1, 2)})
    check_run(store, "made_by", {"basis": "b"})
    with pytest.raises(ResumeMismatch, match="another preset, steps. Give the same"):
        check_run(store, "options", {"preset": "fast"})
    store.write("run.json", b"{")
    with pytest.raises(ResumeMismatch, match="damaged"):
        check_run(store, "options", {"preset": "best"})


def test_errors_say_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="no folder or URL"):
        Store("nothing://x")
    (tmp_path / "file").write_bytes(b"12345")
    with pytest.raises(SaveFailed):
        Store(str(tmp_path / "file")).write("a", b"")
    assert read_url(str(tmp_path / "file"), 5) == b"12345"
    with pytest.raises(ValueError, match="more than 4"):
        read_url(str(tmp_path / "file"), 4)
    with pytest.raises(FileNotFoundError):
        read_url("memory://is/not/there", 4)
