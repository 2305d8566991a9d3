from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass, field

import pytest
from ui_help import finish

from celeb_core import CelebError
from ui import jobs
from ui.jobs import KEPT, POLITE, Job, Runner


@dataclass(eq=False)
class Waiting(Job):
    go: threading.Event = field(default_factory=threading.Event)
    thread: int = 0

    def run(self):
        self.thread = threading.get_ident()
        while not self.go.wait(0.005):
            if self.stop.is_set():
                return "stopped"
        return "done"


class Polite(Job):
    nice: int = 0

    def run(self):
        self.nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        return "done"


class Other(Waiting):
    pass


class Failing(Job):
    def run(self):
        raise CelebError("Too bad. Try again.")


class Broken(Job):
    def run(self):
        raise ZeroDivisionError("of ours")


@pytest.fixture
def runner():
    return Runner()


def test_jobs_run_one_after_the_other_on_one_thread(runner):
    first, second = runner.submit(Waiting("a")), runner.submit(Waiting("b"))
    assert runner.ahead(second) == 1
    second.go.set()
    assert second.status == "queued"
    first.go.set()
    finish(first), finish(second)
    assert first.status == second.status == "done"
    assert first.thread == second.thread != threading.get_ident()
    assert first.ended <= second.began


def test_a_running_job_stops_and_the_next_one_begins(runner):
    first, second = runner.submit(Waiting("a")), runner.submit(Waiting("a"))
    runner.stop(first)
    second.go.set()
    assert finish(first).status == "stopped"
    assert finish(second).status == "done"


def test_a_waiting_job_that_is_stopped_never_begins(runner):
    first, second = runner.submit(Waiting("a")), runner.submit(Waiting("a"))
    runner.stop(second)
    assert second.status == "stopped"
    first.go.set()
    finish(first)
    assert second.thread == 0


def test_errors_are_told_and_the_thread_goes_on(runner, caplog):
    failing, broken = runner.submit(Failing("a")), runner.submit(Broken("a"))
    assert finish(failing).error == "Too bad. Try again."
    assert "ZeroDivisionError" in finish(broken).error
    assert "of ours" not in broken.error
    assert "of ours" in caplog.text
    last = runner.submit(Waiting("a"))
    last.go.set()
    assert finish(last).status == "done"


def test_latest_is_of_the_owner_and_kind_and_prefers_a_live_one(runner):
    assert runner.latest("a", Waiting) is None
    first = runner.submit(Waiting("a"))
    runner.submit(Other("b"))
    assert runner.latest("a", Waiting) is first
    assert runner.latest("a", Other) is None
    assert runner.busy("a") and not runner.busy("c")
    first.go.set()
    finish(first)
    assert runner.latest("a", Waiting) is first


def test_finished_jobs_are_forgotten_in_the_end(runner):
    for _ in range(KEPT + 5):
        finish(runner.submit(Failing("a")))
    runner.submit(Failing("a"))
    assert len(runner._jobs) <= KEPT + 1


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_the_work_stands_back_behind_the_page(runner):
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    job = finish(runner.submit(Polite("me")))
    assert job.nice == min(19, mine + POLITE)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine


class Counting(Job):
    def run(self):
        while not self.told_to_stop():
            self.done += 1
            self.stop.wait(0.001)
        return "stopped"


def test_a_running_job_pauses_once_while_a_page_loads(runner, monkeypatch):
    monkeypatch.setattr(jobs, "PAUSE", 0.3)
    job = runner.submit(Counting("a"))
    wait_until(lambda: job.done)
    runner.make_way()
    time.sleep(0.05)
    paused = job.done
    time.sleep(0.1)
    assert job.done == paused
    wait_until(lambda: job.done > paused)
    runner.make_way()  # too soon after the last time
    before = job.done
    time.sleep(0.1)
    assert job.done > before + 1
    runner.stop(job)
    finish(job)


def test_a_pause_does_not_hold_up_a_stop(runner, monkeypatch):
    monkeypatch.setattr(jobs, "PAUSE", 60.0)
    job = runner.submit(Counting("a"))
    wait_until(lambda: job.done)
    runner.make_way()
    runner.stop(job)
    finish(job, seconds=2)
    assert job.status == "stopped"


def test_nothing_runs_and_nothing_pauses(runner):
    runner.make_way()
    job = runner.submit(Counting("a"))
    wait_until(lambda: job.done)
    runner.stop(job)


def wait_until(true):
    limit = time.monotonic() + 5
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.005)
