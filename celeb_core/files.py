"""Atomic writes, and reads of safetensors files that may be missing or damaged."""

import logging
import os
import uuid
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
