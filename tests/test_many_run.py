"""Whole runs on the tiny world, in this process: what is done, what is not, what is done again."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from conftest import portrait
from PIL import Image
from test_faces import two_faces

from celeb_core import fit, load_identity
from celeb_core.errors import ResumeMismatch, SaveFailed
from celeb_core.faces import find_face
from celeb_core.many.engine import distribute
from celeb_core.many.generate_work import GenerateWork, items_of
from celeb_core.many.manifest import Entry, read_manifest
from celeb_core.many.pools import Inline
from celeb_core.many.records import load_records
from celeb_core.many.run import Part, generate_many, train_many, write_tables
from celeb_core.many.store import Store
from celeb_core.many.train_work import TrainItem, TrainWork, person_seed, train_key
from celeb_core.many.work import StudioOptions
from celeb_core.marks.provenance import Marker
from celeb_core.types import Person, SampleConfig, recipe

CHANGES = {"steps": 2, "batch_size": 2, "views": 2, "regression_batch": 0}


@pytest.fixture(autouse=True)
def loaded(studio, monkeypatch):
    """Each run has the models that are loaded already."""
    monkeypatch.setattr(StudioOptions, "load", lambda options, device, require_faces=True: studio)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two good people, one of them with two photos, and everything that can be wrong."""
    folder = tmp_path / "photos"
    (folder / "bob").mkdir(parents=True)
    portrait(255).save(folder / "ada.png")
    portrait(200).save(folder / "bob" / "1.png")
    portrait(210).save(folder / "bob" / "2.png")
    Image.new("RGB", (128, 128), "blue").save(folder / "bob" / "dog.png")
    Image.new("RGB", (128, 128), "blue").save(folder / "dog.png")
    (folder / "broken.png").write_bytes((folder / "ada.png").read_bytes()[:200])
    two_faces().save(folder / "two.png")
    return folder


def work(**changes) -> TrainWork:
    return TrainWork(StudioOptions("tiny"), Marker(b"k" * 32), changes=CHANGES | changes)


class Counting(Inline):
    """A pool that knows whom it trained, and dies after some batches."""

    def __init__(self, most: int = 1000) -> None:
        super().__init__()
        self.names, self.most = list[str](), most

    def give(self, worker, items):
        if len(self.names) >= self.most:
            raise KeyboardInterrupt
        self.names += [getattr(item, "name", None) or item.entry.name for item in items]
        super().give(worker, items)


EVERYTHING = Part()


def train(photos, out, pool=None, part=EVERYTHING, **changes) -> list[str]:
    """Train and return who was trained now."""
    pool = pool or Counting()
    train_many(read_manifest(str(photos)), Store(str(out)), work(**changes), pool, part)
    return pool.names


def rows_of(store: Store) -> dict[str, dict]:
    return {record["name"]: record for record in load_records(store).values()}


def contents(folder: Path, *parts: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes()
            for part in parts for path in sorted((folder / part).rglob("*"))}  # fmt: skip


def test_bad_photos_are_rows_and_stop_nothing(photos, tmp_path, basis):
    told = []
    store = Store(str(tmp_path / "out"))
    (photos / "gone.png").symlink_to(photos / "nowhere.png")
    entries = [*read_manifest(str(photos)), Entry("no<name", ("x",), error="A name has 1 to 64.")]
    train_many(entries, store, work(), Counting(), notify=lambda *now: told.append(now))
    rows = rows_of(store)
    assert sorted(rows) == ["ada", "bob", "broken", "dog", "gone", "no<name", "two"]
    good = [name for name, row in rows.items() if row["status"] == "done"]
    assert sorted(good) == ["ada", "bob"]
    for name, reason in {
        "dog": "dog.png: No face found.",
        "broken": "broken.png: the image is no image that can be read",
        "two": "two.png: Found 2 faces.",
        "gone": "gone.png: There is no such file.",
        "no<name": "A name has 1 to 64.",
    }.items():
        assert rows[name]["status"] == "failed" and rows[name]["error"].startswith(reason), name
    bob = rows["bob"]
    assert bob["photos_used"] == 2 and bob["error"].startswith("dog.png: No face found.")
    assert -1 <= bob["identity_score"] <= 1 and bob["seconds"] > 0
    assert json.loads(bob["recipe"])["steps"] == 2
    identity = load_identity(tmp_path / "out" / bob["file"], basis)
    assert identity.name == "bob" and (tmp_path / "out" / bob["portrait"]).is_file()
    assert [done for done, total, _ in told] == list(range(8)) and told[0][2] is None


