"""Items -> batches -> workers -> outcomes, as they come; a worker that dies costs a retry.

A pool has the workers: this process, processes of this machine, or actors of a Ray cluster.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from celeb_core.errors import CelebError
from celeb_core.many.records import Outcome
from celeb_core.many.work import Ready, Work

MOST_ATTEMPTS = 3  # of an item whose workers die
MOST_STILLBORN = 5  # workers that die one after the other before any of them was loaded


@dataclass(frozen=True)
class Event:
    """What became of a worker: loaded (a `Ready`), a batch (outcomes), or why it died.

    After "died" another worker of the same number is on its way. The value of "failed" is the
    CelebError that ends the whole run.
    """

    worker: int
    kind: Literal["ready", "done", "died", "failed"]
    value: Any


class Pool(Protocol):
    """Workers by number."""

    def start(self, work: Work, most: int) -> None:
        """Start the workers, at most so many."""

    def give(self, worker: int, items: Sequence[Any]) -> None:
        """Let an idle worker do a batch."""

    def wait(self) -> list[Event]:
        """Return the next events, at least one."""

    def close(self) -> None:
        """End all workers."""


def distribute(
    items: Sequence[Any],
    work: Work,
    pool: Pool,
    on_ready: Callable[[Ready], None] = lambda ready: None,
    prepare: Callable[[Any], Any] = lambda item: item,
) -> Iterator[Outcome]:
    """Do all items and yield what becomes of each, as it comes.

    Args:
        items: To be done, each once.
        work: What to do.
        pool: By whom; it is closed at the end.
        on_ready: Gets what a worker says when it is loaded; may raise.
        prepare: Called with an item just before it is given to a worker, which gets the result.

    Raises:
        CelebError: What is wrong for all items.
    """
    schedule = _Schedule(work, items)
    if not items:
        return
    idle, batches, stillborn, size = set[int](), dict[int, _Batch](), 0, 0
    try:
        pool.start(work, len(items))
        while schedule.waiting or batches:
            for event in pool.wait():
                batch = batches.pop(event.worker, None)
                if event.kind == "failed":
                    raise event.value
                if event.kind == "ready":
                    on_ready(event.value)
                    size, stillborn = size or event.value.at_once, 0
                if event.kind == "died":
                    idle.discard(event.worker)
                    stillborn += batch is None
                    if stillborn >= MOST_STILLBORN:
                        raise CelebError(
                            f"Workers die while they load the model ({event.value}). Is there "
                            "enough memory? Try fewer workers."
                        )
                    yield from schedule.died(batch, str(event.value)) if batch else ()
                else:
                    idle.add(event.worker)
                if event.kind == "done" and batch:
                    yield from event.value
            while idle and (batch := schedule.next(size)):
                worker = idle.pop()
                batches[worker] = batch
                pool.give(worker, [prepare(item) for item in batch.items])
    finally:
        pool.close()


@dataclass(frozen=True)
class _Batch:
    items: Sequence[Any]
    attempts: int  # whose workers died


class _Schedule:
    """What is still to be done."""

    def __init__(self, work: Work, items: Sequence[Any]) -> None:
        self.work, self.fresh = work, deque(items)
        self.again = deque[_Batch]()

    @property
    def waiting(self) -> bool:
        return bool(self.fresh or self.again)

    def next(self, size: int) -> _Batch | None:
        """Return the next batch: what is to be done again goes first."""
        if self.again:
            return self.again.popleft()
        count = min(max(1, size), len(self.fresh))
        items = [self.fresh.popleft() for _ in range(count)]
        return _Batch(items, 0) if items else None

    def died(self, batch: _Batch, reason: str) -> list[Outcome]:
        """Do a batch again, one by one after the second time; return those that are given up."""
        attempts = batch.attempts + 1
        if attempts < MOST_ATTEMPTS - 1 or len(batch.items) == 1 and attempts < MOST_ATTEMPTS:
            self.again.append(_Batch(batch.items, attempts))
            return []
        if len(batch.items) > 1:
            self.again.extend(_Batch([item], attempts - 1) for item in batch.items)
            return []
        text = f"The process that worked on it died {attempts} times ({reason})."
        return [self.work.lost(item, text) for item in batch.items]
