"""Temporary files and folders: private, named after their process, deleted when it died."""

import glob
import logging
import os
import shutil
import stat
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

import psutil

IDLE = 10.0  # seconds without a write after which a temporary file may be a leftover

log = logging.getLogger(__name__)


def temporary_path(path: Path) -> Path:
    """Return a hidden path beside `path`, with its suffix, for what is to be renamed to it.

    `delete_leftovers` finds it if this process dies.
    """
    return path.with_name(f".{this_process()}-{uuid.uuid4().hex}.tmp{path.suffix}")


def delete_leftovers(folder: Path) -> None:
    """Delete temporary files and folders of processes that died, in a folder and those within."""
    pattern = "**/.*-*-*.tmp*"
    for name in glob.glob(pattern, root_dir=folder, recursive=True, include_hidden=True):
        path = folder / name
        with suppress(OSError):  # another process deletes it, too
            idle = time.time() - path.lstat().st_mtime
            if idle <= IDLE or is_alive(path.name[1:].rpartition("-")[0]):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def private_folder() -> Path:
    """Return the user's folder within the system's temporary one, which nobody else can read.

    If another user has taken its name, it is a new one for this time only.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0  # Windows has a temporary folder per user
    folder = Path(tempfile.gettempdir(), f"celeb-basis-{user}")
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == user:
            folder.chmod(0o700)
            return folder
    log.warning("%s belongs to another user: temporary files are of this process alone", folder)
    return Path(tempfile.mkdtemp(prefix="celeb-basis-"))


def this_process() -> str:
    """Return a name for this process that no other one of this machine had or will have."""
    process = psutil.Process()
    return f"{process.pid}-{process.create_time():.0f}"


def is_alive(process: str) -> bool:
    """Return whether a process of that name, see `this_process`, runs on this machine."""
    number, _, created = process.partition("-")
    try:
        return f"{psutil.Process(int(number)).create_time():.0f}" == created
    except (psutil.Error, ValueError, OverflowError):
        return False
