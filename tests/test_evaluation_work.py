"""Items of an evaluation on workers; whole runs are in `test_evaluation_evaluate.py`, too."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace

import pytest
import torch

from celeb_core.errors import CelebError, UsageError
from celeb_core.evaluation.evaluate import EvaluationConfig, evaluate
from celeb_core.evaluation.run import Progress, Run
from celeb_core.evaluation.work import Describe, EvaluateWork, OnWorkers, describe
from celeb_core.formats.calibration_file import load_calibration, save_calibration
from celeb_core.many.engine import Event
from celeb_core.many.pools import Inline, Processes
from celeb_core.many.work import Ready, StudioOptions


def test_workers_that_have_loaded_something_else_are_refused(evaluated, monkeypatch):
    monkeypatch.setattr(StudioOptions, "load", lambda options, device: evaluated)
    with closing(OnWorkers(EvaluateWork(StudioOptions()), Inline())) as workers:
        assert list(workers.do([Describe()], Run())) == [(0, describe(evaluated))]
        bare, config = replace(evaluated, calibration=None), EvaluationConfig(count=1)
        with pytest.raises(UsageError, match="would not evaluate the same .calibration: None and"):
            evaluate(bare, config, executor=workers)


class Others(Inline):
    """A second worker, which has another precision."""

    def start(self, work, most):
        super().start(work, most)
        (ready,) = self.events
        made_by = {**ready.value.made_by, "dtype": "float16"}
        self.events.append(Event(1, "ready", Ready(made_by, 1)))


class Deadly(Inline):
    """A worker that dies of whatever it gets."""

    def give(self, worker, items):
        ready = Ready(self.worker.made_by, 1)
        self.events += [Event(worker, "died", "signal 9"), Event(worker, "ready", ready)]


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (Others, "dtype: float32 and float16"),
        (Deadly, r"loading: The process that worked on it died 3 times \(signal 9\)"),
    ],
)
def test_what_is_wrong_with_workers_ends_the_evaluation(pool, message, studio, monkeypatch):
    monkeypatch.setattr(StudioOptions, "load", lambda options, device: studio)
    with closing(OnWorkers(EvaluateWork(StudioOptions()), pool())) as workers:
        with pytest.raises(CelebError, match=message):
            list(workers.do([Describe(), Describe()], Run()))


class Killed(BaseException):
    """What no code catches."""


class Mortal(Processes):
    """Processes of which one is killed, with what it was given second."""

    given = 0

    def give(self, worker, items):
        super().give(worker, items)
        self.given += 1
        if self.given == 2:
            self.each[worker].process.kill()


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_two_processes_of_which_one_dies_finish_what_another_began(
    measured_world, evaluated, one_thread, short, tmp_path
):
    save_calibration(made := evaluated.calibration, path := tmp_path / "c.safetensors")
    loaded = load_calibration([path], made.recogniser, made.basis_id)
    studio = replace(evaluated, calibration=loaded)
    config, out = EvaluationConfig(count=1, rows=("trained",)), tmp_path / "out"
    whole = evaluate(studio, config, tmp_path / "whole")

    def kill(progress: Progress) -> None:
        if progress.done > 1:
            raise Killed

    with pytest.raises(Killed):
        evaluate(studio, config, out, kill)
    before = (out / "scores.jsonl").read_text()
    options = StudioOptions(str(measured_world), {"calibration": path})
    pool = Mortal(["cpu", "cpu"])
    with closing(OnWorkers(EvaluateWork(options), pool)) as workers:
        result = evaluate(studio, config, out, executor=workers)
    assert not any(one.process.is_alive() for one in pool.each) and pool.given > 5
    for one in (whole, result):
        assert one["trained"].pop("seconds") > 0
    lines = (out / "scores.jsonl").read_text()
    assert before and lines.startswith(before)
    keys = [json.loads(line)["key"] for line in lines.splitlines()]
    assert len(keys) == len(set(keys)) == 2 * 4 + 1 + 2  # each once
    assert result == whole  # to the bit
