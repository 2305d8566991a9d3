"""The studio of a command's options, and who works with it: this process, or other workers."""

from argparse import Namespace
from typing import Any

from celeb_core.many.engine import Pool
from celeb_core.many.pools import Inline, Processes, devices_here
from celeb_core.many.ray_pool import RayActors
from celeb_core.many.work import StudioOptions


def given(options: Namespace, *names: str) -> dict[str, Any]:
    """Return the options that have a value."""
    return {name: vars(options)[name] for name in names if vars(options)[name] is not None}


def studio_options(options: Namespace) -> StudioOptions:
    """Return what a worker loads the studio with; the device is its own."""
    known = "dtype memory compiled face_pack names cache calibration vae allow_pickle".split()
    return StudioOptions(options.model, given(options, *known))


def pool_of(options: Namespace) -> Pool:
    """Return the workers: of a Ray cluster, or of this machine, one in this process."""
    if options.engine == "ray":
        return RayActors(options.workers, options.device, options.ray_address)
    devices = devices_here(options.workers, options.device)
    return Inline(devices[0]) if len(devices) == 1 else Processes(devices)
