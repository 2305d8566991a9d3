"""The studio of a command's options, and who works with it: this process, or other workers."""

import logging
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from celeb_core.errors import UsageError
from celeb_core.many.engine import Pool
from celeb_core.many.pools import Inline, Processes, devices_here
from celeb_core.many.ray_pool import RayActors
from celeb_core.many.work import StudioOptions, labels_of
from celeb_core.many.workers import Here, KeptPool, Makers, Workers
from celeb_core.studio import Studio, load_studio

NAMING = ("model", "basis", "recogniser")  # labels of a studio that files are named by


def given(options: Namespace, *names: str) -> dict[str, Any]:
    """Return the options that have a value."""
    return {name: vars(options)[name] for name in names if vars(options)[name] is not None}


def studio_options(options: Namespace) -> StudioOptions:
    """Return what a worker loads the studio with; the device is its own."""
    known = "dtype memory compiled face_pack names cache calibration vae allow_pickle".split()
    return StudioOptions(options.model, given(options, *known))


def studio_of(options: Namespace, faces: bool = True) -> Studio:
    """Load the studio, for this process."""
    more = {**studio_options(options).more, **given(options, "device")}
    studio = load_studio(options.model, **more, require_faces=faces)
    logging.info(studio.models.note)
    return studio


def pool_of(options: Namespace, others: int = 0) -> Pool:
    """Return the workers: of a Ray cluster, or of this machine, one in this process.

    `others` are processes with a model of their own that this machine has besides.
    """
    if options.engine == "ray":
        return RayActors(options.workers, options.device, options.ray_address)
    devices = devices_here(options.workers, options.device, others)
    return Inline(devices[0]) if len(devices) == 1 else Processes(devices)


@contextmanager
def makers_of(
    options: Namespace, shard: tuple[int, int] | None = None
) -> Iterator[tuple[Studio, Makers]]:
    """Load the studio, and let files be made with it; workers end with the block.

    One worker of this machine is this process, and so is one of several shards.

    Raises:
        UsageError: There are several workers and a shard.
    """
    if shard and (options.engine == "ray" or (options.workers or 1) > 1):
        raise UsageError(
            "A shard is made by one process. Give each device a shard of its own, or let workers "
            "divide all of the work, without a shard."
        )
    pool = None if shard else pool_of(options, others=1)
    if pool is None or isinstance(pool, Inline):
        studio = studio_of(options)
        yield studio, Here(studio, shard or (0, 1))
        return
    kept, threads = KeptPool(pool), torch.get_num_threads()
    try:
        # As workers load it, so that all is the same to the bit as in one process of one thread.
        studio = studio_options(options).load(options.device)
        logging.info(studio.models.note)
        labels = {name: labels_of(studio)[name] for name in NAMING}
        yield studio, Workers(kept, studio_options(options), labels)
    finally:
        kept.end()
        torch.set_num_threads(threads)
