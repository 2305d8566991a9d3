from __future__ import annotations

import asyncio

import pytest

from ui.limits import LimitReached
from ui.rates import BURST, FORGIVEN, FREE, LONGEST, WAITING, Logins, Rate, delay


def test_a_burst_passes_and_then_so_many_a_second():
    now = 0.0
    rate = Rate(2, clock=lambda: now)
    assert all(rate.take("ada") for _ in range(int(2 * BURST)))
    assert not rate.take("ada") and rate.take("bob")
    now = 0.5
    assert rate.take("ada") and not rate.take("ada")


def test_without_a_rate_everything_passes():
    rate = Rate(None)
    assert all(rate.take("ada") for _ in range(1000))


def logins(waits: list[float], now: list[float]) -> Logins:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    return Logins(sleep, lambda: now[0])


async def attempt(login: Logins, right: bool, address: str = "a") -> None:
    async with login.attempt(address) as note:
        note(right)


def test_wrong_passwords_make_the_next_attempt_wait_ever_longer():
    waits, now = [], [0.0]

    async def attack() -> None:
        login = logins(waits, now)
        for _ in range(20):
            await attempt(login, right=False)
        await attempt(login, right=False, address="b")  # another one need not wait
        now[0] += FORGIVEN + 1
        await attempt(login, right=False)

    asyncio.run(attack())
    assert waits[:FREE] == [0.0] * FREE and waits[20:] == [0.0, 0.0]
    assert waits[FREE:20] == sorted(waits[FREE:20]) and waits[19] == LONGEST
    assert sum(waits) > 300  # seconds for 20 guesses


def test_the_right_password_ends_the_waiting():
    waits = []

    async def login_in_the_end() -> None:
        login = logins(waits, [0.0])
        for right in (False, False, False, False, True, True):
            await attempt(login, right)

    asyncio.run(login_in_the_end())
    assert waits[-1] == 0.0 and waits[-2] == delay(4) > 0


def test_attempts_of_an_address_are_made_one_after_the_other():
    async def crowd() -> list[BaseException | None]:
        login, busy = Logins(), 0

        async def one() -> None:
            nonlocal busy
            async with login.attempt("a"):
                busy += 1
                assert busy == 1
                await asyncio.sleep(0)
                busy -= 1

        return await asyncio.gather(*(one() for _ in range(WAITING + 3)), return_exceptions=True)

    refused = [error for error in asyncio.run(crowd()) if error is not None]
    assert len(refused) == 3 and all(isinstance(error, LimitReached) for error in refused)


@pytest.mark.parametrize("wrong", [0, FREE - 1])
def test_who_mistypes_is_not_slowed_down(wrong):
    assert delay(wrong) == 0
