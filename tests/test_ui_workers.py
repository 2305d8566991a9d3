"""A page with several workers, without Ray: they are calls of the tiny model, in this process."""

from __future__ import annotations

import queue
import threading
from dataclasses import replace

import pytest
import torch
from conftest import portrait
from ui_help import fill_library, finish, make_page, until

from celeb_core import (
    PRESETS,
    CelebError,
    Person,
    SampleConfig,
    TrainStep,
    find_face,
    parse_prompt,
)
from celeb_core.errors import PromptTooLong
from celeb_core.many.work import StudioOptions
from ui import gpu_tasks
from ui.about import AboutTab
from ui.calls import OnWorkers
from ui.estimate_job import EstimateJob
from ui.executor import GpuUnavailable, InProcess, Watch
from ui.gpu_tasks import TrainTask
from ui.portrait_job import PortraitJob
from ui.ray_executor import use_cluster
from ui.worker import Worker
from ui.worker_pool import ATTEMPTS, WorkerDied, WorkerPool

MODELS = threading.Lock()  # one process has one set of them


class Workers:
    """Two workers, each of which dies at the calls of these numbers, counted over both."""

    def __init__(self, deadly=(), count=2, refused=()):
        self.deadly, self.count, self.refused = deadly, count, list(refused)
        self.calls = self.under_way = self.most = self.started = 0
        self.go, self.ended = threading.Event(), False
        self.go.set()
        self.lock = threading.Lock()

    def start(self):
        if self.refused:
            raise self.refused.pop(0)
        self.started += 1
        return self.work

    def work(self, seconds, request):
        with self.lock:
            self.calls += 1
            number = self.calls
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            assert self.go.wait(60)
            if number in self.deadly:
                raise WorkerDied("signal 9")
            with MODELS:
                return gpu_tasks.perform(seconds, request)
        finally:
            with self.lock:
                self.under_way -= 1

    def close(self):
        self.ended = True


def executor_of(workers, studio, monkeypatch):
    monkeypatch.setattr(gpu_tasks, "_studio", studio)
    monkeypatch.setattr(gpu_tasks, "WORTH", 0.0)  # slices of a step
    monkeypatch.setattr("ui.calls.PACE", 0.0)
    pool = WorkerPool(workers, patience=30)
    pool.wait()
    return OnWorkers(pool, "cpu", pool.close)


@pytest.fixture
def core(studio, calibration):
    return replace(studio, calibration=calibration)


@pytest.fixture
def use(core, tmp_path, monkeypatch):
    """Build a page whose jobs run on these workers."""
    pages = []

    def build(workers, isolated=False):
        page = make_page(core, tmp_path, isolated)
        page.shared.executor = executor_of(workers, core, monkeypatch)
        page.shared.runner.workers = workers.count
        pages.append(page)
        return page

    yield build
    for page in pages:
        page.shared.close()


def enlist(workspace, name):
    workspace.enlist(workspace.add_photo(portrait(), name), 0, name, consent=True)
    return [workspace.trainee(name).id]


def numbers_of(steps):
    return [(step.step, step.losses) for step in steps if step.losses]


@pytest.fixture
def people(core):
    return [Person("ada", (find_face(portrait(), core.faces),))]