def test_everybody_is_as_if_trained_alone(photos, tmp_path, studio):
    train(photos, tmp_path / "out")
    face = find_face(photos / "ada.png", studio.faces)
    config = recipe("best", None).changed(**CHANGES)
    alone = fit(
        [Person("ada", (face,))], studio.models, studio.basis,
        replace(config, seed=person_seed("ada", 0)), recogniser=studio.faces.id,
    )["ada"]  # fmt: skip
    found = load_identity(tmp_path / "out" / "identities" / "ada.safetensors")
    assert torch.equal(found.coefficients, alone.coefficients)
    assert found.settings == dict(alone.settings) and found.recogniser == studio.faces.id


def test_a_seed_is_of_the_person(photos, tmp_path):
    assert person_seed("ada", 0) == person_seed("ada", 0) < 2**31
    assert len({person_seed("ada", 0), person_seed("bob", 0), person_seed("ada", 1)}) == 3
    train(photos, tmp_path / "all")
    for name in ("bob", "broken.png", "dog.png", "two.png"):
        path = photos / name
        path.rename(tmp_path / name)
    train(photos, tmp_path / "one")
    one = contents(tmp_path / "one", "identities")
    assert one == {"identities/ada.safetensors": contents(tmp_path / "all", "identities")["identities/ada.safetensors"]}  # fmt: skip  # noqa: E501


def test_what_is_done_is_not_done_again(photos, tmp_path):
    everybody = ["ada", "bob", "broken", "dog", "two"]
    train(photos, tmp_path / "whole")
    whole = contents(tmp_path / "whole", "identities")
    out = tmp_path / "out"
    for killed in (2, 1):
        with pytest.raises(KeyboardInterrupt):
            train(photos, out, Counting(killed))
    assert train(photos, out) == everybody[3:] and train(photos, out) == []
    assert contents(out, "identities") == whole
    assert train(photos, out, part=Part(retry=True)) == ["broken", "dog", "two"]
    portrait(230).save(photos / "broken.png")
    assert train(photos, out, part=Part(retry=True)) == ["broken", "dog", "two"]
    assert rows_of(Store(str(out)))["broken"]["status"] == "done"
    portrait(220).save(photos / "bob" / "3.png")
    assert train(photos, out) == ["bob"]  # who has another photo now


def test_killed_between_any_two_writes_nobody_is_missing_or_twice(photos, tmp_path, monkeypatch):
    (photos / "two.png").unlink()
    train(photos, tmp_path / "whole")
    whole = contents(tmp_path / "whole", "identities", "portraits")
    write, out = Store.write, tmp_path / "out"
    for most in range(1, 20):
        left = iter(range(most))

        def dying(store, path, content, left=left):
            if next(left, None) is None:
                raise SaveFailed("killed")
            write(store, path, content)

        monkeypatch.setattr(Store, "write", dying)
        try:
            train(photos, out)
        except SaveFailed:
            continue
        finally:
            monkeypatch.setattr(Store, "write", write)
        break
    assert contents(out, "identities", "portraits") == whole
    assert {name: row["status"] for name, row in rows_of(Store(str(out))).items()} == {
        "ada": "done", "bob": "done", "broken": "failed", "dog": "failed",
    }  # fmt: skip


