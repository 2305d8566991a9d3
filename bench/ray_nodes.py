"""People trained on a Ray cluster of two nodes, one of which is killed in the middle.

    pip install 'celeb-basis-studio[ray]'
    OMP_NUM_THREADS=1 python -m bench.ray_nodes --people 200 --steps 5

The nodes are processes of this machine with one CPU each. The same people are trained in this
process, on one node, on both, and on both with the last one's processes killed (SIGKILL) after half
of the people. "identities" is a checksum of all files: equal is equal to the bit. "ideal" is people
per minute over those of one node, and the number of nodes; time begins when workers are loaded.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bench.scale import Together, checksum, photo_items
from celeb_core.many.engine import Pool, distribute
from celeb_core.many.pools import Inline
from celeb_core.many.ray_pool import RayActors
from celeb_core.many.records import DONE
from celeb_core.many.train_work import TrainItem, TrainWork
from celeb_core.many.work import Ready, StudioOptions
from celeb_core.marks.provenance import Marker

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Print the table."""
    options = _options()
    changes = {} if options.steps is None else {"steps": options.steps}
    work = TrainWork(
        StudioOptions(options.model), Marker(b"0" * 32), options.preset, changes, 0, 0, 1
    )
    print("| where | people | each once | seconds | people/min | ideal | identities |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        items = photo_items(options, Path(folder))
        if options.inline:
            run("this process", work, items, Inline("cpu"), 1, None, ())
        one = None
        for nodes, kill in ((1, False), (2, False), (2, True)):
            with cluster(nodes) as processes:
                where = f"{nodes} nodes, one killed" if kill else f"{nodes} nodes"
                pool = RayActors(nodes, "cpu")
                rate = run(where, work, items, pool, nodes, one, processes[-1] if kill else ())
                one = one or rate


def run(
    where: str,
    work: TrainWork,
    items: Sequence[TrainItem],
    pool: Pool,
    workers: int,
    one: float | None,
    killed: Sequence[int],
) -> float:
    """Train everybody, print a row, and return people per minute."""
    began, names, files = list[float](), Counter[str](), dict[str, bytes]()

    def on_ready(ready: Ready) -> None:
        began.append(time.perf_counter())

    for outcome in distribute(items, work, Together(pool, workers), on_ready):
        names[outcome.record["name"]] += outcome.record["status"] == DONE
        files |= outcome.files
        if killed and sum(names.values()) >= len(items) // 2:
            kill(killed)
            killed = ()
    seconds = time.perf_counter() - began[workers - 1]
    rate = 60 * sum(names.values()) / seconds
    once = all(names[item.entry.name] == 1 for item in items) and len(names) == len(items)
    ideal = "" if one is None else f"{rate / workers / one:.2f}"
    print(
        f"| {where} | {sum(names.values())} of {len(items)} | {'yes' if once else 'no'} "
        f"| {seconds:.1f} | {rate:.1f} | {ideal} | {checksum(files)} |", flush=True,
    )  # fmt: skip
    return rate


@contextmanager
def cluster(nodes: int) -> Iterator[list[list[int]]]:
    """Start a head without CPUs and nodes of one CPU; yield the processes of each node."""
    import ray
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    started = [cluster.add_node(num_cpus=1) for _ in range(nodes)]
    own = {"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}}
    ray.init(address=cluster.address, runtime_env=own, log_to_driver=False)
    try:
        yield [
            [one.process.pid for each in node.all_processes.values() for one in each]
            for node in started
        ]
    finally:
        ray.shutdown()
        cluster.shutdown()


def kill(pids: Sequence[int]) -> None:
    """Kill processes, and those that they have started, as a power cut would."""
    for pid in pids:
        for process in (*psutil.Process(pid).children(recursive=True), psutil.Process(pid)):
            os.kill(process.pid, signal.SIGKILL)


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="toonville")
    parser.add_argument("--photos", type=Path, help="folder of one photo of each person")
    parser.add_argument("--preset", default="best")
    parser.add_argument("--steps", type=int, help="of a training; those of the preset by default")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument(
        "--inline", action=argparse.BooleanOptionalAction, default=True, help="this process, too"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
