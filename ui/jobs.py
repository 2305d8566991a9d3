"""Jobs in the background: one worker thread, so that the device does one thing at a time.

The page only polls jobs. Closing it, or losing the connection, touches none of them.
"""

from __future__ import annotations

import contextvars
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from ui.errors import explain

Status = Literal["queued", "running", "done", "stopped", "failed"]
REMEMBERED = 20  # finished jobs, per owner


@dataclass(frozen=True)
class SavedImage:
    """A generated image on the disk and its caption."""

    path: Path
    caption: str
    person: str = ""  # whose portrait it is
    settings: Mapping[str, Any] = field(default_factory=dict)  # to reproduce it, and its scores


@dataclass(eq=False)
class Job:
    """Something slow. Subclasses implement `run`; the page reads the fields."""

    owner: str  # the workspace it belongs to
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: Status = "queued"
    done: int = 0  # of total, in whatever the job counts
    total: int = 0
    note: str = ""  # what it is doing now
    error: str = ""
    whole_paths: bool = False  # in the error
    seconds_left: float | None = None
    began: float = 0.0
    ended: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
    # Of the event that made it: where GPU time is counted, it knows whose.
    context: contextvars.Context = field(default_factory=contextvars.copy_context, repr=False)

    def run(self) -> Literal["done", "stopped"]:
        """Do the work, on the worker thread; asks `told_to_stop` and says whether it was cut."""
        raise NotImplementedError

    def told_to_stop(self) -> bool:
        """Return whether to stop; asked between the steps of the work."""
        return self.stop.is_set()

    @property
    def live(self) -> bool:
        """Whether it still is to change."""
        return self.status in ("queued", "running")

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        return (self.ended or time.monotonic()) - self.began if self.began else 0.0


AnyJob = TypeVar("AnyJob", bound=Job)


class Runner:
    """First come, first served. The thread starts with the first job and is a daemon."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._jobs: list[Job] = []  # oldest first
        self._running: Job | None = None
        self._thread: threading.Thread | None = None

    def submit(self, job: AnyJob) -> AnyJob:
        """Put a job at the end of the queue."""
        with self._changed:
            self._forget(job.owner)
            self._jobs.append(job)
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return job

    def stop(self, job: Job) -> None:
        """Ask a job to stop; one that waits never begins."""
        with self._changed:
            job.stop.set()
            if job in self._waiting:
                self._waiting.remove(job)
                job.status = "stopped"

    def ahead(self, job: Job) -> int:
        """Return how many jobs come before this one."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._running is not None)

    def latest(self, owner: str, kind: type[AnyJob]) -> AnyJob | None:
        """Return the owner's newest job of a kind: a live one before a finished one."""
        mine = self._of(owner, kind)
        live = [job for job in mine if job.live]
        return next(iter(live or reversed(mine)), None)

    def finished(self, owner: str, kind: type[AnyJob]) -> list[AnyJob]:
        """Return the owner's jobs of a kind that are over, the latest first."""
        return [job for job in reversed(self._of(owner, kind)) if not job.live]

    def busy(self, owner: str) -> bool:
        """Return whether the owner has a job that waits or runs."""
        return any(job.live for job in self._of(owner, Job))

    def close(self, patience: float = 10.0) -> None:
        """Stop everything, and wait some seconds for a training to store its state."""
        with self._changed:
            live = [job for job in self._jobs if job.live]
        for job in live:
            self.stop(job)
        with self._changed:
            self._changed.wait_for(lambda: not any(job.live for job in live), patience)

    def _of(self, owner: str, kind: type[AnyJob]) -> list[AnyJob]:
        with self._changed:
            return [job for job in self._jobs if job.owner == owner and isinstance(job, kind)]

    def _forget(self, owner: str) -> None:
        finished = [job for job in self._jobs if job.owner == owner and not job.live]
        for job in finished[:-REMEMBERED]:
            self._jobs.remove(job)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                job = self._waiting.popleft()
                self._running = job
                job.status, job.began = "running", time.monotonic()
            status: Status
            try:
                status = job.context.run(job.run)
            except Exception as error:  # the thread must outlive every job
                job.error, status = explain(error, whole_paths=job.whole_paths), "failed"
            with self._changed:
                job.ended, job.status, self._running = time.monotonic(), status, None
                self._changed.notify_all()
