"""Workers of a Ray cluster: one actor for each GPU, or for each CPU where there is none."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from celeb_core.errors import CelebError, FeatureMissing
from celeb_core.many.engine import Event
from celeb_core.many.work import Ready, Work, Worker


class Actor:
    """What runs in a process of the cluster."""

    def __init__(self, work: Work, device: str | None) -> None:
        self.error: CelebError | None = None
        try:
            self.worker: Worker = work.load(device)
        except CelebError as error:
            self.error = error

    def ready(self) -> Ready | CelebError:
        """Say that the models are loaded, or why they cannot be."""
        if self.error is not None:
            return self.error
        return Ready(self.worker.made_by, self.worker.at_once)

    def do(self, items: Sequence[Any]) -> Any:
        """Do a batch; a CelebError is returned, so that nothing else can be taken for one."""
        try:
            return self.worker.do(items)
        except CelebError as error:
            return error


class RayActors:
    """Actors; one that dies is started anew, on whatever node has room for it."""

    def __init__(
        self, workers: int | None = None, device: str | None = None, address: str | None = None
    ) -> None:
        """Connect to a cluster, or start one on this machine.

        Args:
            workers: How many actors; None: one for each GPU of the cluster, or each CPU.
            device: "cpu" uses CPUs although there are GPUs.
            address: Of the cluster, as `ray.init` takes it; None: Ray's own choice.

        Raises:
            FeatureMissing: Ray is not installed, or cannot be reached.
        """
        self.ray = _ray()
        self.workers, self.device = workers, device
        self.address, self.connected = address, self.ray.is_initialized()
        if not self.connected:
            self._connect()
        self.actors = list[Any]()
        self.pending: dict[Any, tuple[int, str]] = {}  # object -> worker, kind of event
        self.work: Work | None = None

    def _connect(self) -> None:
        try:
            self.ray.init(address=self.address, log_to_driver=False, configure_logging=False)
        except Exception as error:  # gRPC's, Ray's own, ConnectionError
            raise FeatureMissing(
                f"No Ray cluster can be reached ({error}). Start one on the first node, "
                "or name the address of one that runs."
            ) from error

    def start(self, work: Work, most: int) -> None:
        """Start the actors; each says when it is loaded."""
        self.work, self.pending = work, {}
        if not self.ray.is_initialized():  # after `close`
            self._connect()
        found = self.ray.cluster_resources()
        gpus = 0 if self.device == "cpu" else int(found.get("GPU", 0))
        count = self.workers or gpus or int(found.get("CPU", 1))
        resources: dict[str, Any] = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        # What Ray restarts by itself would come back without being noticed.
        self.kind = self.ray.remote(**resources, max_restarts=0, max_task_retries=0)(Actor)
        self.actors = [self._started(number) for number in range(min(count, max(1, most)))]

    def _started(self, number: int) -> Any:
        gpu = self.device != "cpu" and self.ray.cluster_resources().get("GPU", 0)
        actor = self.kind.remote(self.work, "cuda" if gpu else self.device or "cpu")
        self.pending[actor.ready.remote()] = number, "ready"
        return actor

    def give(self, worker: int, items: Sequence[Any]) -> None:
        """Send a batch."""
        self.pending[self.actors[worker].do.remote(items)] = worker, "done"

    def wait(self) -> list[Event]:
        """Return what actors made, and who died."""
        (first, *_), _ = self.ray.wait(list(self.pending), num_returns=1)
        number, kind = self.pending.pop(first)
        try:
            value = self.ray.get(first)
        except self.ray.exceptions.RayError as error:  # the actor, its node, or what it made
            with suppress(Exception):  # it may be out of reach, not dead
                self.ray.kill(self.actors[number])
            self.actors[number] = self._started(number)
            return [Event(number, "died", " ".join(str(error).split())[:200])]
        if isinstance(value, CelebError):
            return [Event(number, "failed", value)]
        return [Event(number, "done" if kind == "done" else "ready", value)]

    def close(self) -> None:
        """End the actors, and the cluster if it was started here."""
        for actor in self.actors:
            with suppress(Exception):
                self.ray.kill(actor)
        if not self.connected:
            self.ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise FeatureMissing(
            "The engine ray needs Ray: pip install 'celeb-basis-studio[ray]'. On one machine, the "
            "engine local needs nothing and uses every device.",
            option="--engine local",
        ) from error
    return ray
