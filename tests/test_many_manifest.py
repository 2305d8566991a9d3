from __future__ import annotations

import fsspec
import pytest
from conftest import portrait

from celeb_core.errors import UsageError
from celeb_core.many.manifest import Entry, read_manifest, shard_of


def photo(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    portrait().save(path)


def test_a_folder_has_a_photo_or_a_folder_of_each(tmp_path):
    for name in ("zoe.png", "ada/2.png", "ada/1.png", "eve.de.png", ".hidden.png"):
        photo(tmp_path / name)
    (tmp_path / "nobody").mkdir()
    found = read_manifest(str(tmp_path))
    assert [one.name for one in found] == ["ada", "eve.de", "nobody", "zoe"]
    assert found[0].photos == (str(tmp_path / "ada/1.png"), str(tmp_path / "ada/2.png"))
    assert found[2] == Entry("nobody", (), error="No photo is named.")


def test_rows_of_one_name_are_photos_of_one_person(tmp_path):
    table = tmp_path / "people.csv"
    table.write_text(
        "\ufeffname,photo,consent\nbob,b.png,signed\nada,/a/1.png,\nada,s3://x/2.png;3.png,\n,4.png,\n"
        "bob,,\n<x>,5.png,\n",
        encoding="utf-8",
    )
    found = {one.name: one for one in read_manifest(str(table))}
    assert found["ada"].photos == ("/a/1.png", "s3://x/2.png", f"{tmp_path}/3.png")
    assert found["bob"] == Entry("bob", (f"{tmp_path}/b.png",), "signed")
    assert found["row 4"].photos == (f"{tmp_path}/4.png",)
    assert "A name has 1 to 64" in found["<x>"].error
    assert list(found) == sorted(found)


def test_a_list_of_photos_in_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"name": ["ada", "bob"], "photos": [["1.png", "2.png"], ["3.png"]]})
    parquet.write_table(table, tmp_path / "people.parquet")
    ada, bob = read_manifest(str(tmp_path / "people.parquet"))
    assert ada.photos == (f"{tmp_path}/1.png", f"{tmp_path}/2.png")
    assert bob.photos == (f"{tmp_path}/3.png",)


def test_a_manifest_of_another_file_system():
    fsspec.filesystem("memory").pipe("/manifest/ada.png", b"x")
    (ada,) = read_manifest("memory://manifest")
    assert ada == Entry("ada", ("memory:///manifest/ada.png",))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("person,photo\nada,a.png\n", "the columns person, photo. It needs name"),
        ("name\nada\n", "needs name, and photo"),
        ("", "nobody in"),
        ("name,photo\n", "nobody in"),
        (b"\xff\xfe\x00", "cannot be read"),
        ('name,photo\n"ada,a.png', "cannot be read"),
    ],
)
def test_what_is_no_manifest(tmp_path, content, says):
    path = tmp_path / "people.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=says):
        read_manifest(str(path))


def test_there_has_to_be_one(tmp_path):
    for missing in (str(tmp_path / "missing"), "nothing://here"):
        with pytest.raises(UsageError, match="be read|be used"):
            read_manifest(missing)


def test_shards_divide_everybody(tmp_path):
    everybody = [Entry(f"p{number}", ()) for number in range(10)]
    parts = [shard_of(everybody, (index, 3)) for index in range(3)]
    assert sorted(one.name for part in parts for one in part) == [one.name for one in everybody]
    assert {len(part) for part in parts} == {3, 4}
