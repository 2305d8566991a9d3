from __future__ import annotations

import secrets
import time
from pathlib import Path

import pytest

from ui.limits import MEGABYTE, LimitReached, Limits
from ui.uploads import UNREAD, Uploads

LIMITS = Limits(upload=5 * MEGABYTE, uploads=8 * MEGABYTE, all_uploads=12 * MEGABYTE)


@pytest.fixture
def uploads(tmp_path) -> Uploads:
    return Uploads(tmp_path / "cache", LIMITS)


def file_in(folder: Path) -> Path:
    path = folder / secrets.token_hex(32) / "ada.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(10))
    return path


def test_an_upload_is_deleted_by_its_owner_alone(uploads):
    path = file_in(uploads.folder)
    uploads.add("ada", path, 10)
    uploads.discard("bob", path)
    assert path.exists()
    uploads.discard("ada", path)
    assert not path.parent.exists()


def test_the_same_content_of_two_owners_is_there_until_both_have_read_it(uploads):
    path = file_in(uploads.folder)
    uploads.add("ada", path, 10)
    uploads.add("bob", path, 10)
    uploads.discard("ada", path)
    assert path.exists()
    uploads.discard("ada", path)
    assert path.exists()
    uploads.discard("bob", path)
    assert not path.exists()


def test_nothing_else_is_ever_deleted(uploads, tmp_path):
    served = file_in(uploads.folder / "outputs")
    elsewhere = file_in(tmp_path)
    for path in (served, elsewhere, uploads.folder / ".." / "missing"):
        uploads.add("ada", path, 10)
        uploads.discard("ada", path)
    assert served.exists() and elsewhere.exists()


def test_what_is_not_read_is_bounded_for_each_and_for_all(uploads):
    with pytest.raises(LimitReached, match="6 MB; the page takes 5 MB"):
        uploads.check("ada", 6 * MEGABYTE)
    mine = file_in(uploads.folder)
    uploads.add("ada", mine, 5 * MEGABYTE)
    with pytest.raises(LimitReached, match="uploaded 5 MB that nothing has used"):
        uploads.check("ada", 4 * MEGABYTE)
    uploads.check("bob", 4 * MEGABYTE)
    uploads.add("bob", file_in(uploads.folder), 5 * MEGABYTE)
    with pytest.raises(LimitReached, match="Too much is being uploaded"):
        uploads.check("eve", 4 * MEGABYTE)
    uploads.discard("ada", mine)
    uploads.check("ada", 5 * MEGABYTE)


def test_what_nobody_reads_is_deleted_after_some_minutes(tmp_path):
    ahead = 0.0
    uploads = Uploads(tmp_path, clock=lambda: time.time() + ahead)
    old = file_in(tmp_path)
    outputs = file_in(tmp_path / "outputs")
    uploads.sweep()
    assert old.exists()
    ahead = UNREAD + 10
    uploads.sweep()
    assert not old.parent.exists() and outputs.exists()
