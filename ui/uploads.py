"""Files that browsers uploaded: whose they are, and how much of them is not read yet.

A request may name any file that gradio has in its cache. So only those are deleted that the same
session uploaded, and nobody else; what nothing reads is deleted after some minutes.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from celeb_core.files import matching
from ui.limits import HOME, MEGABYTE, LimitReached, Limits

UNREAD = 600.0  # seconds after which an upload is deleted, read or not


@dataclass
class Upload:
    """A file; the same content of several sessions is one file."""

    size: int  # in bytes
    owners: set[str] = field(default_factory=set)


class Uploads:
    """The uploads of one process.

    Args:
        folder: gradio's folder for uploads: a folder per file within.
        limits: How many bytes there may be.
        clock: Returns the seconds of today, as the files' times have them.
    """

    def __init__(
        self, folder: Path, limits: Limits = HOME, clock: Callable[[], float] = time.time
    ) -> None:
        self.folder, self.limits, self._clock = folder, limits, clock
        self._files: dict[Path, Upload] = {}
        self._lock = threading.Lock()

    def check(self, owner: str, size: int) -> None:
        """Check whether an owner may upload so much more.

        Args:
            owner: Session, or where there is none, an address.
            size: Of the request, in bytes.

        Raises:
            LimitReached: It is too much at a time, of this owner or of everybody.
        """
        limits = self.limits
        if limits.upload is not None and size > limits.upload:
            raise LimitReached(
                f"This upload has {size / MEGABYTE:.0f} MB; the page takes {_megabytes(limits)} "
                "at a time. Send fewer or smaller photos."
            )
        with self._lock:
            mine = sum(file.size for file in self._files.values() if owner in file.owners)
            everybody = sum(file.size for file in self._files.values())
        if limits.uploads is not None and mine + size > limits.uploads:
            raise LimitReached(
                f"You have uploaded {mine / MEGABYTE:.0f} MB that nothing has used yet; the page "
                f"keeps {limits.uploads / MEGABYTE:.0f} MB. Wait some minutes and try again."
            )
        if limits.all_uploads is not None and everybody + size > limits.all_uploads:
            raise LimitReached("Too much is being uploaded at the moment. Try again in a minute.")

    def add(self, owner: str, path: Path, size: int) -> None:
        """Note that an owner uploaded a file; gradio may still be about to put it there."""
        if self._is_upload(path):
            with self._lock:
                self._files.setdefault(path.resolve(), Upload(size)).owners.add(owner)

    def discard(self, owner: str, path: Path) -> None:
        """Delete a file that was read, if this owner uploaded it and no other waits for it."""
        with self._lock:
            known = self._files.get(path.resolve())
            if known is None or owner not in known.owners:
                return
            known.owners.remove(owner)
            if not known.owners:
                del self._files[path.resolve()]
                path.unlink(missing_ok=True)
                with suppress(OSError):  # another file of the same name
                    path.parent.rmdir()

    def sweep(self) -> None:
        """Delete uploads that are older than UNREAD."""
        for folder in matching(self.folder, "*"):
            with suppress(OSError):  # it was read meanwhile
                if self._is_upload(folder / "file") and self._age(folder) > UNREAD:
                    shutil.rmtree(folder)
        with self._lock:
            self._files = {path: file for path, file in self._files.items() if path.exists()}

    def _age(self, folder: Path) -> float:
        times = [path.stat().st_mtime for path in (folder, *folder.iterdir())]
        return self._clock() - max(times)

    def _is_upload(self, path: Path) -> bool:
        folder = path.resolve().parent
        return folder.parent == self.folder.resolve() and len(folder.name) == 64  # a SHA-256


def _megabytes(limits: Limits) -> str:
    return "any size" if limits.upload is None else f"{limits.upload / MEGABYTE:.0f} MB"
