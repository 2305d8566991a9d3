"""Jobs in the background: a thread for each worker, so that a device does one thing at a time.

The page only polls jobs. Closing it, or losing the connection, touches none of them.
"""

from __future__ import annotations

import contextvars
import heapq
import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from ui.errors import explain
from ui.limits import HOME, LimitReached, Limits

Status = Literal["queued", "running", "done", "stopped", "failed"]
REMEMBERED = 20  # finished jobs, per owner


@dataclass(frozen=True)
class SavedImage:
    """A generated image on the disk and its caption."""

    path: Path
    caption: str
    person: str = ""  # whose portrait it is
    settings: Mapping[str, Any] = field(default_factory=dict)  # to reproduce it, and its scores
    blocked: bool = False  # a placeholder for one that the safety check did not let through


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
    reason: str = ""  # why it was stopped, if not by its owner
    whole_paths: bool = False  # in the error
    seconds_left: float | None = None
    began: float = 0.0
    ended: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
    # Of the event that made it: where GPU time is counted, it knows whose.
    context: contextvars.Context = field(default_factory=contextvars.copy_context, repr=False)

    def run(self) -> Literal["done", "stopped"]:
        """Do the work, on a thread for it; asks `told_to_stop` and says whether it was cut."""
        raise NotImplementedError

    def release(self) -> None:
        """Free what only `run` needed; called after it."""

    def told_to_stop(self) -> bool:
        """Return whether to stop; asked between the steps of the work."""
        return self.stop.is_set()

    @property
    def live(self) -> bool:
        """Whether it still is to change."""
        return self.status in ("queued", "running")

    @property
    def image_count(self) -> int:
        """How many images it was asked for; 0 if that is not what it is about."""
        return 0

    @property
    def size(self) -> float:
        """How much work it is, compared with others of its class."""
        return max(1.0, self.image_count)

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        return (self.ended or time.monotonic()) - self.began if self.began else 0.0


@dataclass(frozen=True)
class Place:
    """The place of a waiting job."""

    ahead: int = 0  # jobs that have to end before it begins, those that run included
    seconds: float = 0.0  # until it begins, as far as that is known


AnyJob = TypeVar("AnyJob", bound=Job)


