"""Workers that stay loaded from one call to the next, and files that they make together."""

import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
        """Write the files that are not intact.

        Args:
            paths: Of the files, each another one.
            tasks: What each file is made from.
            intact: Whether a file is there and whole.

        Yields:
            How many of the files are there, at first and after each one.

        Raises:
            CelebError: What a task raised.
        """


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
    """The workers of a pool make files, which are written here: they need not share a folder."""

    pool: "KeptPool"
    studio: StudioOptions
    made_by: Mapping[str, Any] = field(default_factory=dict)  # labels that every worker must have

    def make(
        self,
        paths: Sequence[Path],
        tasks: Sequence[Task],
        intact: Callable[[Path], bool] = Path.is_file,
    ) -> Iterator[int]:
        """Write files.

        Raises:
            CelebError: What a task raised, its workers died each time, or they have another model.
        """
        missing = [pair for pair in zip(paths, tasks, strict=True) if not intact(pair[0])]
        yield sum(path.is_file() for path in paths)
        work = FileWork(self.studio)
        for outcome in distribute(missing, work, self.pool, self._check, _pickled):
            if outcome.record["status"] == FAILED:
                raise CelebError(outcome.record["error"])
            for path, content in outcome.files.items():
                write_atomically(Path(path), content)
            yield sum(path.is_file() for path in paths)

    def _check(self, ready: Ready) -> None:
        """Raise CelebError if a worker has not what this process names the files by."""
        for name, own in self.made_by.items():
            if (theirs := ready.made_by.get(name)) != own:
                raise CelebError(
                    f"The {name} of a worker is {theirs}, here it is {own}. Every machine needs "
                    "the same model, list of names and face pack."
                )


def _pickled(item: tuple[Path, Task]) -> tuple[Path, bytes]:
    """Return what is sent: tensors that multiprocessing pickles itself would take shared memory."""
    return item[0], pickle.dumps(item[1])


@dataclass(frozen=True)
class FileWork:
    """Items are pairs of a path and a task, which is pickled when it is sent."""

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

    def do(self, items: Sequence[tuple[Path, bytes]]) -> list[Outcome]:
        """Make the content of files."""
        tasks = [(str(path), pickle.loads(task)) for path, task in items]
        return [Outcome({"status": DONE}, {path: task.make(self.studio)}) for path, task in tasks]


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
        """Start all workers, or announce those that are loaded."""
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
            if event.kind == "failed":  # it ends the call, and a process that failed is no more
                self.busy.add(event.worker)
                continue
            self.busy.discard(event.worker)
            if event.kind == "ready":
                self.loaded[event.worker] = event.value
            elif event.kind == "died":
                self.loaded.pop(event.worker, None)  # none of one that dies while it loads
        return events

    def close(self) -> None:
        """Keep the workers, unless they still work on something that nobody wants any more."""
        if self.busy:
            self.end()

    def end(self) -> None:
        """End all workers."""
        self.pool.close()
        self.loaded, self.busy, self.started = {}, set(), False
