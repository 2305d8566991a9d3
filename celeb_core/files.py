"""Atomic writes, reads of files that may be damaged, and work that processes divide by files."""

import hashlib
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from celeb_core.errors import SaveFailed

log = logging.getLogger(__name__)


def write_atomically(path: Path, content: bytes) -> Path:
    """Write a temporary file in the same folder, rename it to `path`, and return that.

    A crash or a full disk never costs what was there before.

    Raises:
        SaveFailed: Full disk, no permission, ...
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
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


def read_tensors(path: Path, wanted: str) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Read a safetensors file of the `wanted` format (the metadata's "format").

    Returns:
        Its tensors and metadata; None, with a warning, for a file that is damaged or of another
        format; None for one that is not there.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
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
