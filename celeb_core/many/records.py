"""What became of each person: a record of its own, written when all else of theirs is."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from celeb_core.errors import ResumeMismatch, quote
from celeb_core.files import parse_json
from celeb_core.many.store import Store

RECORDS = "records"  # folder
RUN = "run.json"  # with what the folder was made
FORMAT = "celeb-many 1"
DONE, FAILED = "done", "failed"

Record = dict[str, Any]
"""Column of the table -> value; always with key, status and error."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a worker made of one item: files to be written first, then the record."""

    record: Record
    files: Mapping[str, bytes] = field(default_factory=dict)  # by path


def key_of(*parts: str) -> str:
    """Return the file name, without suffix, of the record of something."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:24]


def save_outcome(outcome: Outcome, store: Store) -> None:
    """Write what was made, the record last: without it, nothing counts as done.

    Raises:
        SaveFailed: Full disk, no permission, ...
    """
    for path, content in outcome.files.items():
        store.write(path, content)
    text = json.dumps(outcome.record, ensure_ascii=False, allow_nan=False)
    store.write(f"{RECORDS}/{outcome.record['key']}.json", text.encode(errors="surrogatepass"))


def load_records(store: Store, keys: Iterable[str] | None = None) -> dict[str, Record]:
    """Load the records of a folder by key, of these keys alone if they are given.

    One that is damaged is left out: its person is made again.
    """
    names = store.names(RECORDS)
    if keys is not None:
        wanted = {f"{key}.json" for key in keys}
        names = [name for name in names if name in wanted]
    found = {}
    for name, content in store.read_all(RECORDS, names).items():
        try:
            record = parse_json(content)
            if record["key"] == name.removesuffix(".json") and record["status"] in (DONE, FAILED):
                found[record["key"]] = record
        except (LookupError, TypeError, ValueError):
            continue
    return found


def check_run(store: Store, part: str, settings: Mapping[str, Any]) -> None:
    """Note with what a folder is made, or compare it with what was noted.

    Args:
        store: The folder.
        part: Of what: "options", known from the start, or "made_by", known by a worker.
        settings: JSON values.

    Raises:
        ResumeMismatch: It was begun with others.
    """
    own: dict[str, Any] = json.loads(json.dumps(settings))
    noted: dict[str, Any] = {"format": FORMAT}
    content = store.read(RUN)
    if content is not None:
        try:
            noted |= parse_json(content)
        except (TypeError, ValueError) as error:
            raise ResumeMismatch(
                f"{store.url}/{RUN} is damaged ({quote(str(error))}). Name another folder for "
                "the results."
            ) from error
    if part not in noted:
        store.write(RUN, json.dumps({**noted, part: own}, indent=1).encode())
        return
    if (there := noted[part]) != own:
        names = sorted({*own, *(there if isinstance(there, dict) else {})})
        other = [
            name
            for name in names
            if not isinstance(there, dict) or there.get(name) != own.get(name)
        ]
        raise ResumeMismatch(
            f"{store.url} was begun with another {', '.join(other)}. Give the same options to go "
            "on, or name another folder for the results."
        )
