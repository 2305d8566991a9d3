"""What workers do with items: the nouns that engines and kinds of work share.

A `Work` is picklable. Each worker process loads it once, and gets items in batches.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from PIL import Image

from celeb_core.device import best_device
from celeb_core.many.records import Outcome
from celeb_core.marks.provenance import Marker
from celeb_core.studio import Studio, load_studio
from celeb_core.types import Calibration

THUMBNAIL = 256  # pixels


class Worker(Protocol):
    """A work that is loaded, in the process that does it."""

    @property
    def made_by(self) -> Mapping[str, Any]:
        """JSON values that decide the results, besides the items."""

    @property
    def at_once(self) -> int:
        """How many items a batch had best have."""

    def do(self, items: Sequence[Any]) -> list[Outcome]:
        """Return what became of each item; CelebError for what is wrong for all of them."""


class Work(Protocol):
    """What is to be done with items."""

    def load(self, device: str | None) -> Worker:
        """Load the models, on a device; None is the best."""

    def lost(self, item: Any, reason: str) -> Outcome:
        """Return what is recorded of an item whose workers died, each time."""


@dataclass(frozen=True)
class Ready:
    """What a worker says of itself when it is loaded."""

    made_by: Mapping[str, Any]
    at_once: int


@dataclass(frozen=True)
class StudioOptions:
    """Arguments of `load_studio`."""

    model: str = "auto"
    more: Mapping[str, Any] = field(default_factory=dict)

    def load(self, device: str | None, require_faces: bool = True) -> Studio:
        """Load the studio on a device; None is the best.

        On a CPU, PyTorch and the face model have one thread: sums are the same in every worker.
        """
        device = device or best_device()
        if device == "cpu":
            torch.set_num_threads(1)
        options = dict(self.more) | {"device": device}
        return load_studio(self.model, **options, require_faces=require_faces)


def thumbnail(image: Image.Image, marker: Marker) -> bytes:
    """Encode a small JPEG of a generated image, with its mark."""
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return marker.encode(small, "JPEG", quality=85)


def labels_of(studio: Studio) -> dict[str, Any]:
    """Return what a studio's results depend on."""
    return {
        "model": studio.models.id,
        "basis": studio.basis.id,
        "recogniser": studio.faces.id,
        "dtype": studio.models.dtype,
        "calibration": _digest(studio.calibration),
    }


def _digest(calibration: Calibration | None) -> str | None:
    """Return a checksum of what a calibration changes; None without one."""
    if calibration is None:
        return None
    digest = hashlib.sha256(json.dumps(dict(calibration.settings), sort_keys=True).encode())
    for name in ("down", "up", "bias", "directions", "correction"):
        digest.update(getattr(calibration, name).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
