"""Workers on this machine: this process itself, or one process for each device."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import psutil
import torch

from celeb_core.errors import CelebError
from celeb_core.many.engine import Event
from celeb_core.many.work import Ready, StudioOptions, Work, Worker

MEMORY = 4e9  # bytes that a worker on a CPU may take, at least
GRACE = 5.0  # seconds in which a process should end


class Inline:
    """One worker: this process."""

    def __init__(self, device: str | None = None) -> None:
        self.device, self.events = device, deque[Event]()
        self.worker: Worker | None = None
        self.threads = torch.get_num_threads()

    def start(self, work: Work, most: int) -> None:
        """Load the work."""
        self.worker = work.load(self.device)
        self.events.append(Event(0, "ready", Ready(self.worker.made_by, self.worker.at_once)))

    def give(self, worker: int, items: Sequence[Any]) -> None:
        """Do a batch at once."""
        assert self.worker is not None
        self.events.append(Event(0, "done", self.worker.do(items)))

    def wait(self) -> list[Event]:
        """Return the last event."""
        return [self.events.popleft()]

    def close(self) -> None:
        """Forget the models, and have as many threads as before."""
        self.worker = None
        torch.set_num_threads(self.threads)


@dataclass(eq=False)
class _Process:
    process: BaseProcess
    connection: Connection


class Processes:
    """One process for each device, started anew when it dies."""

    def __init__(self, devices: Sequence[str | None]) -> None:
        self.devices, self.each = devices, list[_Process]()
        self.context = _context()
        self.work: Work | None = None

    def start(self, work: Work, most: int) -> None:
        """Start the processes."""
        self.work = work
        self.each = [self._started(device) for device in self.devices[: max(1, most)]]

    def _started(self, device: str | None) -> _Process:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=serve, args=(theirs, self.work, device), daemon=True)
        process.start()
        theirs.close()
        return _Process(process, ours)

    def give(self, worker: int, items: Sequence[Any]) -> None:
        """Send a batch; a process that died meanwhile is found by `wait`."""
        with suppress(OSError):
            self.each[worker].connection.send(items)

    def wait(self) -> list[Event]:
        """Return what processes sent, and who died."""
        events = list[Event]()
        connections = {one.connection: number for number, one in enumerate(self.each)}
        for connection in wait(list(connections)):
            assert isinstance(connection, Connection)
            number = connections[connection]
            try:
                kind, value = connection.recv()
                events.append(Event(number, kind, value))
            except (EOFError, OSError):
                events.append(Event(number, "died", self._buried(number)))
                self.each[number] = self._started(self.devices[number])
        return events

    def _buried(self, number: int) -> str:
        one = self.each[number]
        one.connection.close()
        one.process.join(GRACE)
        code = one.process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"

    def close(self) -> None:
        """End the processes."""
        for one in self.each:
            one.connection.close()
            one.process.terminate()
        for one in self.each:
            one.process.join(GRACE)
            if one.process.is_alive():
                one.process.kill()


def _context() -> Any:
    """Return how processes start: forks of one that has no more than imported the library.

    So one that takes the place of another does not import it again. CUDA and threads, which do
    not survive a fork, are not used there.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([StudioOptions.__module__])
    return context


def serve(connection: Connection, work: Work, device: str | None) -> None:
    """Load a work and do what comes, until the other end is closed: a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program that began it ends it
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            worker = work.load(device)
            connection.send(("ready", Ready(worker.made_by, worker.at_once)))
            while True:
                connection.send(("done", worker.do(connection.recv())))
        except CelebError as error:
            connection.send(("failed", error))


def devices_here(workers: int | None, device: str | None, others: int = 0) -> list[str | None]:
    """Return the device of each worker on this machine.

    One for each CUDA device, or as many on the CPU as there are cores, and as memory is enough
    for. `workers` is another number of them; `device` a kind, or one device for all. `others` are
    processes with a model of their own that need memory beside the workers.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count and (device in (None, "cuda")):
        return [f"cuda:{number % count}" for number in range(workers or count)]
    if device in (None, "cpu") and not torch.backends.mps.is_available() or device == "cpu":
        fitting = int(psutil.virtual_memory().available / MEMORY) - others
        cores = psutil.cpu_count(logical=False) or 1
        return ["cpu"] * (workers or max(1, min(cores, fitting)))
    return [device] * (workers or 1)
