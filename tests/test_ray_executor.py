"""A page whose workers are actors of a local Ray cluster; skipped where Ray is not installed."""

from __future__ import annotations

import os
import signal

import pytest
from conftest import portrait
from ui_help import finish, make_page, until

from celeb_core.many.work import StudioOptions
from ui import ray_executor
from ui.worker import Worker

ray = pytest.importorskip("ray")
STEPS = 40


class Traced(Worker):
    """Writes down which process does a task."""

    def perform(self, seconds, request):
        with open(os.environ["TRACE"], "a", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        return super().perform(seconds, request)


@pytest.fixture
def nodes(tmp_path):
    """A head without CPUs, and two worker nodes with one each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    here = os.path.dirname(__file__)
    path = f"{here}:{os.path.dirname(here)}"
    variables = {"PYTHONPATH": path, "TRACE": str(tmp_path / "pids")}
    ray.init(cluster.address, log_to_driver=False, runtime_env={"env_vars": variables})
    yield nodes
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_jobs_of_a_page_on_two_nodes_one_of_which_dies(
    nodes, world, studio, calibration, tmp_path, monkeypatch
):
    monkeypatch.setattr(ray_executor, "Worker", Traced)
    monkeypatch.setattr("ui.calls.PACE", 0.2)
    page = make_page(studio, tmp_path, isolated=True)
    shared, pids = page.shared, tmp_path / "pids"
    cluster = ray_executor.connect("auto", "cpu")
    ray_executor.use_cluster(shared, cluster, StudioOptions(str(world)))
    assert shared.runner.workers == 2 and "on 2 workers (cpu): " in shared.core.models.note

    sessions = [shared.new_session() for _ in range(2)]
    for session in sessions:
        workspace = shared.workspace(session)
        workspace.enlist(workspace.add_photo(portrait(), "ada"), 0, "ada", consent=True)
        page.train.start(list(workspace.trainees), "fast", STEPS, 0, session)
    jobs = [page.train.job(session) for session in sessions]
    until(lambda: pids.is_file() and len(set(pids.read_text().split())) == 2, 120)
    assert [job.status for job in jobs] == ["running", "running"]
    until(lambda: all(job.step for job in jobs), 120)
    for process in nodes[1].all_processes["raylet"]:
        os.kill(process.process.pid, signal.SIGKILL)
    for job in jobs:
        finish(job, 240)
        assert (job.status, job.error, job.warning) == ("done", "", "")
        assert [step for step, _ in job.losses] == list(range(1, STEPS + 1)) and len(
            job.results
        ) == 2
    assert jobs[0].losses == jobs[1].losses  # though one of them was on two nodes
    page.shared.close()
