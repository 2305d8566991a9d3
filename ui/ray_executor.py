"""The workers of a page on a Ray cluster: an actor for each GPU, or each CPU if there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from celeb_core import CelebError
from celeb_core.many.ray_pool import Cluster
from celeb_core.many.work import StudioOptions
from ui.calls import OnWorkers
from ui.studio import Shared
from ui.worker import Worker
from ui.worker_pool import WorkerDied, WorkerPool

LOCAL = "auto"  # in the place of an address: the cluster of this machine


def connect(address: str, device: str | None) -> Cluster:
    """Connect to a cluster before anything is loaded.

    Args:
        address: As `ray.init` takes it; LOCAL is a cluster of this machine, started unless it runs.
        device: "cpu": no GPUs, although there are some.

    Raises:
        FeatureMissing: Ray is not installed, or the cluster cannot be reached.
    """
    return Cluster(
        None if address == LOCAL else address,
        device,
        wanted_by="The workers of the page",
        instead="Without workers the page needs nothing and uses the device of this machine.",
        option="leave out --workers",
    )


def use_cluster(shared: Shared, cluster: Cluster, options: StudioOptions) -> None:
    """Let all jobs do their GPU work on a cluster. Call it before the page is built and launched.

    Args:
        shared: With a studio on the CPU.
        cluster: Connected to.
        options: With which the workers load the same model.

    Raises:
        CelebError: No worker can load it.
    """
    models, basis = shared.core.models, shared.core.basis
    actors = RayActors(cluster, options, (models.id, basis.id))
    pool = WorkerPool(actors)
    shared.executor = OnWorkers(pool, cluster.device, pool.close)
    shared.runner.workers = count = actors.count
    try:
        pool.wait()
    except CelebError:
        pool.close()
        raise
    where = f"{count} {'worker' if count == 1 else 'workers'} ({cluster.device})"
    shared.estimates.assume(f"workers ({cluster.device})")
    note = f"{models.title} on {where}: {models.note.partition(': ')[2]}"
    shared.use(replace(shared.core, models=replace(models, note=note)))


class RayActors:
    """Actors of a cluster, as `WorkerPool` wants them."""

    def __init__(self, cluster: Cluster, options: StudioOptions, labels: tuple[str, str]) -> None:
        self._cluster, self._arguments = cluster, (options, cluster.device, labels)
        self._kind = cluster.kind(Worker)
        self.count = cluster.places

    def start(self) -> RayActor:
        """Start an actor, on whatever node has room for it, as soon as one has."""
        actor = RayActor(self._cluster, self._kind.remote(*self._arguments))
        problem = actor.ask("ready")
        if isinstance(problem, CelebError):
            self._cluster.kill(actor.handle)
            raise problem
        return actor

    def close(self) -> None:
        """End the actors, and the cluster if it was started here."""
        self._cluster.close()


class RayActor:
    """An actor of the cluster."""

    def __init__(self, cluster: Cluster, handle: Any) -> None:
        self._cluster, self.handle = cluster, handle

    def __call__(self, seconds: int, request: bytes) -> bytes:
        """Do a task."""
        result: bytes = self.ask("perform", seconds, request)
        return result

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method; WorkerDied if the actor, its node or its device is lost."""
        ray = self._cluster.ray
        try:
            return ray.get(getattr(self.handle, method).remote(*arguments))
        except (ray.exceptions.RayError, ConnectionError) as error:
            self._cluster.kill(self.handle)  # it may be out of reach, not dead
            raise WorkerDied(str(error).strip().splitlines()[-1][:200]) from error