def test_trainings_and_images_are_those_of_this_process_to_the_bit(core, people, monkeypatch):
    workers = Workers(deadly=(2, 5))
    executor = executor_of(workers, core, monkeypatch)
    config = PRESETS["best"].changed(steps=6, batch_size=1, views=2)
    here = list(InProcess().train(core, people, config, None))
    there = list(executor.train(core, people, config, None))
    assert workers.calls >= 6 and workers.started >= 4  # two died, in slices and between them
    assert numbers_of(there) == numbers_of(here) and len(numbers_of(here)) == 6
    (ada,), (other,) = here[-1].people, there[-1].people
    assert torch.equal(ada.coefficients, other.coefficients) and ada.settings == other.settings
    tensors, same = here[-1].checkpoint()[0], there[-1].checkpoint()[0]
    assert all(torch.equal(tensor, same[key]) for key, tensor in tensors.items())

    prompt, seen = parse_prompt("a photo of <ada>", {"ada": ada}), []
    batches = [((prompt,), SampleConfig(seed=seed, steps=2)) for seed in (3, 4)]
    watch = Watch(on_step=lambda done, total: seen.append((done, total)))
    images = list(executor.generate(core, batches, watch))
    expected = list(InProcess().generate(core, batches))
    assert [one.tobytes() for (one,) in images] == [one.tobytes() for (one,) in expected]
    assert seen == [(2, 2), (2, 2)]


def test_a_slice_lasts_as_long_as_was_wanted_and_pays_for_its_preparation(
    core, people, monkeypatch
):
    now = [0.0]
    monkeypatch.setattr("ui.gpu_tasks.time.perf_counter", lambda: now[0])
    config = PRESETS["best"].changed(steps=50)

    def steps_of(preparation, pace):
        def training(*arguments, **options):
            for number in range(51):
                now[0] += preparation if number == 1 else 1.0
                losses = {"ada": 0.0} if number else {}
                yield step_of(number, losses)

        monkeypatch.setattr("ui.gpu_tasks.fit_identities", training)
        task = TrainTask(tuple(people), config, None, "", None, 50, pace=pace)
        part = task.run(core, 10**6)
        assert part.finished == (part.steps[-1].step == 50)
        return part.steps[-1].step

    assert steps_of(preparation=1.0, pace=3.0) == 4
    assert steps_of(preparation=1.0, pace=0.0) == 1 + gpu_tasks.WORTH
    assert steps_of(preparation=4.0, pace=3.0) == 1 + 4 * gpu_tasks.WORTH
    assert steps_of(preparation=30.0, pace=3.0) == 1 + gpu_tasks.LONGEST
    assert steps_of(preparation=1.0, pace=1000.0) == 50


def step_of(number, losses):
    return TrainStep(number, 50, losses, 0.0, None, checkpoint=lambda: ({}, {}))


def test_a_training_stops_between_slices_and_goes_on_from_there(use):
    workers = Workers()
    page = use(workers)
    workers.go.clear()
    assert page.train.start(enlist(page.shared.workspace(""), "ada"), "fast", 4, 0, "") == {
        page.train.problem: ""
    }
    until(lambda: workers.calls)
    page.train.stop("")
    workers.go.set()
    job = finish(page.train.job(""))
    assert (job.status, workers.calls) == ("stopped", 1) and 1 <= job.step < 4 and job.resumable
    page.train.resume("")
    job = finish(page.train.job(""))
    assert (job.status, job.step, job.error, job.warning) == ("done", 4, "", "")
    assert [step for step, _ in job.losses] == [1, 2, 3, 4] and len(job.results) == 2


def test_what_was_done_is_kept_when_all_die(use):
    """The first slice is done; then each worker dies, the new ones too."""
    workers = Workers(deadly=range(2, 2 + ATTEMPTS))
    page = use(workers)
    page.train.start(enlist(page.shared.workspace(""), "ada"), "fast", 3, 0, "")
    job = finish(page.train.job(""))
    assert job.status == "failed", job.error
    assert f"died, {ATTEMPTS} one after the other" in job.error
    assert job.step >= 1 and job.resumable and job.savable and "signal" not in job.error
    page.train.resume("")
    assert finish(page.train.job("")).step == 3


def test_images_stop_between_batches(use, people):
    workers = Workers()
    page = use(workers)
    fill_library(page, people)
    workers.go.clear()
    form = {"grid_people": [], "count": 3, "seed": 5, "new_seed": False, "strength": 1.0}
    form |= {"embed_settings": True, "steps": 1, "guidance_scale": 3.0, "session": ""}
    page.compose.start(text="a photo of <ada>", **form)
    until(lambda: workers.calls)
    page.compose.results.cancel("")
    workers.go.set()
    job = finish(page.compose.results.job(""))
    assert job.status == "stopped" and len(job.images) == workers.calls == 1


