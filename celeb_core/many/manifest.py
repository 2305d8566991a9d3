"""Who is to be trained: a folder of photos, a CSV or a Parquet file -> names and their photos."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from celeb_core.errors import BadName, FeatureMissing, UsageError, quote
from celeb_core.identity import check_name
from celeb_core.many.store import file_system, read_url

MAX_TABLE = 1_000_000_000  # bytes of a manifest
PHOTO_COLUMNS = ("photo", "photos")
SEPARATOR = ";"  # between several photos in one cell of a CSV

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """A person of a manifest: a name and the paths or URLs of one or more photos."""

    name: str
    photos: tuple[str, ...]
    consent: str = ""  # what is known of it, to be written into the identity
    error: str = ""  # why they cannot be trained, if the manifest says so already


def read_manifest(source: str) -> list[Entry]:
    """Read a manifest; people are sorted by name, rows of one name are photos of one person.

    A folder has a photo of each person, or a sub-folder of photos of each. A CSV or Parquet file
    has the columns `name` and `photo` (or `photos`: a list, in CSV with `;` between), maybe
    `consent`; paths that are relative start at the file's folder.

    Raises:
        UsageError: There is nobody in it, it cannot be read, or it lacks a column.
        FeatureMissing: Parquet without pyarrow.
    """
    fs, path = file_system(source)
    try:
        if fs.isdir(path):
            entries = _of_folder(fs, path)
        else:
            entries = _of_rows(_rows(source), source)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UsageError(
            f"{quote(source)} cannot be read ({quote(str(error))}). Name a folder of photos, or a "
            "CSV or Parquet file with the columns name and photo."
        ) from error
    if not entries:
        raise UsageError(f"There is nobody in {quote(source)}. Put photos into it.")
    return entries


def shard_of(entries: Sequence[Entry], shard: tuple[int, int]) -> list[Entry]:
    """Return part number shard[0] of shard[1], of equal sizes; the same on every machine."""
    return list(entries[shard[0] :: shard[1]])


def _of_folder(fs: Any, folder: str) -> list[Entry]:
    photos: dict[str, list[str]] = {}
    for info in sorted(fs.ls(folder, detail=True), key=lambda info: str(info["name"])):
        name = _last(info["name"])
        if name.startswith(".") or not name:
            continue
        if info["type"] == "directory":
            inside = fs.ls(info["name"], detail=True)
            own = [one["name"] for one in inside if one["type"] != "directory"]
            own = sorted(one for one in own if not _last(one).startswith("."))
        else:
            name, own = name.rpartition(".")[0] or name, [info["name"]]
        photos.setdefault(name, []).extend(_url(fs, one) for one in own)
    return _sorted((name, own, "") for name, own in photos.items())


def _url(fs: Any, path: str) -> str:
    return path if isinstance(fs, LocalFileSystem) else str(fs.unstrip_protocol(path))


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _rows(source: str) -> Iterable[Row]:
    content = read_url(source, MAX_TABLE)
    if content[:4] == b"PAR1":
        return _parquet_rows(content)
    return csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)


def _parquet_rows(content: bytes) -> list[Row]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise FeatureMissing(
            "A Parquet manifest needs pyarrow: pip install 'celeb-basis-studio[many]'. Or name a "
            "CSV file."
        ) from error
    rows: list[Row] = parquet.read_table(io.BytesIO(content)).to_pylist()
    return rows


def _of_rows(rows: Iterable[Row], source: str) -> list[Entry]:
    base = source.rpartition("/")[0]
    people: dict[str, tuple[list[str], list[str]]] = {}
    for number, row in enumerate(rows, start=1):
        if number == 1:
            _check_columns(row, source)
        name = str(row.get("name") or "").strip() or f"row {number}"
        photos, consents = people.setdefault(name, ([], []))
        cells = [row.get(column) for column in PHOTO_COLUMNS if row.get(column)]
        for cell in cells:
            parts = cell if isinstance(cell, list) else str(cell).split(SEPARATOR)
            photos += [_absolute(str(part).strip(), base) for part in parts if str(part).strip()]
        consents += [str(row["consent"]).strip()] if row.get("consent") else []
    found = (
        (name, photos, consents[0] if consents else "")
        for name, (photos, consents) in people.items()
    )
    return _sorted(found)


def _check_columns(row: Row, source: str) -> None:
    if "name" not in row or not any(column in row for column in PHOTO_COLUMNS):
        columns = quote(", ".join(str(column) for column in row))
        raise UsageError(
            f"{quote(source)} has the columns {columns}. It needs name, and photo or photos."
        )


def _absolute(photo: str, base: str) -> str:
    rooted = "://" in photo or photo.startswith("/") or photo[1:3] in (":/", ":\\")
    return photo if rooted or not base else f"{base}/{photo}"


def _sorted(people: Iterable[tuple[str, Sequence[str], str]]) -> list[Entry]:
    """Make entries, by name; what is no name, or has no photo, says so."""
    entries: dict[str, Entry] = {}
    for written, photos, consent in people:
        name, error = written, "" if photos else "No photo is named."
        try:
            name = check_name(written)
        except BadName as wrong:
            error = str(wrong)
        if name in entries:  # written in another form of Unicode
            photos = [*entries[name].photos, *photos]
            error = entries[name].error and error
        entries[name] = Entry(name, tuple(photos), consent, error)
    return [entries[name] for name in sorted(entries)]
