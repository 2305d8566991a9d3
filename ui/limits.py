"""What one session, one address and all together may take of a page that strangers use."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from celeb_core import CelebError
from celeb_core.errors import UsageError, quote

MEGABYTE = 1_000_000
DAY = 24 * 3600.0


class LimitReached(CelebError):
    """A session asks for more than the page gives; the message says how much that is."""


@dataclass(frozen=True)
class Limits:
    """None is no limit. The defaults are for a machine of one's own."""

    jobs: int | None = None  # of a session, waiting or running
    images: int | None = None  # of a job
    seconds: float | None = None  # that a job may run
    people: int | None = None  # of a session, in the library and in the training list
    photos: int | None = 12  # of a session on the Faces tab
    upload: int | None = 100 * MEGABYTE  # bytes of a request that uploads files
    uploads: int | None = None  # bytes of a session's uploads that are not yet read
    all_uploads: int | None = None  # bytes of everybody's uploads that are not yet read
    requests: int | None = None  # of a session in one second, on average
    sessions: int | None = None  # of the last ten minutes
    sessions_per_address: int | None = None  # of these, from one IP address
    storage: int | None = None  # bytes of a session's people, photos and images
    disk: int | None = None  # bytes of all sessions: the longest unused are deleted above it
    memory: int | None = None  # bytes of photos in memory; more are kept on the disk
    absence: float | None = None  # seconds without a sign of the browser: its jobs are dropped
    expiry: float = DAY  # seconds after which an unused session is deleted

    def check_images(self, count: int) -> None:
        """Check the number of images of a job.

        Raises:
            LimitReached: They are too many.
        """
        if self.images is not None and count > self.images:
            raise LimitReached(
                f"These are {count} images; this page generates at most {self.images} at a time. "
                "Ask for fewer, or install the studio on a machine of your own."
            )

    def check_people(self, count: int) -> None:
        """Check the number of people of a session, the new one included.

        Raises:
            LimitReached: They are too many.
        """
        if self.people is not None and count > self.people:
            raise LimitReached(
                f"This page keeps at most {self.people} people for a visitor. Download those whom "
                "you want to keep, and delete some."
            )

    def check_storage(self, folder: Path) -> None:
        """Check what a session's folder takes.

        Raises:
            LimitReached: It is too much.
        """
        if self.storage is not None and (size := size_of(folder)) > self.storage:
            raise LimitReached(
                f"Your people, photos and images take {size / MEGABYTE:.0f} MB, more than the "
                f"{self.storage / MEGABYTE:.0f} MB that this page keeps for a visitor. Download "
                "what you want to keep, and delete some people with what was made of them."
            )


HOME = Limits()
PUBLIC = Limits(
    jobs=3,
    images=16,
    seconds=300.0,
    people=20,
    photos=6,
    upload=25 * MEGABYTE,
    uploads=50 * MEGABYTE,
    all_uploads=1000 * MEGABYTE,
    requests=10,
    sessions=1000,
    sessions_per_address=40,
    storage=200 * MEGABYTE,
    disk=10_000 * MEGABYTE,
    memory=500 * MEGABYTE,
    absence=60.0,
)
KINDS = {"none": HOME, "public": PUBLIC}


def changed(limits: Limits, settings: Iterable[str]) -> Limits:
    """Return limits with some replaced, each written as NAME=NUMBER or NAME=none.

    Raises:
        UsageError: A name is none of the limits, or a value is no number above zero.
    """
    known = [field.name for field in fields(Limits)]
    values: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in known:
            raise UsageError(f"There is no limit {quote(name)}. There are {', '.join(known)}.")
        values[name] = None if text == "none" else _number(name, text)
    return replace(limits, **values)


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder, the hidden ones too."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # it vanished meanwhile
                size += os.lstat(os.path.join(parent, name)).st_size
    return size


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:15]) > 0):
        raise UsageError(
            f"The limit {name}={quote(text)} is no whole number above zero. Write “{name}=none” "
            "for no limit."
        )
    return int(text[:15])
