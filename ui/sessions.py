"""Sessions of browsers: only ids that were issued here count, and the gone are recognised.

An id is a random part and its HMAC-SHA256 under a key of this machine: nothing is stored for it, a
made-up one is refused, and one that was issued is still good after a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from celeb_core.files import write_atomically
from ui.limits import HOME, LimitReached, Limits

COOKIE = "celeb-basis-session"
HEADER = "x-celeb-basis-session"  # for programs; the server puts the id of a cookie there, too
KEY_BYTES, ID_DIGITS = 32, 32
COUNTED = 600.0  # seconds after its last sign for which a session counts
CONNECTIONS = 30  # lasting ones of one session: tabs


@dataclass
class Presence:
    """What is known of a session since this process began."""

    address: str
    seen: float  # when it last sent a request
    connections: int = 0  # tabs that are open


class Sessions:
    """Issues ids, tells whether they are its own, and remembers who is there.

    Args:
        folder: Private folder for the key.
        limits: How many there may be.
        clock: Returns seconds.
    """

    def __init__(
        self, folder: Path, limits: Limits = HOME, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits, self._clock = limits, clock
        self._key = _stored_key(folder / "sessions.key")
        self._lock = threading.Lock()
        self._present: dict[str, Presence] = {}

    def issue(self, address: str = "") -> str:
        """Return a new id, which nobody can guess.

        Args:
            address: Of the browser.

        Raises:
            LimitReached: There are too many sessions, or too many from this address.
        """
        with self._lock:
            self._forget_absent()
            limits, addresses = self.limits, Counter(p.address for p in self._present.values())
            if limits.sessions is not None and len(self._present) >= limits.sessions:
                raise LimitReached(
                    f"{len(self._present)} visitors are here, as many as this page takes. Come "
                    "back in ten minutes."
                )
            most = limits.sessions_per_address
            if most is not None and addresses[address] >= most:
                raise LimitReached(
                    f"{addresses[address]} sessions come from your network, as many as this page "
                    "takes. Allow its cookie, or come back in ten minutes."
                )
            id = self._signed(secrets.token_hex(ID_DIGITS // 2))
            self._present[id] = Presence(address, self._clock())
        return id

    def of_account(self, name: str) -> str:
        """Return the id of whoever logged in under this name: the same in every browser."""
        digest = hmac.new(self._key, f"account {name}".encode(), hashlib.sha256).hexdigest()
        return self._signed(digest[:ID_DIGITS])

    def is_ours(self, id: object) -> bool:
        """Return whether this machine issued the id."""
        if not isinstance(id, str) or len(id) != 2 * ID_DIGITS + 1 or not id.isascii():
            return False
        return hmac.compare_digest(self._signed(id[:ID_DIGITS]), id)

    def see(self, id: str, address: str = "") -> None:
        """Note that a session is there."""
        with self._lock:
            known = self._present.setdefault(id, Presence(address, 0.0))
            known.seen = self._clock()

    @contextmanager
    def connected(self, id: str) -> Iterator[None]:
        """Within the block, the session has an open tab.

        Raises:
            LimitReached: It has too many.
        """
        with self._lock:
            known = self._present.setdefault(id, Presence("", self._clock()))
            if known.connections >= CONNECTIONS:
                raise LimitReached(f"This session has {CONNECTIONS} open pages. Close some.")
            known.connections += 1
        try:
            yield
        finally:
            with self._lock:
                known.connections -= 1
                known.seen = self._clock()

    def absence(self, id: str) -> float:
        """Return for how many seconds the session has given no sign; 0 while a tab is open."""
        with self._lock:
            known = self._present.get(id)
            if known is None:
                return float("inf")
            return 0.0 if known.connections else self._clock() - known.seen

    def _forget_absent(self) -> None:
        now = self._clock()
        for id, known in list(self._present.items()):
            if not known.connections and now - known.seen > COUNTED:
                del self._present[id]

    def _signed(self, part: str) -> str:
        digest = hmac.new(self._key, part.encode(), hashlib.sha256).hexdigest()
        return f"{part}.{digest[:ID_DIGITS]}"


def _stored_key(path: Path) -> bytes:
    """Read the key of this machine; make one if there is none."""
    if not path.is_file() or path.stat().st_size != KEY_BYTES:
        write_atomically(path, secrets.token_bytes(KEY_BYTES))
        path.chmod(0o600)
    return path.read_bytes()
