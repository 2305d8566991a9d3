"""A process of its own for GPU work, and a studio here that must not do any."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from ui import gpu_tasks
from ui.calls import OutOfProcess
from ui.gpu_costs import GpuCosts
from ui.studio import Shared

ASSUMED = 0.02  # seconds of a sampling step


class GpuProcess:
    """A spawned process: it inherits nothing, and gets bytes only."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context, torch.set_num_threads, (1,))
        self.calls: list[int] = []  # declared seconds of each

    def load(self, options: Mapping[str, Any]) -> None:
        """Load the models that it works with."""
        self._pool.submit(gpu_tasks.load, options).result(120)

    def __call__(self, seconds: int, request: bytes) -> bytes:
        """`gpu_tasks.perform` over there."""
        assert type(request) is bytes
        self.calls.append(seconds)
        result = self._pool.submit(gpu_tasks.perform, seconds, request).result(120)
        assert type(result) is bytes
        return result

    def close(self) -> None:
        self._pool.shutdown()


def load_here_and_there(process: GpuProcess, model: Path | str, load: Any, **options: Any) -> Any:
    """Return the studio of a model, which the process has loaded, too."""
    process.load({"model": model, "device": "cpu", **options})
    return load(model, device="cpu", **options)


def forbid(studio: Any, monkeypatch: Any) -> None:
    """Let the networks of a studio fail in this process."""

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a network was run in the main process")

    models = studio.models
    for network in models.networks:
        monkeypatch.setattr(network, "forward", fail)
    for part in ("encode", "decode"):
        monkeypatch.setattr(models.vae, part, fail)


def use_process(shared: Shared, process: Any, most_steps: int = 1000) -> OutOfProcess:
    """Let the jobs of a page do their GPU work over there."""
    shared.estimates.assume("another process", ASSUMED)
    shared.executor = OutOfProcess(process, GpuCosts(shared.estimates), most_steps)
    return shared.executor
