from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
from ui_help import finish, until

from celeb_core import CelebError
from ui.jobs import REMEMBERED, Job, Place, Runner
from ui.limits import LimitReached, Limits


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
    assert runner.place(second).ahead == 1
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


def order_of(runner: Runner, *jobs: Job) -> list[Job]:
    """Let all jobs run to their end; return them in the order in which they began."""
    for job in jobs:
        job.go.set()
    return sorted((finish(job) for job in jobs), key=lambda job: job.began)


def test_the_owners_take_turns(runner):
    a = [runner.submit(Waiting("a")) for _ in range(4)]
    b = [runner.submit(Waiting("b")) for _ in range(2)]
    c = [runner.submit(Waiting("c"))]
    assert [runner.place(job).ahead for job in (*a, *b, *c)] == [0, 3, 5, 6, 1, 4, 2]
    began = [job.owner for job in order_of(runner, *a, *b, *c)]
    assert began == ["a", "b", "c", "a", "b", "a", "a"]


def test_a_newcomer_waits_for_the_running_job_alone(runner):
    greedy = [runner.submit(Waiting("greedy")) for _ in range(10)]
    newcomer = runner.submit(Waiting("newcomer"))
    assert runner.place(newcomer).ahead == 1
    assert order_of(runner, *greedy, newcomer).index(newcomer) == 1


def test_newcomers_do_not_keep_back_who_waits_for_a_second_job(runner):
    first = [runner.submit(Waiting("a")), runner.submit(Waiting("b"))]
    second = runner.submit(Waiting("a"))
    order_of(runner, first[0])
    late = runner.submit(Waiting("c"))  # after the first job of a was over
    assert order_of(runner, first[1], second, late) == [first[1], second, late]


def test_the_time_until_a_job_is_that_of_those_before_it(runner):
    blocked = runner.submit(Other("a"))
    waiting = [runner.submit(Waiting(owner)) for owner in "bcd"]
    assert runner.place(waiting[2]) == Place(3, 0.0)  # nothing is known yet
    done = runner.submit(Waiting("e"))
    order_of(runner, blocked, *waiting, done)
    runner.submit(Other("a"))
    first, second = runner.submit(Waiting("b")), runner.submit(Waiting("c"))
    longer = runner.place(second).seconds  # asked first: what the running job has left shrinks
    assert runner.place(first).seconds < longer < 60


def test_an_owner_has_only_so_many_jobs(runner):
    runner.limits = Limits(jobs=2)
    mine = [runner.submit(Waiting("a")) for _ in range(2)]
    with pytest.raises(LimitReached, match="2 jobs of yours"):
        runner.submit(Waiting("a"))
    theirs = runner.submit(Waiting("b"))
    for _ in range(3):  # of the app itself
        runner.submit(Waiting("")).go.set()
    order_of(runner, *mine, theirs)
    runner.submit(Waiting("a"))


def test_jobs_of_the_gone_and_endless_ones_are_stopped_with_a_reason(runner):
    runner.limits = Limits(seconds=0.01)
    endless = runner.submit(Waiting("here"))
    queued, own = runner.submit(Waiting("gone")), runner.submit(Waiting(""))
    until(lambda: endless.seconds > 0.01)
    runner.check(lambda owner: owner == "gone")
    assert finish(endless).status == queued.status == "stopped"
    assert "Stopped after 0 s" in endless.reason and "closed" in queued.reason
    assert own.live and not own.reason  # of the app itself
    own.go.set()
    finish(own)


def test_what_is_forgotten_is_over(runner):
    live, over = runner.submit(Waiting("a")), runner.submit(Failing("b"))
    live.go.set()
    finish(live), finish(over)
    runner.forget("a")
    assert runner.latest("a", Waiting) is None and runner.latest("b", Failing) is over


# --- several workers


@pytest.fixture
def pair():
    runner = Runner(workers=2)
    yield runner
    runner.close()


def test_two_workers_run_two_jobs_at_the_same_time(pair):
    jobs = [pair.submit(Waiting(owner)) for owner in "abc"]
    until(lambda: jobs[0].thread and jobs[1].thread)
    assert [job.status for job in jobs] == ["running", "running", "queued"]
    assert jobs[0].thread != jobs[1].thread
    assert pair.place(jobs[2]).ahead == 1  # of the two, one has to end
    jobs[1].go.set()
    until(lambda: jobs[2].thread)
    assert jobs[0].live and jobs[2].thread == jobs[1].thread


def test_who_has_no_job_that_runs_comes_before_who_has_one(pair):
    """Alone, the greedy one has both workers; as soon as others wait, one at most."""
    greedy = [pair.submit(Waiting("greedy")) for _ in range(5)]
    until(lambda: greedy[0].thread and greedy[1].thread)
    others = [pair.submit(Waiting(owner)) for owner in "abb"]
    assert [pair.place(job).ahead for job in (*others, *greedy[2:])] == [1, 2, 4, 3, 5, 6]
    greedy[0].go.set()
    until(lambda: others[0].thread)
    others[0].go.set()  # greedy still has one that runs
    until(lambda: others[1].thread)
    assert not others[2].thread and not greedy[2].thread
    greedy[1].go.set()  # now b has one
    until(lambda: greedy[2].thread)
    assert not others[2].thread
    for job in (*greedy, *others):
        job.go.set()
        finish(job)


def test_the_time_until_a_job_is_that_of_the_worker_that_is_free_first(pair, monkeypatch):
    expected = {"long": 100.0, "short": 10.0, "b": 30.0, "c": 0.0, "d": 0.0}
    monkeypatch.setattr(pair, "_expected", lambda job: expected[job.owner])
    monkeypatch.setattr(Job, "seconds", 0.0)
    jobs = [pair.submit(Waiting(owner)) for owner in ("long", "short")]
    until(lambda: all(job.thread for job in jobs))
    waiting = [pair.submit(Waiting(owner)) for owner in "bcd"]
    assert [pair.place(job).seconds for job in waiting] == [10.0, 40.0, 40.0]
    expected["b"] = 200.0
    assert [pair.place(job).seconds for job in waiting] == [10.0, 100.0, 100.0]


def test_an_owner_of_two_jobs_that_run_can_submit_a_third(pair):
    jobs = [pair.submit(Waiting("a")) for _ in range(2)]
    until(lambda: all(job.thread for job in jobs))
    jobs[0].go.set()
    finish(jobs[0])
    jobs += [pair.submit(Waiting("a")) for _ in range(2)]
    assert pair.place(jobs[3]).ahead in (0, 1)
    for job in jobs:
        job.go.set()
    assert {finish(job).status for job in jobs} == {"done"}


def test_two_jobs_fail_and_stop_apart(pair):
    endless, failing = pair.submit(Waiting("a")), pair.submit(Failing("b"))
    assert finish(failing).status == "failed" and endless.live
    pair.stop(endless)
    assert finish(endless).status == "stopped"
