"""Jobs in the background: one worker thread, so that the device does one thing at a time.

The page only looks at jobs. Closing it, or losing the connection, touches none of them.
"""

from __future__ import annotations

import os
import sys
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
POLITE = 5  # steps of `nice`
KEPT = 20  # finished jobs that are remembered, per owner
PAUSE = 3.0  # seconds for a page that loads; a browser takes about two, on two free cores
PAUSE_EVERY = 20.0  # seconds at least, so that nobody can hold up a training by reloading


@dataclass(frozen=True)
class Drawn:
    """A picture on the disk and what is said about it."""

    path: Path
    caption: str
    about: str = ""  # whose portrait it is
    settings: Mapping[str, Any] = field(default_factory=dict)  # to draw it again, and its scores


def _opened() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass(eq=False)
class Job:
    """Something slow. Subclasses say what in `run`; the page reads the fields."""

    owner: str  # the workspace it belongs to
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: Status = "queued"
    done: int = 0  # of total, in whatever the job counts
    total: int = 0
    note: str = ""  # what it is doing now
    error: str = ""
    seconds_left: float | None = None
    began: float = 0.0
    ended: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=_opened)  # shut: it is to pause

    def run(self) -> Literal["done", "stopped"]:
        """The work, on the worker thread; asks `told_to_stop` and says whether it was cut short."""
        raise NotImplementedError

    def told_to_stop(self) -> bool:
        """Whether to stop, asked between the steps of the work; returns after a pause only."""
        self.gate.wait()
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
        self._paused = -PAUSE_EVERY

    def submit(self, job: AnyJob) -> AnyJob:
        """Put a job at the end of the queue."""
        with self._changed:
            self._forget(job.owner)
            self._jobs.append(job)
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
                self._thread.start()
            self._changed.notify()
        return job

    def stop(self, job: Job) -> None:
        """Ask a job to stop; one that waits never begins."""
        with self._changed:
            job.stop.set()
            job.gate.set()
            if job in self._waiting:
                self._waiting.remove(job)
                job.status = "stopped"

    def make_way(self) -> None:
        """Let what runs pause while somebody's page loads.

        A training keeps all cores busy, and whether the browser on the same machine gets one of
        them is not for us to say: priorities do not reach from one session to another.
        """
        with self._changed:
            now = time.monotonic()
            if self._running is None or now - self._paused < PAUSE_EVERY:
                return
            self._paused = now
            self._running.gate.clear()
            resume = threading.Timer(PAUSE, self._running.gate.set)
        resume.daemon = True
        resume.start()

    def ahead(self, job: Job) -> int:
        """How many jobs come before this one."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._running is not None)

    def latest(self, owner: str, kind: type[AnyJob]) -> AnyJob | None:
        """The owner's newest job of a kind: a live one before a finished one."""
        with self._changed:
            mine = [job for job in self._jobs if job.owner == owner and isinstance(job, kind)]
        live = [job for job in mine if job.live]
        return next(iter(live or reversed(mine)), None)

    def finished(self, owner: str, kind: type[AnyJob]) -> list[AnyJob]:
        """The owner's jobs of a kind that are over, the latest first."""
        with self._changed:
            mine = [job for job in self._jobs if job.owner == owner and isinstance(job, kind)]
        return [job for job in reversed(mine) if not job.live]

    def busy(self, owner: str) -> bool:
        """Whether the owner has a job that waits or runs."""
        with self._changed:
            return any(job.live for job in self._jobs if job.owner == owner)

    def close(self, patience: float = 10.0) -> None:
        """Stop everything and wait for it, so that a training can store its state."""
        with self._changed:
            live = [job for job in self._jobs if job.live]
        for job in live:
            self.stop(job)
        limit = time.monotonic() + patience
        while any(job.live for job in live) and time.monotonic() < limit:
            time.sleep(0.02)

    def _forget(self, owner: str) -> None:
        finished = [job for job in self._jobs if job.owner == owner and not job.live]
        for job in finished[:-KEPT]:
            self._jobs.remove(job)

    def _work(self) -> None:
        stand_back()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                job = self._waiting.popleft()
                self._running = job
                job.status, job.began = "running", time.monotonic()
            status: Status
            try:
                status = job.run()
            except Exception as error:  # the thread must outlive every job
                job.error, status = explain(error), "failed"
            with self._changed:
                job.ended, job.status, self._running = time.monotonic(), status, None


def stand_back() -> None:
    """Let the calling thread, and those that it starts, come after the ones that serve the page.

    On processors that a training keeps busy, a new tab is there sooner. Elsewhere than on Linux
    such a number belongs to the whole process and would be no use.
    """
    if sys.platform == "linux":
        me = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, me, os.getpriority(os.PRIO_PROCESS, me) + POLITE)
