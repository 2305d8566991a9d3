"""What an evaluation has finished, so that a run that was killed goes on, and its progress.

A folder keeps `settings.json`, `scores.jsonl` (a line per finished part, "key" and numbers) and
`identities/ROW/`. A line that was cut off by a crash is no part, and is dropped.
"""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from celeb_core.errors import IdentityError, SaveFailed, UsageError
from celeb_core.files import check_writable, parse_json, write_atomically
from celeb_core.identity import file_name, load_identity, save_identity
from celeb_core.types import CelebBasis, Identity

SETTINGS, SCORES, IDENTITIES = "settings.json", "scores.jsonl", "identities"

Record: TypeAlias = dict[str, Any]
"""What was measured of one part: JSON."""


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is; its parts are trained people and scored images."""

    done: int
    total: int  # of what is planned so far
    note: str  # what is being done
    detail: str = ""  # how far within this part


class Run:
    """The finished parts of an evaluation, in memory and, with a folder, on disk.

    Raises:
        UsageError: The folder has a run with other settings.
        SaveFailed: The folder cannot be written.
    """

    def __init__(
        self,
        folder: Path | None = None,
        settings: Mapping[str, Any] | None = None,
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.folder, self.report = folder, report
        self.done, self.total, self.note = 0, 0, ""
        self.records: dict[str, Record] = {}
        if folder is not None:
            check_writable(folder)
            _check_settings(folder / SETTINGS, json.loads(json.dumps(settings or {})))
            self.records = _read_lines(folder / SCORES)

    def plan(self, parts: int) -> None:
        """Announce parts that are to come."""
        self.total += parts
        self.say()

    def begin(self, note: str) -> None:
        """Say what is done from now on."""
        self.note = note
        self.say()

    def say(self, detail: str = "") -> None:
        """Report the progress, with how far the part under way is."""
        self.report(Progress(self.done, self.total, self.note, detail))

    def advance(self, parts: int = 1) -> None:
        """Count parts that are finished, now or earlier."""
        self.done += parts
        self.say()

    def keep(self, records: Mapping[str, Record]) -> None:
        """Keep finished parts: all of them or, after a crash, the first ones.

        Raises:
            SaveFailed: Full disk, no permission, ...
        """
        self.records |= records
        if self.folder is None:
            return
        lines = [json.dumps({"key": key, **record}) + "\n" for key, record in records.items()]
        path = self.folder / SCORES
        try:
            with open(path, "ab") as file:
                file.write("".join(lines).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SaveFailed(
                f"Could not write {path}: {error.strerror or error}. Free some space, then give "
                "the same command again: what is finished is not repeated."
            ) from error

    def load_person(self, row: str, name: str, basis: CelebBasis) -> Identity | None:
        """Return a person whom an earlier run has trained for a row of the table."""
        if self.folder is None or f"{row}/{name}" not in self.records:
            return None
        with suppress(IdentityError):  # lost or damaged: trained again
            return load_identity(self._path(row, name), basis)
        return None

    def keep_person(
        self, row: str, person: Identity, seconds: float, basis: CelebBasis
    ) -> Identity:
        """Keep a trained person, and return them as a run that goes on will load them."""
        if self.folder is not None:
            save_identity(person, self.folder / IDENTITIES / row)
            person = load_identity(self._path(row, person.name), basis)
        self.keep({f"{row}/{person.name}": {"seconds": seconds}})
        return person

    def _path(self, row: str, name: str) -> Path:
        assert self.folder is not None
        return self.folder / IDENTITIES / row / file_name(name)


def _check_settings(path: Path, settings: Record) -> None:
    """Write the settings of a new run, or raise UsageError unless they are the earlier one's."""
    if not path.exists():
        write_atomically(path, json.dumps(settings, indent=1).encode())
        return
    try:
        earlier = parse_json(path.read_bytes())
        if not isinstance(earlier, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}). Name another folder.") from error
    if wrong := [key for key in earlier | settings if earlier.get(key) != settings.get(key)]:
        texts = [
            f"{key}: {_short(earlier.get(key))}, now {_short(settings.get(key))}" for key in wrong
        ]
        raise UsageError(
            f"{path.parent} has a run with other settings ({'; '.join(texts)}). Give the options "
            "of then, or name another folder."
        )


def _read_lines(path: Path) -> dict[str, Record]:
    """Return the parts that a file has, and cut off a line that was never finished."""
    if not path.exists():
        return {}
    records, good = dict[str, Record](), 0
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            good += len(line)
            with suppress(ValueError, TypeError, KeyError):  # a damaged line is done again
                record = parse_json(line)
                records[record.pop("key")] = record
    if path.stat().st_size > good:
        os.truncate(path, good)
    return records


def _short(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
