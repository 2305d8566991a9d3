"""Atomic writes, reads of files that may be anything, and work that processes divide by files."""

import glob
import hashlib
import itertools
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from celeb_core.errors import SaveFailed
from celeb_core.temporary_files import temporary_path

MAX_JSON = 10_000_000  # bytes
MAX_DEPTH = 16  # of nested JSON
MAX_TENSORS = 100_000_000  # bytes of a file of tensors that this program wrote
SPARE = 20_000_000  # bytes that must be free before work begins whose result is to be saved

log = logging.getLogger(__name__)


def write_atomically(path: Path, content: bytes) -> Path:
    """Write a temporary file in the same folder, rename it to `path`, and return that.

    A crash or a full disk never costs what was there before.

    Raises:
        SaveFailed: Full disk, no permission, ...
    """
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        return path
    except OSError as error:
        with suppress(OSError):  # maybe it was never made
            temporary.unlink()
        raise SaveFailed(
            f"Could not write {path}: {error.strerror or error}. Free some space or choose "
            "another folder; what was there before is intact."
        ) from error


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Within the block, files are moved or deleted; what the system refuses is a SaveFailed."""
    try:
        yield
    except OSError as error:
        raise SaveFailed(
            f"Could not change {path}: {error.strerror or error}. Check the permissions of its "
            "folder."
        ) from error


def write_new(path: Path, content: bytes) -> Path:
    """Write a file like `write_atomically`, but never in the place of another one.

    Its name is the first of x, x-2, x-3, ... that is free, whatever other processes do meanwhile.

    Raises:
        SaveFailed: Full disk, no permission, ...
    """
    temporary = write_atomically(temporary_path(path), content)
    try:
        names = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
        return next(free for free in itertools.chain([path], names) if _claim(free, temporary))
    except OSError as error:
        raise SaveFailed(
            f"Could not write {path}: {error.strerror or error}. Free some space or choose "
            "another folder."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _claim(path: Path, temporary: Path) -> bool:
    """Give a file a second name or, where a file system has no such, another one; if it is free."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        try:
            path.open("xb").close()
        except FileExistsError:
            return False
        os.replace(temporary, path)
    return True


def check_writable(folder: Path) -> None:
    """Write and delete a file in a folder, so that work whose result cannot be saved is not begun.

    Raises:
        SaveFailed: It is read-only, not a folder, or nearly full.
    """
    probe = folder / ".writable"
    write_atomically(probe, b"")
    probe.unlink(missing_ok=True)
    if (free := shutil.disk_usage(folder).free) < SPARE:
        raise SaveFailed(
            f"Only {free / 1e6:.1f} MB are free where {folder} is, {SPARE / 1e6:.0f} MB are wanted "
            "before work begins. Free some space or choose another folder."
        )


def read_bytes(path: Path, most: int) -> bytes:
    """Read a regular file of at most `most` bytes.

    Raises:
        ValueError: It is larger, or no regular file (a pipe or device would never end).
        OSError: It is not there, or cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is no file")
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path.stat().st_size:,} bytes; at most {most:,} are read")
    return content


def parse_json(text: str | bytes, finite: bool = True) -> Any:
    """Parse JSON that may be anything, nested at most MAX_DEPTH times.

    Raises:
        ValueError: It is no JSON, too long, nested too deeply, or has a number that is not finite
            although it must be.
    """
    if len(text) > MAX_JSON:
        raise ValueError(f"{len(text):,} bytes of JSON; at most {MAX_JSON:,} are read")
    try:
        parse = _finite if finite else float
        value = json.loads(text, parse_constant=parse, parse_float=parse)
        _check_depth(value, MAX_DEPTH)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; infinities are numbers.

    It is empty for a file that is not there or, with a warning, holds something else.
    """
    if not path.exists():
        return {}
    try:
        value = parse_json(read_bytes(path, MAX_JSON), finite=False)
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__}, not an object")
        return value
    except (OSError, ValueError) as error:
        log.warning("skipped: %s (%s)", path, error)
        return {}


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return what matches a pattern in a folder, but for hidden files; none if it is not there.

    Unlike `Path.glob`, it does not mind what vanishes meanwhile.
    """
    return [folder / found for found in glob.iglob(pattern, root_dir=folder)]


def oldest_first(paths: Iterable[Path]) -> list[Path]:
    """Sort files by the time of their last change; those that vanish meanwhile are left out."""
    found = []
    for path in paths:
        with suppress(OSError):
            found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found)]


def _finite(number: str) -> float:
    if not math.isfinite(float(number)):
        raise ValueError(f"JSON with the number {number[:20]}")
    return float(number)


def _check_depth(value: Any, left: int) -> None:
    if isinstance(value, dict | list):
        if not left:
            raise RecursionError
        for inner in value.values() if isinstance(value, dict) else value:
            _check_depth(inner, left - 1)


def read_tensors(path: Path, wanted: str) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Read a safetensors file of the `wanted` format (the metadata's "format").

    Returns:
        Its tensors and metadata; None, with a warning, for a file that is damaged, larger than
        MAX_TENSORS or of another format; None for one that is not there.
    """
    try:
        if not path.is_file():
            return None
        if (size := path.stat().st_size) > MAX_TENSORS:
            raise ValueError(f"{size:,} bytes; at most {MAX_TENSORS:,} are read")
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            if (size := sum(map(len, metadata.values()))) > MAX_JSON:
                raise ValueError(f"{size:,} bytes of metadata; at most {MAX_JSON:,} are read")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except Exception as error:  # safetensors throws what not, for a dtype that PyTorch lacks, too
        log.warning("ignored: %s is damaged (%s); make it again", path, error)
        return None
    if metadata.get("format") != wanted:
        log.warning("ignored: %s is of another version; make it again", path)
        return None
    return tensors, metadata


def sha256(path: Path) -> str:
    """Return the checksum of a file as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def share_work(
    paths: Sequence[Path],
    make: Callable[[int], bytes],
    shard: tuple[int, int] = (0, 1),
    intact: Callable[[Path], bool] = Path.is_file,
) -> Iterator[int]:
    """Write files that several processes need, each process a part of them.

    Process `shard[0]` of `shard[1]` begins with its own share, then goes through the others' from
    the end; what is intact is not made again. So the work is divided, no process waits for
    another, and one that died or is slow delays nobody.

    Args:
        paths: Of the files, in a folder that the processes share.
        make: Returns the content of file number i.
        shard: Number of this process, and how many there are.
        intact: Whether a file is there and whole.

    Yields:
        How many of the files are there, at first and after each one.
    """
    (index, count), made = shard, 0
    mine = range(index, len(paths), count)
    others = (i for i in reversed(range(len(paths))) if i % count != index)
    yield sum(path.is_file() for path in paths)
    for number in (*mine, *others):
        if intact(paths[number]):
            continue
        write_atomically(paths[number], make(number))
        made += 1
        yield sum(path.is_file() for path in paths)
    if count > 1 and made:
        log.info("process %d of %d made %d of %d files", index + 1, count, made, len(paths))
