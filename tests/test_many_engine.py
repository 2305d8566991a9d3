"""The schedule and the pools, with work that needs no model."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from celeb_core.errors import CelebError, FeatureMissing
from celeb_core.many import ray_pool
from celeb_core.many.engine import MOST_STILLBORN, Event, distribute
from celeb_core.many.pools import Inline, Processes, devices_here
from celeb_core.many.records import Outcome
from celeb_core.many.work import Ready


@dataclass(frozen=True)
class Doubling:
    """Doubles numbers. The worker that gets a number of `deadly` kills itself, once or always."""

    folder: str = ""
    deadly: tuple[int, ...] = ()
    once: bool = True
    wrong: bool = False
    size: int = 2

    made_by = {"factor": 2}

    @property
    def at_once(self) -> int:
        return self.size

    def load(self, device):
        if self.wrong:
            raise CelebError("There is no model.")
        return self

    def do(self, items):
        for item in items:
            mark = Path(self.folder, f"died-{item}")
            if item in self.deadly and not (self.once and mark.exists()):
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if self.folder:
            with open(Path(self.folder, "pids"), "a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(0)
        return [Outcome({"key": str(item), "status": "done", "value": 2 * item}) for item in items]

    def lost(self, item, reason):
        return Outcome({"key": str(item), "status": "failed", "error": reason})


def values(outcomes) -> dict[str, object]:
    found = [(one.record["key"], one.record.get("value")) for one in outcomes]
    assert len(found) == len(dict(found)), "somebody was done twice"
    return dict(found)


WANTED = {str(number): 2 * number for number in range(9)}


def test_one_process_does_everything():
    ready = []
    found = values(distribute(range(9), Doubling(), Inline(), ready.append))
    assert found == WANTED and ready == [Ready({"factor": 2}, 2)]
    assert values(distribute([], Doubling(wrong=True), Inline())) == {}


def test_items_are_prepared_one_batch_ahead_at_most():
    prepared = []

    def prepare(item):
        prepared.append(item)
        return item

    running = distribute(range(9), Doubling(), Inline(), prepare=prepare)
    next(running)
    assert prepared == [0, 1]
    running.close()


@pytest.mark.slow
def test_processes_divide_the_work_and_one_that_is_killed_costs_nothing(tmp_path):
    work = Doubling(str(tmp_path), deadly=(3, 8))
    found = values(distribute(range(9), work, Processes(["cpu", "cpu"])))
    assert found == WANTED and (tmp_path / "died-3").exists() and (tmp_path / "died-8").exists()
    pids = set((tmp_path / "pids").read_text().split())
    assert len(pids) >= 2 and str(os.getpid()) not in pids


@pytest.mark.slow
def test_whoever_kills_every_worker_is_given_up_alone(tmp_path):
    work = Doubling(str(tmp_path), deadly=(3,), once=False)
    outcomes = list(distribute(range(5), work, Processes(["cpu"])))
    assert values(outcomes) == {str(n): 2 * n for n in range(5)} | {"3": None}
    (failed,) = [one.record for one in outcomes if one.record["status"] == "failed"]
    assert "died 3 times (signal 9)" in failed["error"]


@pytest.mark.slow
def test_what_is_wrong_for_all_is_raised_by_a_process_too():
    with pytest.raises(CelebError, match="There is no model"):
        list(distribute(range(5), Doubling(wrong=True), Processes(["cpu"])))


class Stillborn:
    """A pool whose workers die while they load."""

    def __init__(self) -> None:
        self.closed = False

    def start(self, work, most):
        self.died = 0

    def give(self, worker, items):
        raise AssertionError

    def wait(self):
        self.died += 1
        return [Event(0, "died", "signal 9")]

    def close(self):
        self.closed = True


def test_workers_that_never_load_end_the_run():
    pool = Stillborn()
    with pytest.raises(CelebError, match="fewer workers"):
        list(distribute([1], Doubling(), pool))
    assert pool.died == MOST_STILLBORN and pool.closed


def test_devices_of_this_machine(monkeypatch):
    assert devices_here(3, "cpu") == ["cpu"] * 3
    monkeypatch.setattr("celeb_core.many.pools.psutil.cpu_count", lambda logical: 64)
    memory = type("Memory", (), {"available": 13e9})
    monkeypatch.setattr("celeb_core.many.pools.psutil.virtual_memory", lambda: memory)
    assert devices_here(None, "cpu") == ["cpu"] * 3
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert devices_here(None, None) == ["cuda:0", "cuda:1"]
    assert devices_here(3, "cuda") == ["cuda:0", "cuda:1", "cuda:0"]
    assert devices_here(None, "cuda:1") == ["cuda:1"]


def test_without_ray_a_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(FeatureMissing, match=r"pip install .*\[ray\].*--engine local"):
        ray_pool.RayActors()
