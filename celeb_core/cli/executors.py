"""Who does the items of `evaluate`: this process alone, or workers that divide them."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing, contextmanager

import torch

from celeb_core.cli.engines import pool_of, studio_options
from celeb_core.device import best_device
from celeb_core.evaluation.work import EvaluateWork, OnWorkers


@contextmanager
def executor_of(options: Namespace) -> Iterator[tuple[Namespace, OnWorkers | None]]:
    """Yield with which options this process loads its studio, and the workers; they end with it.

    Without workers it does everything, with all threads; with a number of them, be it one, as
    workers do: on a CPU, each has one thread. Beside workers it only finds faces and scores, and
    leaves the GPU to them.
    """
    own, threads = Namespace(**vars(options)), torch.get_num_threads()
    several = options.engine == "ray" or (options.workers or 1) > 1
    if several:
        own.device, own.dtype, own.memory, own.compiled = "cpu", None, None, False
    try:
        if (several or options.workers) and (own.device or best_device()) == "cpu":
            torch.set_num_threads(1)
        if not several:
            yield own, None
            return
        work = EvaluateWork(studio_options(options), options.judge, options.clip)
        with closing(OnWorkers(work, pool_of(options))) as workers:
            yield own, workers
    finally:
        torch.set_num_threads(threads)
