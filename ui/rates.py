"""How often: requests of a session, and attempts to log in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ui.limits import LimitReached

BURST = 10.0  # seconds' worth of requests that may come at once
REMEMBERED = 10_000  # owners, and addresses
FREE = 3  # wrong passwords before the next attempt has to wait
WAITING = 5  # attempts of an address at a time
LONGEST = 30.0  # seconds that an attempt waits
FORGIVEN = 3600.0  # seconds after the last wrong password


@dataclass
class Rate:
    """A token bucket per owner.

    Args:
        per_second: Requests on average; None is no limit.
        clock: Returns seconds.
    """

    per_second: float | None
    clock: Callable[[], float] = time.monotonic
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict)  # tokens, when

    def take(self, owner: str) -> bool:
        """Return whether an owner may send another request now."""
        if self.per_second is None:
            return True
        now, most = self.clock(), self.per_second * BURST
        tokens, before = self._buckets.pop(owner, (most, now))
        tokens = min(most, tokens + (now - before) * self.per_second)
        self._buckets[owner] = (max(0.0, tokens - 1), now)
        while len(self._buckets) > REMEMBERED:
            del self._buckets[next(iter(self._buckets))]  # the longest unused
        return tokens >= 1


@dataclass
class Attempts:
    """The attempts of one address to log in."""

    wrong: int = 0  # in a row
    last: float = 0.0
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Logins:
    """Lets an address try one password after the other, ever more slowly after wrong ones.

    Args:
        sleep: Waits for seconds.
        clock: Returns seconds.
    """

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    _known: dict[str, Attempts] = field(default_factory=dict)

    @asynccontextmanager
    async def attempt(self, address: str) -> AsyncIterator[Callable[[bool], None]]:
        """Wait for the turn of an attempt; the block tells whether the password was right.

        Raises:
            LimitReached: Too many attempts of this address are waiting.
        """
        attempts = self._known.pop(address, None) or Attempts()
        self._known[address] = attempts
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        if attempts.waiting >= WAITING:
            raise LimitReached("Too many attempts to log in. Wait a minute and try again.")
        attempts.waiting += 1
        try:
            async with attempts.turn:
                if self.clock() - attempts.last > FORGIVEN:
                    attempts.wrong = 0
                await self.sleep(delay(attempts.wrong))
                yield lambda right: self._note(attempts, right)
        finally:
            attempts.waiting -= 1

    def _note(self, attempts: Attempts, right: bool) -> None:
        attempts.wrong, attempts.last = 0 if right else attempts.wrong + 1, self.clock()


def delay(wrong: int) -> float:
    """Return the seconds that an attempt waits after so many wrong ones."""
    return 0.0 if wrong < FREE else min(LONGEST, 0.5 * 2.0 ** (wrong - FREE))
