"""Runs on a local Ray cluster; skipped where Ray is not installed."""

from __future__ import annotations

import os
import signal
import time

import pytest
from test_many_engine import WANTED, Doubling, values

from celeb_core.errors import CelebError, FeatureMissing
from celeb_core.many.engine import distribute
from celeb_core.many.ray_pool import RayActors

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs, and two worker nodes with one each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    here = os.path.dirname(__file__)
    ray.init(address=cluster.address, runtime_env={"env_vars": {"PYTHONPATH": f"{here}:{os.path.dirname(here)}"}})  # fmt: skip  # noqa: E501
    yield cluster, nodes
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_actors_divide_the_work_and_one_that_is_killed_costs_nothing(cluster, tmp_path):
    work = Doubling(str(tmp_path), deadly=(3, 8))
    assert values(distribute(range(9), work, RayActors())) == WANTED
    assert (tmp_path / "died-3").exists() and (tmp_path / "died-8").exists()


@pytest.mark.slow
def test_what_is_wrong_for_all_is_raised(cluster):
    with pytest.raises(CelebError, match="There is no model"):
        list(distribute(range(3), Doubling(wrong=True), RayActors()))


@pytest.mark.slow
def test_a_node_that_dies_costs_nothing(cluster, tmp_path):
    """The last test: the node does not come back."""
    _, nodes = cluster
    found, killed = {}, False
    work = Doubling(str(tmp_path), size=1)
    for outcome in distribute(range(9), work, RayActors()):
        assert outcome.record["key"] not in found
        found[outcome.record["key"]] = outcome.record["value"]
        if not killed and len((tmp_path / "pids").read_text().split()) >= 2:
            killed = True
            for process in nodes[1].all_processes["raylet"]:
                os.kill(process.process.pid, signal.SIGKILL)
            time.sleep(0)
    assert killed and found == WANTED


def test_no_cluster_at_an_address(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def refused(**options):
        raise ConnectionError("nobody listens")

    monkeypatch.setattr(ray, "init", refused)
    with pytest.raises(FeatureMissing, match="nobody listens.*Start one"):
        RayActors(address="localhost:1")
