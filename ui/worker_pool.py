"""Workers that do the tasks of jobs, each one at a time; one that dies is replaced by another."""

from __future__ import annotations

import logging
import threading
from typing import Protocol

from celeb_core.errors import CelebError
from ui.executor import GpuUnavailable

ATTEMPTS = 3  # at a task whose workers die, and at starting a worker
PATIENCE = 600.0  # seconds that a task waits for a worker, which may have to load its models
KEPT = "What was trained or generated so far is kept, and a training goes on from there."

log = logging.getLogger(__name__)


class WorkerDied(Exception):
    """A worker is gone: its process, its device or its machine."""


class Worker(Protocol):
    """A worker that has loaded its models."""

    def __call__(self, seconds: int, request: bytes) -> bytes:
        """Do a task as `gpu_tasks.perform`; raises WorkerDied."""


class Workers(Protocol):
    """Where workers come from."""

    @property
    def count(self) -> int:
        """How many there can be at the same time."""

    def start(self) -> Worker:
        """Start a worker and wait until it is loaded.

        Raises:
            WorkerDied: It died meanwhile.
            CelebError: No worker can load its models.
        """

    def close(self) -> None:
        """End all workers."""


class WorkerPool:
    """All workers of a page; called, one of them does a task.

    Args:
        workers: Where they come from.
        patience: Seconds that a task waits for a worker.
    """

    def __init__(self, workers: Workers, patience: float = PATIENCE) -> None:
        self._workers, self._patience = workers, patience
        self._changed = threading.Condition()
        self._idle: list[Worker] = []
        self._there = workers.count  # those that are idle, busy, or being started
        self._problem: CelebError | None = None  # why the last one could not be started
        self._closed = False
        for _ in range(workers.count):
            self._begin()

    def wait(self) -> None:
        """Wait until a worker is loaded.

        Raises:
            CelebError: None can be.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._idle or not self._there)
            if not self._there and self._problem is not None:
                raise self._problem

    def __call__(self, seconds: int, request: bytes) -> bytes:
        """Do a task as `gpu_tasks.perform`, on another worker if one dies.

        Raises:
            GpuUnavailable: Several died at it, or there is no worker.
        """
        for _ in range(ATTEMPTS):
            worker = self._take()
            try:
                result = worker(seconds, request)
            except WorkerDied as error:
                log.warning("a worker died: %s", error)
                self._begin()
                continue
            self._put(worker)
            return result
        raise GpuUnavailable(
            f"The workers that did this died, {ATTEMPTS} one after the other; the log of the app "
            f"says how. {KEPT} Try a smaller image or fewer people."
        )

    def close(self) -> None:
        """End all workers; what waits for one fails."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._workers.close()

    def _take(self) -> Worker:
        with self._changed:
            self._changed.wait_for(
                lambda: self._idle or self._closed or not self._there, self._patience
            )
            if self._closed or not self._idle:
                raise GpuUnavailable(f"No worker is there for this now. {KEPT} Try again later.")
            return self._idle.pop(0)

    def _put(self, worker: Worker) -> None:
        with self._changed:
            self._idle.append(worker)
            self._changed.notify_all()

    def _begin(self) -> None:
        """Start a worker in the background: it takes as long as loading the models does."""
        if not self._closed:
            threading.Thread(target=self._start, name="worker", daemon=True).start()

    def _start(self) -> None:
        problem = CelebError()
        for _ in range(ATTEMPTS):
            try:
                self._put(self._workers.start())
                return
            except WorkerDied as error:
                problem = CelebError(
                    f"A worker died while it loaded the model ({error}). Is there enough memory?"
                )
            except CelebError as error:  # another try would be no better
                problem = error
                break
            if self._closed:
                return
        log.error("a worker is missing from now on: %s", problem)
        with self._changed:
            self._there, self._problem = self._there - 1, problem
            self._changed.notify_all()
