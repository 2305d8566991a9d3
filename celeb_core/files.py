"""Writing files so that a crash or a full disk never costs what was there before."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from celeb_core.errors import SaveFailed


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file in the same folder, then put it in the place of `path`.

    Raises SaveFailed (full disk, no permission, ...); the old file is intact then.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SaveFailed(
            f"Could not write {path}: {error.strerror or error}. Free some space or choose "
            "another folder; what was there before is intact."
        ) from error
