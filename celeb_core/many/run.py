"""Runs over many people: what is done is left out, the rest is distributed, then tabulated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celeb_core.files import read_bytes
from celeb_core.formats.image_file import MAX_BYTES
from celeb_core.many.contact_sheet import contact_sheet
from celeb_core.many.engine import Pool, distribute
from celeb_core.many.generate_work import GenerateItem, GenerateWork, image_rows
from celeb_core.many.manifest import Entry, shard_of
from celeb_core.many.records import (
    DONE,
    Record,
    check_run,
    load_records,
    save_outcome,
)
from celeb_core.many.store import Store
from celeb_core.many.table import GENERATE_COLUMNS, TRAIN_COLUMNS, write_table
from celeb_core.many.train_work import TrainItem, TrainWork, train_key
from celeb_core.many.work import Ready, Work

Notify = Callable[[int, int, Record | None], None]
"""Gets how many items are done, of how many, and the record of the last one."""


@dataclass(frozen=True)
class Part:
    """Which items a run does: a shard of them, maybe those again that failed."""

    shard: tuple[int, int] = (0, 1)
    retry: bool = False  # those that failed, too


def train_many(
    entries: Sequence[Entry],
    store: Store,
    work: TrainWork,
    pool: Pool,
    part: Part = Part(),
    notify: Notify = lambda done, total, record: None,
    send_photos: bool = False,
) -> None:
    """Train the people of a manifest who are not done yet.

    Args:
        entries: Of `read_manifest`.
        store: Gets identity files, portraits and records.
        work: How.
        pool: By whom.
        part: Which of them.
        notify: Gets the progress.
        send_photos: Whether workers get the content of photos on this machine.

    Raises:
        ResumeMismatch: The folder was begun with other settings.
        SaveFailed: A file cannot be written.
        CelebError: What is wrong for everybody.
    """
    own = {train_key(one.name): one for one in shard_of(entries, part.shard)}
    options = {"preset": work.preset, "seed": work.seed, "portraits": work.portraits}
    settings = {"kind": "train", **options, **work.changes, "model": work.studio.model}

    def same(record: Record, entry: Entry) -> bool:
        there = record.get("photos", [])
        return [_last(one) for one in there] == [_last(one) for one in entry.photos]

    def item_of(entry: Entry) -> TrainItem:
        return TrainItem(entry, _contents(entry) if send_photos else {})

    _run(own, store, work, pool, settings, part.retry, same, item_of, notify)


def generate_many(
    items: Sequence[GenerateItem],
    store: Store,
    work: GenerateWork,
    pool: Pool,
    part: Part = Part(),
    notify: Notify = lambda done, total, record: None,
) -> None:
    """Generate the images that are not there yet; otherwise as `train_many`."""
    own = {one.key: one for one in items[part.shard[0] :: part.shard[1]]}
    config = {name: str(value) for name, value in vars(work.config).items()}
    settings = {"kind": "generate", **config, "model": work.studio.model}
    _run(own, store, work, pool, settings, part.retry, lambda *_: True, lambda item: item, notify)


def write_tables(store: Store, title: str) -> list[str]:
    """Write the table and the contact sheet of all records of a folder, and return their names.

    Records of all shards, and of runs that were killed, are in it; it may be written at any time.
    """
    records = list(load_records(store).values())
    if any("prompt" in record for record in records):
        rows = [row for record in records for row in image_rows(record)]
        name, columns = "images", GENERATE_COLUMNS
        rows.sort(key=lambda row: (row["name"], row["prompt"], row["seed"]))
    else:
        name, columns = "people", TRAIN_COLUMNS
        rows = sorted(records, key=lambda row: str(row["name"]))
    suffix, table = write_table(rows, columns)
    store.write(name + suffix, table)
    store.write(f"{name}.html", contact_sheet(rows, title))
    return [name + suffix, f"{name}.html"]


def _run(
    own: Mapping[str, Any],
    store: Store,
    work: Work,
    pool: Pool,
    settings: Mapping[str, Any],
    retry: bool,
    same: Callable[[Record, Any], bool],
    item_of: Callable[[Any], Any],
    notify: Notify,
) -> None:
    """Do what of `own`, by key, has no record yet; keep each outcome as it comes."""
    store.check_writable()
    check_run(store, "options", settings)
    records, waiting = load_records(store, own), []
    for key, item in own.items():
        record = records.get(key)
        finished = record is not None and same(record, item)
        if not finished or retry and record is not None and record["status"] != DONE:
            waiting.append(item)
    done = len(own) - len(waiting)
    notify(done, len(own), None)

    def on_ready(ready: Ready) -> None:
        check_run(store, "made_by", ready.made_by)

    for outcome in distribute(waiting, work, pool, on_ready, item_of):
        save_outcome(outcome, store)
        done += 1
        notify(done, len(own), outcome.record)


def _contents(entry: Entry) -> dict[str, bytes]:
    """Read the photos that are on this machine; what cannot be read, the worker reports."""
    found = {}
    for photo in entry.photos:
        if "://" not in photo:
            try:
                found[photo] = read_bytes(Path(photo), MAX_BYTES)
            except (OSError, ValueError):
                continue
    return found


def _last(path: str) -> str:
    return path.rpartition("/")[2]
