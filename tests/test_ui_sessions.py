from __future__ import annotations

import stat

import pytest

from ui.limits import LimitReached, Limits
from ui.sessions import CONNECTIONS, COUNTED, Sessions


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(tmp_path, clock) -> Sessions:
    return Sessions(tmp_path, Limits(sessions=5, sessions_per_address=2), clock)


def test_only_what_was_issued_is_ours(sessions, tmp_path):
    id, other = sessions.issue("a"), sessions.issue("b")
    assert id != other and sessions.is_ours(id)
    part, _, signature = id.partition(".")
    forged = [f"{part}.{other.partition('.')[2]}", f"{part[::-1]}.{signature}", part, id + "0"]
    for made_up in (*forged, "", None, 7, "x" * len(id), id.upper(), "ä" * len(id), {"id": id}):
        assert not sessions.is_ours(made_up)
    assert not Sessions(tmp_path / "elsewhere").is_ours(id)


def test_ids_are_good_after_a_restart_and_the_key_is_private(sessions, tmp_path):
    assert Sessions(tmp_path).is_ours(sessions.issue())
    (key,) = tmp_path.glob("*.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.write_bytes(b"damaged")
    assert Sessions(tmp_path).is_ours(Sessions(tmp_path).issue())


def test_an_account_has_one_session_in_every_browser(sessions):
    ada = sessions.of_account("ada")
    assert ada == sessions.of_account("ada") != sessions.of_account("bob")
    assert sessions.is_ours(ada)


def test_sessions_are_bounded_by_address_and_in_all(sessions, clock):
    for _ in range(2):
        sessions.issue("a")
    with pytest.raises(LimitReached, match="2 sessions come from your network"):
        sessions.issue("a")
    for address in "bcd":
        sessions.issue(address)
    with pytest.raises(LimitReached, match="5 visitors"):
        sessions.issue("e")
    clock.now += COUNTED + 1  # they are gone
    sessions.issue("a")


def test_absence_begins_with_the_last_sign_and_not_while_a_tab_is_open(sessions, clock):
    id = sessions.issue("a")
    clock.now += 30
    assert sessions.absence(id) == 30
    sessions.see(id)
    assert sessions.absence(id) == 0
    with sessions.connected(id):
        clock.now += 3600
        assert sessions.absence(id) == 0
    clock.now += 5
    assert sessions.absence(id) == 5
    assert sessions.absence("unknown") == float("inf")


def test_a_session_has_only_so_many_open_tabs(sessions):
    id, opened = sessions.issue("a"), []
    for _ in range(CONNECTIONS):
        opened.append(sessions.connected(id))
        opened[-1].__enter__()
    with pytest.raises(LimitReached, match="open pages"), sessions.connected(id):
        pass
    opened.pop().__exit__(None, None, None)
    with sessions.connected(id):
        pass
