"""Workers that stay loaded: files that `prepare`, the name filter and `evaluate` need together."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from celeb_core.errors import CelebError
from celeb_core.files import share_work, write_atomically
from celeb_core.many.engine import Event, Pool, distribute
from celeb_core.many.records import DONE, FAILED, Outcome
from celeb_core.many.work import Ready, StudioOptions, Work, labels_of
from celeb_core.studio import Studio


class Task(Protocol):
    """What one file is made from; picklable."""

    def make(self, studio: Studio) -> bytes:
        """Return the content of the file; CelebError for what is wrong."""


class Makers(Protocol):
    """Whoever makes files: this process, or the workers of an engine."""

    def make(
        self,
        paths: Sequence[Path],
        tasks: Sequence[Task],
        intact: Callable[[Path], bool] = Path.is_file,
    ) -> Iterator[int]:
        """Write the files that are not intact, and yield how many there are, also at first."""


@dataclass(frozen=True, eq=False)
class Here:
    """This process makes its share of the files, see `share_work`."""

    studio: Studio
    shard: tuple[int, int] = (0, 1)

    def make(
        self,
        paths: Sequence[Path],
        tasks: Sequence[Task],
        intact: Callable[[Path], bool] = Path.is_file,
    ) -> Iterator[int]:
        """Write files."""
        return share_work(paths, lambda i: tasks[i].make(self.studio), self.shard, intact)


@dataclass(frozen=True, eq=False)
class Workers:
    """The workers of a pool make files, which are written here."""

    pool: "KeptPool"
    studio: StudioOptions

    def make(
        self,
        paths: Sequence[Path],
        tasks: Sequence[Task],
        intact: Callable[[Path], bool] = Path.is_file,
    ) -> Iterator[int]:
        """Write files.

        Raises:
            CelebError: What a task raised, or its workers died each time.
        """
        missing = [pair for pair in zip(paths, tasks, strict=True) if not intact(pair[0])]
        yield sum(path.is_file() for path in paths)
        for outcome in distribute(missing, FileWork(self.studio), self.pool):
            if outcome.record["status"] == FAILED:
                raise CelebError(outcome.record["error"])
            for path, content in outcome.files.items():
                write_atomically(Path(path), content)
            yield sum(path.is_file() for path in paths)


@dataclass(frozen=True)
class FileWork:
    """Items are pairs of a path and a task."""

    studio: StudioOptions

    def load(self, device: str | None) -> "FileWorker":
        """Load the studio."""
        return FileWorker(self.studio.load(device))

    def lost(self, item: tuple[Path, Task], reason: str) -> Outcome:
        """Return an outcome that ends everything: no file may be missing."""
        return Outcome({"status": FAILED, "error": f"{item[0].name}: {reason}"})


@dataclass(frozen=True, eq=False)
class FileWorker:
    """A studio, in the process of a worker."""

    studio: Studio
    at_once: int = 1

    @property
    def made_by(self) -> Mapping[str, Any]:
        """JSON values that decide the results, besides the items."""
        return labels_of(self.studio)

    def do(self, items: Sequence[tuple[Path, Task]]) -> list[Outcome]:
        """Make the content of files."""
        return [
            Outcome({"status": DONE}, {str(path): task.make(self.studio)}) for path, task in items
        ]


class KeptPool:
    """A pool whose workers stay loaded from one call of `distribute` to the next.

    All calls have the same work. `end` ends the workers; so does a call that was cut off, and the
    next one starts them anew.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.loaded, self.busy = dict[int, Ready](), set[int]()
        self.events, self.started = list[Event](), False

    def start(self, work: Work, most: int) -> None:
        """Start all workers, or announce those that are there."""
        if not self.started:
            self.pool.start(work, sys.maxsize)
            self.started = True
        self.events = [Event(number, "ready", ready) for number, ready in self.loaded.items()]

    def give(self, worker: int, items: Sequence[Any]) -> None:
        """Let an idle worker do a batch."""
        self.busy.add(worker)
        self.pool.give(worker, items)

    def wait(self) -> list[Event]:
        """Return the next events, at least one."""
        events, self.events = self.events or self.pool.wait(), []
        for event in events:
            self.busy.discard(event.worker)
            if event.kind == "ready":
                self.loaded[event.worker] = event.value
            elif event.kind != "done":
                self.loaded.pop(event.worker, None)
        return events

    def close(self) -> None:
        """Keep the workers, unless they still work on something that nobody wants any more."""
        if self.busy:
            self.end()

    def end(self) -> None:
        """End all workers."""
        if self.started:
            self.pool.close()
        self.loaded, self.busy, self.started = {}, set(), False
