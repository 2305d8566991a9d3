"""What runs in the process of a worker, on whatever machine that is."""

from __future__ import annotations

import pickle
import traceback

from celeb_core import CelebError
from celeb_core.device import probe
from celeb_core.errors import ModelError
from celeb_core.many.work import StudioOptions
from ui import gpu_tasks


class Worker:
    """Performs tasks in a process of its own, which loads the models when it begins."""

    def __init__(self, options: StudioOptions, device: str, labels: tuple[str, str]) -> None:
        """Load the studio.

        Args:
            options: Of the studio.
            device: Where its models run.
            labels: Ids of model and basis, as the page has them.
        """
        self.error: CelebError | None = None
        self.device = device
        try:
            studio = options.load(device, require_faces=False)
            if (own := (studio.models.id, studio.basis.id)) != labels:
                raise ModelError(
                    f"A worker has loaded the model {own[0]} with the basis {own[1]}, the page "
                    f"{labels[0]} with {labels[1]}. Name the model, and have the same files "
                    "everywhere."
                )
            gpu_tasks.use(studio)
        except CelebError as error:
            self.error = error

    def ready(self) -> CelebError | None:
        """Say that the models are loaded, or why they cannot be."""
        return self.error

    def perform(self, seconds: int, request: bytes) -> bytes:
        """Do as `gpu_tasks.perform`, which may raise; a `Bug` is returned for that.

        Unless it is the device that has failed: then nothing works in this process any more.
        """
        try:
            return gpu_tasks.perform(seconds, request)
        except Exception:
            text = traceback.format_exc()
            probe(self.device)
            return pickle.dumps(gpu_tasks.Bug(text))
