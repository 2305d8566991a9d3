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


class Cluster:
    """A Ray cluster: one that runs, or one that is started on this machine."""

    def __init__(
        self,
        address: str | None = None,
        device: str | None = None,
        *,
        wanted_by: str = "The engine ray",
        instead: str = "On one machine, the engine local needs nothing and uses every device.",
        option: str = "--engine local",
    ) -> None:
        """Connect to it.

        Args:
            address: Of the cluster, as `ray.init` takes it; None: Ray's own choice.
            device: "cpu" uses CPUs although there are GPUs.
            wanted_by: Who needs Ray, in a message.
            instead: What there is without it, in a message.
            option: With which there is that, on the command line.

        Raises:
            FeatureMissing: Ray is not installed, or cannot be reached.
        """
        try:
            import ray
        except ImportError as error:
            raise FeatureMissing(
                f"{wanted_by} needs Ray: pip install 'celeb-basis-studio[ray]'. {instead}", option
            ) from error
        self.ray: Any = ray
        self.address, self.wanted = address, device
        self.ours = not ray.is_initialized()
        self.connect()

    def connect(self) -> None:
        """Connect, unless that is done; also again, after `close`.

        Raises:
            FeatureMissing: The cluster cannot be reached.
        """
        if not self.ray.is_initialized():
            try:
                self.ray.init(address=self.address, log_to_driver=False, configure_logging=False)
            except Exception as error:  # gRPC's, Ray's own, ConnectionError
                raise FeatureMissing(
                    f"No Ray cluster can be reached ({error}). Start one on the first node, "
                    "or name the address of one that runs."
                ) from error
        found = self.ray.cluster_resources()
        self.gpus = 0 if self.wanted == "cpu" else int(found.get("GPU", 0))
        self.device = "cuda" if self.gpus else self.wanted or "cpu"  # of each actor
        self.places = self.gpus or int(found.get("CPU", 1))  # for actors

    def kind(self, cls: type) -> Any:
        """Return the class as one of actors that take a place each, and are never restarted.

        What Ray restarts by itself would come back without being noticed.
        """
        resources: dict[str, Any] = {"num_gpus": 1} if self.gpus else {"num_cpus": 1}
        return self.ray.remote(**resources, max_restarts=0, max_task_retries=0)(cls)

    def kill(self, actor: Any) -> None:
        """End an actor, whatever has become of it."""
        with suppress(Exception):  # it may be out of reach, not dead
            if self.ray.is_initialized():  # or this would start a cluster
                self.ray.kill(actor)

    def close(self) -> None:
        """Leave the cluster, or end it if it was started here; actors end."""
        if self.ours:
            self.ray.shutdown()


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
        self.cluster = Cluster(address, device)
        self.ray = self.cluster.ray
        self.workers = workers
        self.actors = list[Any]()
        self.pending: dict[Any, tuple[int, str]] = {}  # object -> worker, kind of event
        self.work: Work | None = None

    def start(self, work: Work, most: int) -> None:
        """Start the actors; each says when it is loaded."""
        self.work, self.pending = work, {}
        self.cluster.connect()
        count = min(self.workers or self.cluster.places, max(1, most))
        self.kind = self.cluster.kind(Actor)
        self.actors = [self._started(number) for number in range(count)]

    def _started(self, number: int) -> Any:
        actor = self.kind.remote(self.work, self.cluster.device)
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
            self.cluster.kill(self.actors[number])
            self.actors[number] = self._started(number)
            return [Event(number, "died", " ".join(str(error).split())[:200])]
        if isinstance(value, CelebError):
            return [Event(number, "failed", value)]
        return [Event(number, "done" if kind == "done" else "ready", value)]

    def close(self) -> None:
        """End the actors, and the cluster if it was started here."""
        for actor in self.actors:
            self.cluster.kill(actor)
        self.cluster.close()