def test_jobs_of_two_owners_run_at_the_same_time(use, people):
    workers = Workers()
    page = use(workers, isolated=True)
    shared, jobs = page.shared, []
    workers.go.clear()
    for _ in range(2):
        session = shared.new_session()
        enlisted = enlist(shared.workspace(session), "ada")
        assert page.train.start(enlisted, "fast", 2, 0, session) == {page.train.problem: ""}
        jobs.append(page.train.job(session))
    until(lambda: workers.under_way == 2)
    assert [job.status for job in jobs] == ["running", "running"]
    workers.go.set()
    assert [finish(job).status for job in jobs] == ["done", "done"]
    assert workers.most == 2 and jobs[0].losses == jobs[1].losses
    assert "Workers" in AboutTab(shared)._facts() and "2: as many jobs" in AboutTab(shared)._facts()


def test_the_first_measurement_is_of_a_worker(use):
    workers = Workers()
    shared = use(workers).shared
    shared.estimates.assume("workers (cpu)")
    job = EstimateJob(owner="", estimates=shared.estimates, executor=shared.executor)
    finish(shared.runner.submit(job))
    assert shared.estimates.measured and workers.calls == 5


def test_a_model_is_not_prepared_by_the_process_of_the_page(studio, tmp_path, monkeypatch):
    core = replace(studio, cache=tmp_path)
    page = make_page(core, tmp_path)
    assert page.train.prepare.offered
    page.shared.executor = executor_of(Workers(), core, monkeypatch)
    assert not type(page.train.prepare)(page.shared).offered


def test_a_portrait_of_somebody_who_was_trained_anew_is_not_kept(use, people):
    workers = Workers()
    page = use(workers)
    fill_library(page, people)
    workspace = page.shared.workspace("")
    workers.go.clear()
    page.library.generate("")
    until(lambda: workers.calls)
    ada = workspace.people()["ada"]
    workspace.save_person(replace(ada, coefficients=ada.coefficients + 1))
    workers.go.set()
    assert finish(page.shared.runner.latest("local", PortraitJob)).status == "done"
    assert workspace.portraits.find("ada") is None
    page.library.generate("")
    finish(page.shared.runner.latest("local", PortraitJob))
    assert workspace.portraits.find("ada") is not None


# --- workers that die, cannot be started, or are none


def test_errors_of_a_worker_are_raised_here(core, monkeypatch):
    workers = Workers()
    executor = executor_of(workers, core, monkeypatch)
    with pytest.raises(PromptTooLong, match="do not fit"):
        list(executor.generate(core, [((parse_prompt("smiling " * 90, {}),), SampleConfig())]))
    assert workers.calls == 1  # it is not tried again


def test_a_bug_costs_neither_a_worker_nor_another_try(core, world, monkeypatch):
    options, labels = StudioOptions(str(world)), (core.models.id, core.basis.id)
    worker = Worker(options, "cpu", labels)
    assert worker.ready() is None
    monkeypatch.setattr(gpu_tasks.GenerateTask, "run", lambda *_: 1 / 0)
    executor = OnWorkers(worker.perform, "cpu", lambda: None)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(executor.generate(core, [((), SampleConfig())]))
    monkeypatch.setattr("ui.worker.probe", lambda device: [][0])  # the device has failed
    with pytest.raises(IndexError):
        worker.perform(1, b"")


def test_a_worker_with_another_model_says_so(core, world):
    error = Worker(StudioOptions(str(world)), "cpu", ("other", core.basis.id)).ready()
    assert isinstance(error, CelebError) and core.models.id in str(error) and "other" in str(error)
    error = Worker(StudioOptions("nowhere"), "cpu", ("", "")).ready()
    assert isinstance(error, CelebError) and "There is no model" in str(error)


