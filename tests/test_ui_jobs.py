from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
from ui_help import finish

from celeb_core import CelebError
from ui.jobs import REMEMBERED, Job, Runner


@dataclass(eq=False)
class Waiting(Job):
    go: threading.Event = field(default_factory=threading.Event)
    thread: int = 0

    def run(self):
        self.thread = threading.get_ident()
        while not self.go.wait(0.005):
            if self.told_to_stop():
                return "stopped"
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
    runner = Runner()
    yield runner
    runner.close()


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
    later = runner.submit(Waiting("a"))
    runner.submit(Other("b"))
    runner.stop(later)
    assert runner.latest("a", Waiting) is first
    assert runner.latest("a", Other) is None
    assert runner.busy("a") and not runner.busy("c")
    first.go.set()
    finish(first)
    assert runner.latest("a", Waiting) is later


def test_finished_jobs_are_forgotten_in_the_end(runner):
    ids = [finish(runner.submit(Failing("a"))).id for _ in range(REMEMBERED + 5)]
    newest = runner.submit(Waiting("a"))
    remembered = [job.id for job in runner.finished("a", Failing)]
    assert remembered == ids[::-1][:REMEMBERED]
    assert runner.latest("a", Waiting) is newest


def test_closing_stops_everything_and_waits_for_it():
    runner = Runner()
    running, waiting = runner.submit(Waiting("a")), runner.submit(Waiting("b"))
    runner.close()
    assert running.status == waiting.status == "stopped"
    assert waiting.thread == 0
