from __future__ import annotations

import os
import stat
import time

from celeb_core.temporary_files import (
    IDLE,
    delete_leftovers,
    is_alive,
    private_folder,
    temporary_path,
    this_process,
)


def test_a_process_is_known_by_its_name():
    assert is_alive(this_process())
    number = this_process().partition("-")[0]
    for other in (f"{number}-1", "4194304999-1", "x-1", "", "-", "9" * 30 + "-1"):
        assert not is_alive(other)


def test_leftovers_of_processes_that_died_are_deleted(tmp_path):
    library = tmp_path / "library"
    (library / "deep").mkdir(parents=True)
    own, dead = temporary_path(library / "ada.png"), library / "deep" / ".1-1-0f.tmp.png"
    fresh, kept = library / ".1-1-0a.tmp", [library / "ada.png", library / ".hidden"]
    folder = library / ".1-1-0b.tmp"
    folder.mkdir()
    for path in (own, dead, fresh, folder / "file", *kept):
        path.write_bytes(b"")
    long_ago = time.time() - IDLE - 1
    for path in (own, dead, folder, *kept):
        os.utime(path, (long_ago, long_ago))
    delete_leftovers(library)
    assert not dead.exists() and not folder.exists()
    assert own.exists() and fresh.exists() and all(path.exists() for path in kept)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_users_folder_is_private_and_nobody_elses(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = private_folder()
    assert own.parent == tmp_path and mode(own) == 0o700
    own.chmod(0o755)
    assert private_folder() == own and mode(own) == 0o700
    somebody = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: somebody)
    own.rename(own.with_name(f"celeb-basis-{somebody}"))  # which is not theirs
    other = private_folder()
    assert other.name.startswith("celeb-basis-") and other.name != f"celeb-basis-{somebody}"
    assert mode(other) == 0o700


def test_a_link_in_its_place_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"celeb-basis-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    assert private_folder().name != f"celeb-basis-{os.getuid()}"
