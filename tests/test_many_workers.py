"""Files that workers make, with tasks that need no model."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch

from celeb_core.cli import engines
from celeb_core.errors import CelebError, NoFaceFound
from celeb_core.many.engine import Event, distribute
from celeb_core.many.pools import Inline, Processes
from celeb_core.many.records import Outcome
from celeb_core.many.work import StudioOptions
from celeb_core.many.workers import FileWork, Here, KeptPool, Workers

LABELS = {"model": "tiny", "basis": "b", "recogniser": "r"}


class NoStudio:
    """Stands for the options of a studio that needs no loading."""

    def load(self, device):
        models = SimpleNamespace(id="tiny", dtype="float32")
        basis, faces = SimpleNamespace(id="b"), SimpleNamespace(id="r")
        return SimpleNamespace(models=models, basis=basis, faces=faces, calibration=None)


@dataclass(frozen=True, eq=False)
class Square:
    """A file of a square, and of who made it; a `deadly` one kills its worker the first time."""

    numbers: torch.Tensor
    marks: Path
    deadly: bool = False
    error: str = ""

    def make(self, studio):
        number = int(self.numbers[0])
        if self.error:
            raise NoFaceFound(self.error, option="--face")
        mark = self.marks / f"{number}"
        if self.deadly and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with open(self.marks / "pids", "a") as file:
            file.write(f"{os.getpid()}\n")
        return f"{number * number} {studio.models.id}".encode()


@pytest.fixture
def marks(tmp_path):
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


def squares(count, marks, **numbers):
    return [
        Square(torch.tensor([n]), marks, **{key: value[n] for key, value in numbers.items()})
        for n in range(count)
    ]


def paths_of(count, folder):
    return [folder / "files" / str(number) for number in range(count)]


def made(paths):
    return [path.read_bytes() for path in paths]


def wanted(count):
    return [f"{n * n} tiny".encode() for n in range(count)]


@pytest.mark.parametrize("kind", ["here", "workers"])
def test_what_is_intact_is_not_made(kind, marks, tmp_path):
    makers = {
        "here": Here(NoStudio().load(None)),
        "workers": Workers(KeptPool(Inline()), NoStudio(), LABELS),
    }[kind]
    paths = paths_of(5, tmp_path)
    paths[0].parent.mkdir()
    paths[1].write_bytes(b"kept")
    paths[3].write_bytes(b"dam")
    progress = makers.make(paths, squares(5, marks), lambda path: path.is_file() and b"dam" not in path.read_bytes())  # fmt: skip  # noqa: E501
    assert list(progress) == [2, 3, 4, 4, 5]
    assert made(paths) == [b"0 tiny", b"kept", *wanted(5)[2:]]
    assert list(makers.make(paths, squares(5, marks, error=["No."] * 5))) == [5]


@pytest.fixture
def two(forking):
    """Two worker processes."""
    pool = KeptPool(Processes(["cpu", "cpu"]))
    yield pool
    pool.end()
    assert not multiprocessing.active_children()


def test_two_processes_divide_the_files_and_one_that_is_killed_costs_nothing(two, marks, tmp_path):
    makers, paths = Workers(two, NoStudio(), LABELS), paths_of(12, tmp_path)
    deadly = squares(12, marks, deadly=[n == 1 for n in range(12)])
    assert [*makers.make(paths, deadly)] == [*range(13)]
    assert (marks / "1").exists() and made(paths) == wanted(12)
    # Until both have made something: the second one may be loaded late.
    both = {str(child.pid) for child in multiprocessing.active_children()}
    for number in range(1000):
        list(makers.make(paths_of(12, tmp_path / f"{number}"), squares(12, marks)))
        pids = set((marks / "pids").read_text().split())
        if both <= pids:
            break
    assert len(both) == 2 and both <= pids and str(os.getpid()) not in pids
    assert both == {str(child.pid) for child in multiprocessing.active_children()}


def test_what_a_task_raises_reaches_the_caller_and_the_next_call_works(two, marks, tmp_path):
    makers, paths = Workers(two, NoStudio()), paths_of(2, tmp_path)
    with pytest.raises(NoFaceFound, match="^No face in it. On the command line: --face.$"):
        list(makers.make(paths, squares(2, marks, error=["No face in it.", ""])))
    assert not paths[0].exists()
    list(makers.make(paths, squares(2, marks)))
    assert made(paths) == wanted(2)


def test_workers_with_another_model_are_refused(marks, tmp_path):
    other = LABELS | {"basis": "names-2"}
    makers = Workers(KeptPool(Inline()), NoStudio(), other)
    with pytest.raises(CelebError, match="The basis of a worker is b, here it is names-2"):
        list(makers.make(paths_of(2, tmp_path), squares(2, marks)))
    assert not any(path.exists() for path in paths_of(2, tmp_path))


def test_a_file_whose_workers_die_each_time_ends_everything(marks, tmp_path):
    class Dying(Inline):
        def give(self, worker, items):
            self.events.append(Event(0, "died", "signal 9"))
            self.events.append(Event(0, "ready", None))

    pool = Dying()
    makers = Workers(KeptPool(pool), NoStudio())
    pool.start = lambda work, most: pool.events.append(Event(0, "ready", SimpleNamespace(made_by={}, at_once=1)))  # fmt: skip  # noqa: E501
    with pytest.raises(CelebError, match="0: The process that worked on it died 3 times"):
        list(makers.make(paths_of(1, tmp_path), squares(1, marks)))


def test_what_is_spawned_gets_the_work_pickled():
    work = FileWork(StudioOptions("tiny", {"dtype": "float32", "cache": Path("cache")}))
    assert pickle.loads(pickle.dumps(work)) == work


# --- kept pools


class Counted:
    """A work that counts how often it is loaded."""

    loads, at_once, made_by = 0, 1, {}

    def load(self, device):
        self.loads += 1
        return self

    def do(self, items):
        if "bad" in items:
            raise KeyboardInterrupt
        return [Outcome({"done": item}) for item in items]


class Watched(Inline):
    """A pool that counts how often it is closed."""

    closed = 0

    def close(self):
        self.closed += 1
        super().close()


def done(work, pool, items):
    return [one.record["done"] for one in distribute(items, work, pool)]


def test_workers_stay_loaded_until_the_end():
    work, inner = Counted(), Watched()
    pool = KeptPool(inner)
    assert done(work, pool, []) == [] and work.loads == 0
    for items in ([1, 2, 3], [], [4]):
        assert done(work, pool, items) == items
    assert work.loads == 1 and inner.closed == 0
    pool.end()
    assert inner.closed == 1
    assert done(work, pool, [5]) == [5] and work.loads == 2


def test_what_is_cut_off_ends_the_workers():
    work, inner = Counted(), Watched()
    pool = KeptPool(inner)
    with pytest.raises(KeyboardInterrupt):
        done(work, pool, [1, "bad", 2])
    assert inner.closed == 1 and done(work, pool, [3]) == [3] and work.loads == 2
    running = distribute([1, 2, 3], work, pool)
    next(running)
    running.close()  # nothing is under way in this process
    assert inner.closed == 1 and done(work, pool, [4]) == [4] and work.loads == 2


def test_a_worker_that_is_late_is_there_in_the_next_call():
    class Two(Inline):
        """Two workers; the second one is loaded when the first call is over."""

        def start(self, work, most):
            super().start(work, most)
            self.given, self.late = [], threading.Event()

        def give(self, worker, items):
            self.given.append(worker)
            self.events.append(Event(worker, "done", self.worker.do(items)))

        def wait(self):
            if self.late.is_set():
                self.late.clear()
                return [Event(1, "ready", self.first)]
            events = super().wait()
            if events[0].kind == "ready":
                self.first = events[0].value
            return events

    work, inner = Counted(), Two()
    pool = KeptPool(inner)
    assert done(work, pool, [1, 2]) == [1, 2] and set(inner.given) == {0}
    inner.late.set()
    assert sorted(done(work, pool, [3, 4, 5, 6])) == [3, 4, 5, 6] and set(inner.given) == {0, 1}
    assert work.loads == 1


def test_after_a_failure_workers_are_started_anew():
    class Failing(Watched):
        def give(self, worker, items):
            if "wrong" in items:
                self.events.append(Event(worker, "failed", CelebError("It is wrong.")))
            else:
                super().give(worker, items)

    work, inner = Counted(), Failing()
    pool = KeptPool(inner)
    with pytest.raises(CelebError, match="It is wrong"):
        done(work, pool, ["wrong"])
    assert inner.closed == 1 and done(work, pool, [1]) == [1] and work.loads == 2


# --- the command line


def options_of(**values):
    usual = {"model": "tiny", "device": "cpu", "engine": "local", "workers": None}
    named = "dtype memory compiled face_pack names cache calibration vae allow_pickle".split()
    return Namespace(**{**usual, "ray_address": None, **dict.fromkeys(named), **values})


def test_workers_end_with_the_block_whatever_happens(studio, monkeypatch):
    inner = mock.Mock()
    monkeypatch.setattr(StudioOptions, "load", lambda options, device: studio)
    monkeypatch.setattr(engines, "Processes", lambda devices: inner)
    with pytest.raises(KeyboardInterrupt), engines.makers_of(options_of(workers=2)) as (own, made):
        assert own is studio and isinstance(made, Workers)
        assert made.made_by["basis"] == studio.basis.id and made.pool.pool is inner
        raise KeyboardInterrupt
    inner.close.assert_called_once()


def test_one_worker_or_shard_is_this_process(studio, monkeypatch):
    monkeypatch.setattr(engines, "load_studio", lambda model, **options: studio)
    with engines.makers_of(options_of(workers=1)) as (own, made):
        assert own is studio and (made.studio, made.shard) == (studio, (0, 1))
    with engines.makers_of(options_of(), (1, 4)) as (own, made):
        assert own is studio and (made.studio, made.shard) == (studio, (1, 4))