def test_shards_make_one_table(photos, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    train(photos, whole)
    names = [train(photos, out, part=Part((index, 3))) for index in (2, 0, 1)]
    assert sorted(sum(names, [])) == ["ada", "bob", "broken", "dog", "two"]
    assert all(names) and contents(out, "identities") == contents(whole, "identities")
    table, page = write_tables(Store(str(out)), "People")
    if table.endswith(".parquet"):
        pandas = pytest.importorskip("pandas")
        rows = pandas.read_parquet(out / table)
        assert list(rows["name"]) == ["ada", "bob", "broken", "dog", "two"]
        assert rows["identity_score"].notna().sum() == 2
    else:
        assert (out / table).read_text().startswith("name,status,error,identity_score,seconds")
    text = (out / page).read_text()
    assert "2 of 5 done, mean identity score" in text and "No face found" in text


def test_without_pyarrow_the_table_is_csv(photos, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    train(photos, tmp_path / "out")
    table, _ = write_tables(Store(str(tmp_path / "out")), "People")
    lines = (tmp_path / "out" / table).read_text().splitlines()
    assert table == "people.csv" and len(lines) == 6 and lines[1].startswith("ada,done,,")
    assert "pip install" in caplog.text


def test_a_contact_sheet_shows_whatever_people_are_called(tmp_path):
    from celeb_core.many.contact_sheet import contact_sheet

    name = "<b>&'\" ñ"
    rows = [
        {"name": name, "status": "done", "error": "", "portrait": "portraits/a b#?.jpg"},
        {"name": name, "status": "failed", "error": "<script>"},
    ]
    seen: list[tuple[str, dict]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.append((tag, dict(attrs)))

    Reader().feed(contact_sheet(rows, "<People>").decode())
    (image,) = [about for tag, about in seen if tag == "img"]
    assert image["alt"] == name and image["src"] == "portraits/a%20b%23%3F.jpg"
    assert not {"script", "b", "people"} & {tag for tag, _ in seen}


def test_other_settings_need_another_folder(photos, tmp_path, studio, calibration, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        train(photos, out, Counting(1))
    with pytest.raises(ResumeMismatch, match="another steps"):
        train(photos, out, steps=3)
    prepared = replace(studio, calibration=calibration)
    monkeypatch.setattr(StudioOptions, "load", lambda *_, **__: prepared)
    with pytest.raises(ResumeMismatch, match="another calibration"):
        train(photos, out)


def test_in_memory_and_with_photos_that_the_driver_reads(photos):
    import fsspec

    fsspec.filesystem("memory").rm("/", recursive=True)
    fsspec.filesystem("memory").put(str(photos), "/in", recursive=True)
    store, given = Store("memory://out"), []

    class Taking(Counting):
        def give(self, worker, items):
            given.extend(items)
            super().give(worker, items)

    train_many(read_manifest(str(photos)), store, work(), Taking(), send_photos=True)
    assert sorted(map(len, (item.contents for item in given))) == [1, 1, 1, 1, 3]
    assert rows_of(store)["ada"]["status"] == "done"
    remote = Store("memory://second")
    train_many(read_manifest("memory://in"), remote, work(), Counting())
    assert remote.names("identities") == ["ada.safetensors", "bob.safetensors"]
    for name in remote.names("identities"):
        assert remote.read(f"identities/{name}") == store.read(f"identities/{name}")


def test_people_at_once_are_what_they_are_alone(photos, tmp_path, basis):
    store = Store(str(tmp_path / "out"))
    at_once = replace(work(), people_at_once=5)
    train_many(read_manifest(str(photos)), store, at_once, pool := Counting())
    assert len(pool.names) == 5 and rows_of(store)["two"]["status"] == "failed"
    train(photos, tmp_path / "alone")
    for name in ("ada", "bob"):
        one, other = (
            load_identity(tmp_path / folder / "identities" / f"{name}.safetensors", basis)
            for folder in ("out", "alone")
        )
        limit = 5e-3 * float(one.coefficients.abs().max())
        assert torch.allclose(one.coefficients, other.coefficients, atol=limit)


def test_a_person_whose_workers_died_is_a_row():
    lost = work().lost(TrainItem(Entry("ada", ("a.png",))), "It died.")
    assert lost.record["status"] == "failed" and lost.record["key"] == train_key("ada")
    assert not list(distribute([], work(), Inline()))


# --- images


def test_people_prompts_and_seeds(photos, tmp_path, studio):
    train(photos, tmp_path / "people")
    people = Store(str(tmp_path / "people" / "identities"))
    people.write("broken.safetensors", b"x")
    prompts = ["a photo of {} on beach", "{} " + "guitar " * 80]
    kind = GenerateWork(StudioOptions("tiny"), Marker(b"k" * 32), SampleConfig(steps=1))
    items = items_of(people, prompts, (4, 5))
    store = Store(str(tmp_path / "images"))
    with pytest.raises(KeyboardInterrupt):
        generate_many(items, store, kind, Counting(2))
    generate_many(items, store, kind, again := Counting(), Part())
    assert len(again.names) == 4
    generate_many(items, store, kind, last := Counting(), Part())
    assert last.names == []
    table, _ = write_tables(store, "Images")
    assert table.startswith("images.")
    records = load_records(store).values()
    status = {(one["name"], one["prompt"][:2]): one["status"] for one in records}
    assert status == {
        ("ada", "a "): "done", ("ada", "{}"): "failed", ("bob", "a "): "done",
        ("bob", "{}"): "failed", ("broken", "a "): "failed", ("broken", "{}"): "failed",
    }  # fmt: skip
    files = sorted(path.relative_to(tmp_path / "images") for path in (tmp_path / "images" / "images").rglob("*.png"))  # fmt: skip  # noqa: E501
    assert [str(path.parent) for path in files] == ["images/ada"] * 2 + ["images/bob"] * 2
    from celeb_core import generate, parse_prompt

    ada = load_identity(tmp_path / "people" / "identities" / "ada.safetensors")
    prompt = parse_prompt("a photo of <ada> on beach", {"ada": ada})
    (alone,) = generate(prompt, studio.models, studio.basis, SampleConfig(steps=1, seed=5))
    (path,) = [path for path in files if str(path).startswith("images/ada/") and path.stem.endswith("-5")]  # fmt: skip  # noqa: E501
    assert Image.open(tmp_path / "images" / path).convert("RGB").tobytes() == alone.tobytes()