def test_a_worker_that_cannot_be_started_is_missed_and_all_of_them_are_an_error(caplog):
    pool = WorkerPool(Workers(refused=[CelebError("There is no model.")]))
    pool.wait()
    until(lambda: "missing from now on: There is no model." in caplog.text)
    none = Workers(refused=[WorkerDied("signal 9")] * 2 * ATTEMPTS)
    pool = WorkerPool(none)
    with pytest.raises(CelebError, match="while it loaded the model .signal 9."):
        pool.wait()
    with pytest.raises(GpuUnavailable, match="No worker is there"):
        pool(1, b"")
    assert none.started == 0


def test_who_waits_for_a_worker_is_told_when_the_pool_is_closed():
    workers = Workers(count=1)
    workers.go.clear()
    pool, answers = WorkerPool(workers), queue.SimpleQueue()

    def call():
        try:
            pool(1, b"")
        except Exception as error:
            answers.put(type(error))

    threads = [threading.Thread(target=call, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: workers.calls)
    pool.close()
    assert answers.get(timeout=60) is GpuUnavailable and workers.ended
    workers.go.set()
    for thread in threads:
        thread.join(60)


# --- a cluster that is none


class Remote:
    """A method of an actor: what it returns or raises is got later."""

    def __init__(self, method):
        self.method = method

    def remote(self, *arguments):
        return lambda: self.method(*arguments)


class Handle:
    """An actor of this process; the first one of all dies at its first task."""

    made = 0

    def __init__(self, *arguments):
        with MODELS:  # transformers loads one at a time
            self.worker = Worker(*arguments)
            Handle.made += 1
            self.number = Handle.made
        self.ready, self.perform = Remote(self.worker.ready), Remote(self._perform)

    def _perform(self, seconds, request):
        if self.number == 1:
            raise Cluster.ray.exceptions.RayError("The actor died.\n\nIts node is gone.")
        with MODELS:
            return self.worker.perform(seconds, request)


class Cluster:
    class ray:
        class exceptions:
            RayError = type("RayError", (Exception,), {})

        get = staticmethod(lambda later: later())

    device, places = "cpu", 2

    def __init__(self):
        self.killed, self.closed = [], False

    def kind(self, cls):
        assert cls is Worker
        return type("Kind", (), {"remote": staticmethod(Handle)})

    def kill(self, handle):
        self.killed.append(handle)

    def close(self):
        self.closed = True


def test_a_page_uses_a_cluster_and_an_actor_that_dies_is_replaced(
    core, world, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(gpu_tasks, "_studio", None)
    monkeypatch.setattr(Handle, "made", 0)
    page, cluster = make_page(core, tmp_path), Cluster()
    shared = page.shared
    use_cluster(shared, cluster, StudioOptions(str(world)))
    assert shared.core.models.note == "Tinyville on 2 workers (cpu): chosen with --model"
    assert shared.runner.workers == 2 and not shared.estimates.measured
    until(lambda: len(shared.executor._perform._idle) == 2)
    for _ in range(2):
        batch = (parse_prompt("a photo", {}),), SampleConfig(steps=1)
        assert len(list(shared.executor.generate(core, [batch]))) == 1
    assert [handle.number for handle in cluster.killed] == [1]
    assert "a worker died: Its node is gone." in caplog.text
    until(lambda: len(shared.executor._perform._idle) == 2)
    shared.close()
    assert cluster.closed


def test_workers_that_cannot_load_the_model_are_an_error_at_the_start(core, tmp_path):
    page, cluster = make_page(core, tmp_path), Cluster()
    with pytest.raises(CelebError, match="There is no model “nowhere”"):
        use_cluster(page.shared, cluster, StudioOptions("nowhere"))
    assert len(cluster.killed) == 2 and cluster.closed
