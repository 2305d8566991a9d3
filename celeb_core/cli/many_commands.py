"""The commands for thousands of people: `train-many` and `generate-many`."""

import logging
from argparse import Namespace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from celeb_core import files
from celeb_core.cli.engines import given, pool_of, studio_options
from celeb_core.errors import UsageError
from celeb_core.library import PRIVATE_FOLDER
from celeb_core.many.generate_work import GenerateWork, items_of
from celeb_core.many.manifest import read_manifest
from celeb_core.many.records import DONE, FAILED, Record, load_records
from celeb_core.many.run import Part, generate_many, train_many, write_tables
from celeb_core.many.store import Store
from celeb_core.many.train_work import TrainWork
from celeb_core.marks.provenance import load_marker
from celeb_core.types import SampleConfig

MAX_PROMPTS = 10_000_000  # bytes of a file of prompts


def train_people(options: Namespace) -> None:
    """Train each person of a folder, CSV or Parquet file of photos; killed, it goes on there."""
    store = Store(options.out)
    if not options.merge:
        entries = read_manifest(options.manifest)
        work = TrainWork(
            studio_options(options),
            load_marker(options.identities / PRIVATE_FOLDER),
            options.preset,
            given(options, "steps"),
            options.seed,
            options.portraits,
            options.people_at_once,
        )
        send = options.engine == "ray"  # whose nodes may not have them
        part = Part(options.shard or (0, 1), options.retry)
        with tqdm(desc="training", unit="person") as bar:
            train_many(entries, store, work, pool_of(options), part, _notify(bar), send)
    _finish(store, "People")


def generate_for_people(options: Namespace) -> None:
    """Generate images of each person of a folder with each prompt of a file."""
    store = Store(options.out)
    if not options.merge:
        first, count = options.seed, options.num_images or 1
        text = files.read_bytes(options.prompts, MAX_PROMPTS).decode("utf-8-sig", "replace")
        prompts = [line.strip() for line in text.splitlines() if line.strip()]
        if bad := [line for line in prompts if "{}" not in line]:
            raise UsageError(f"“{bad[0][:100]}” has no {{}} for the person.")
        items = items_of(Store(options.people), prompts, range(first, first + count))
        known = "steps guidance_scale negative_prompt scheduler".split()
        config = SampleConfig(**given(options, *known))
        marker = load_marker(options.identities / PRIVATE_FOLDER)
        work = GenerateWork(studio_options(options), marker, config, options.batch_size)
        part = Part(options.shard or (0, 1), options.retry)
        with tqdm(desc="generating", unit="prompt") as bar:
            generate_many(items, store, work, pool_of(options), part, _notify(bar))
    _finish(store, "Images")


def _notify(bar: Any) -> Any:
    def notify(done: int, total: int, record: Record | None) -> None:
        bar.total = total
        if record is None:
            bar.initial = bar.n = done
            bar.refresh()
            return
        bar.update(done - bar.n)
        if record["status"] == FAILED:
            bar.write(f"{record['name']}: {record['error']}")

    return notify


def _finish(store: Store, title: str) -> None:
    tables = write_tables(store, title)
    records = load_records(store).values()
    done = sum(record["status"] == DONE for record in records)
    logging.info("%d done, %d not", done, len(records) - done)
    print(
        *(str(Path(store.url, name)) if store.local else f"{store.url}/{name}" for name in tables),
        sep="\n",
    )