class Runner:
    """As many jobs at a time as there are workers, the owners in turn.

    Among owners with waiting jobs, the one comes next of whom the fewest jobs run; among these, who
    has been waiting for the longest: since the end of their last job, or since they submitted one
    while they had none. So nobody waits for more than one job of anybody else. The threads start
    with the first job; they are daemons.

    Args:
        limits: Of an owner.
        workers: How many jobs run at the same time.
    """

    def __init__(self, limits: Limits = HOME, workers: int = 1) -> None:
        self.limits, self.workers = limits, workers
        self._changed = threading.Condition()
        self._waiting: list[Job] = []  # in the order in which they were submitted
        self._since: dict[str, int] = {}  # owner -> when they began to wait, in turns
        self._turns = itertools.count()
        self._jobs: list[Job] = []  # oldest first
        self._running: list[Job] = []
        self._threads: list[threading.Thread] = []
        self._took: dict[type[Job], float] = {}  # seconds per unit of size, on average

    def submit(self, job: AnyJob) -> AnyJob:
        """Put a job behind its owner's others.

        Raises:
            LimitReached: The owner has too many jobs that are not over.
        """
        with self._changed:
            live = [other for other in self._jobs if other.owner == job.owner and other.live]
            if job.owner and self.limits.jobs is not None and len(live) >= self.limits.jobs:
                raise LimitReached(
                    f"{len(live)} jobs of yours are waiting or running, as many as this page takes "
                    "from a visitor. Wait for one to end, or cancel one."
                )
            self._forget(job.owner)
            if not live:
                self._since[job.owner] = next(self._turns)
            self._jobs.append(job)
            self._waiting.append(job)
            while len(self._threads) < self.workers:
                thread = threading.Thread(target=self._work, name="jobs", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify_all()
        return job

    def stop(self, job: Job, reason: str = "") -> None:
        """Ask a job to stop; one that waits never begins.

        Args:
            job: Submitted here.
            reason: What the owner reads, if it was not their wish.
        """
        with self._changed:
            if job.live and not job.stop.is_set():
                job.reason = reason
            job.stop.set()
            if job in self._waiting:
                self._waiting.remove(job)
                job.status, job.context = "stopped", contextvars.Context()
                self._changed.notify_all()

    def check(self, is_gone: Callable[[str], bool]) -> None:
        """Stop what has run for too long, and the jobs of owners who are gone.

        Args:
            is_gone: Tells it of an owner.
        """
        with self._changed:
            live = [job for job in self._jobs if job.live and job.owner]
        for job in live:
            limit = self.limits.seconds
            if is_gone(job.owner):
                self.stop(job, "Stopped because the page was closed")
            elif limit is not None and job.seconds > limit:
                self.stop(job, f"Stopped after {limit:.0f} s, as long as this page lets a job run")

    def place(self, job: Job) -> Place:
        """Return how many jobs have to end before this one begins, and about when that is."""
        with self._changed:
            for ahead, (other, seconds) in enumerate(self._schedule(), len(self._running)):
                if other is job:
                    return Place(max(0, ahead - self.workers + 1), seconds)
        return Place()

    def latest(self, owner: str, kind: type[AnyJob]) -> AnyJob | None:
        """Return the owner's newest job of a kind: a live one before a finished one."""
        mine = self._of(owner, kind)
        live = [job for job in mine if job.live]
        return next(iter(live or reversed(mine)), None)

    def find(self, owner: str, id: str) -> Job | None:
        """Return the owner's job with this id, unless it is unknown or was forgotten."""
        return next((job for job in self._of(owner, Job) if job.id == id), None)

    def finished(self, owner: str, kind: type[AnyJob]) -> list[AnyJob]:
        """Return the owner's jobs of a kind that are over, the latest first."""
        return [job for job in reversed(self._of(owner, kind)) if not job.live]

    def jobs(self, owner: str) -> list[Job]:
        """Return all jobs of the owner, the oldest first."""
        return self._of(owner, Job)

    def discard(self, job: Job) -> None:
        """Forget a job that is over."""
        with self._changed:
            if job in self._jobs and not job.live:
                self._jobs.remove(job)

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

    def forget(self, owner: str) -> None:
        """Forget the owner's jobs that are over."""
        with self._changed:
            self._jobs = [job for job in self._jobs if job.owner != owner or job.live]

    def _of(self, owner: str, kind: type[AnyJob]) -> list[AnyJob]:
        with self._changed:
            return [job for job in self._jobs if job.owner == owner and isinstance(job, kind)]

    def _forget(self, owner: str) -> None:
        finished = [job for job in self._jobs if job.owner == owner and not job.live]
        for job in finished[:-REMEMBERED]:
            self._jobs.remove(job)

    def _schedule(self) -> Iterator[tuple[Job, float]]:
        """Yield the waiting jobs in the order in which they will begin, and in how many seconds."""
        waiting, since, turns = list(self._waiting), dict(self._since), itertools.count()
        later, now = max(since.values(), default=0) + 1, 0.0
        # When a job ends, as far as that is known: those that began earlier end first.
        left = [max(0.0, self._expected(job) - job.seconds) for job in self._running]
        ends = [(end, next(turns), job.owner) for end, job in zip(left, self._running, strict=True)]
        heapq.heapify(ends)
        while waiting:
            if len(ends) >= self.workers:
                now, _, owner = heapq.heappop(ends)
                since[owner] = later + next(turns)  # its owner waits from its end on
            busy = Counter(owner for *_, owner in ends)
            # The first of an owner's.
            job = min(waiting, key=lambda job: (busy[job.owner], since[job.owner]))
            waiting.remove(job)
            heapq.heappush(ends, (now + self._expected(job), next(turns), job.owner))
            yield job, now

    def _expected(self, job: Job) -> float:
        return self._took.get(type(job), 0.0) * job.size

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                job, _ = next(self._schedule())
                self._waiting.remove(job)
                self._running.append(job)
                job.status, job.began = "running", time.monotonic()
            status: Status
            try:
                status = job.context.run(job.run)
            except Exception as error:  # a thread must outlive every job
                job.error, status = explain(error, whole_paths=job.whole_paths), "failed"
            job.release()
            job.context = contextvars.Context()  # the request's holds all of its tab's state
            with self._changed:
                job.ended, job.status = time.monotonic(), status
                self._running.remove(job)
                self._since[job.owner] = next(self._turns)
                if not any(other.owner == job.owner and other.live for other in self._jobs):
                    del self._since[job.owner]
                if status == "done":
                    each = job.seconds / max(job.size, 1e-9)
                    self._took[type(job)] = 0.7 * self._took.get(type(job), each) + 0.3 * each
                self._changed.notify_all()
