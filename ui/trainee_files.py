"""The people to be trained as files: photos, and the states of trainings that were cut short.

`<private>/people/<id>/` has `person.json` and the photos `1.png`, `2.png`, ...;
`<private>/jobs/<id>/` has `job.json` and `state.safetensors`. None of them is ever served.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from celeb_core import Face, FaceModel, Person, load_photo
from celeb_core.errors import CelebError
from celeb_core.faces import mean_embedding
from celeb_core.files import changing, matching, oldest_first, read_json, write_atomically
from celeb_core.identity import check_name
from celeb_core.training_run import MAX_CONSENT
from ui.images import save_photo

STATED = "stated by the user"
MADE_UP = "not needed: a made-up face"  # of an example
UNLISTED = 3600.0  # seconds after which a folder without a record is a leftover

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Trainee:
    """An entry of the training list: a name and the faces to learn from."""

    name: str
    faces: tuple[Face, ...]
    consent: str = ""  # what is known of it; "" of people listed by another version
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def person(self) -> Person:
        """Return the person for the core."""
        return Person(self.name, self.faces, self.consent)

    def reference(self) -> Tensor:
        """Return (512,) of unit norm: the face that images of this person are compared with."""
        return mean_embedding([face.embedding for face in self.faces])


class TraineeFiles:
    """The training list of one workspace.

    Args:
        private: Folder that is never served.
    """

    def __init__(self, private: Path) -> None:
        self._people, self._jobs = private / "people", private / "jobs"

    def load(self, faces: FaceModel) -> Iterator[Trainee]:
        """Load all that can be loaded, the oldest first; the others stay, and are logged."""
        for path in oldest_first(matching(self._people, "*/person.json")):
            if not (record := read_json(path)):
                continue
            try:
                name, middles = check_name(record["name"]), list(record["faces"])
                found = [
                    _face_at(path.with_name(f"{number}.png"), (float(x), float(y)), faces)
                    for number, (x, y) in enumerate(middles, 1)
                ]
                if not found or not math.isfinite(sum(map(sum, middles))):
                    raise ValueError(f"its faces are {str(middles)[:60]}")
                yield Trainee(name, tuple(found), _consent(record), path.parent.name)
            except (CelebError, ValueError, KeyError, TypeError, AttributeError) as error:
                # written by another version, or damaged
                log.warning("skipped: %s (%s: %s)", path, type(error).__name__, error)

    def save(self, trainee: Trainee, photo: Image.Image | None = None) -> None:
        """Save an entry, with the photo of its last face if that is new.

        Raises:
            SaveFailed: A file cannot be written.
        """
        folder = self._people / trainee.id
        if photo is not None:
            save_photo(photo, folder / f"{len(trainee.faces)}.png")
        # Photo number n is of the n-th face, which is found again by the middle of its box.
        middles = [_middle(face) for face in trainee.faces]
        record = {"name": trainee.name, "faces": middles, "consent": trainee.consent}
        write_atomically(folder / "person.json", json.dumps(record).encode())

    def delete(self, trainee: Trainee) -> None:
        """Delete the photos, and the states of trainings with them.

        Raises:
            SaveFailed: They cannot be deleted.
        """
        with changing(self._people / trainee.id):
            shutil.rmtree(self._people / trainee.id)
            for record in self.interrupted():
                trainees = read_json(record).get("trainees")
                if isinstance(trainees, list) and trainee.id in trainees:
                    shutil.rmtree(record.parent)

    def job(self, id: str) -> Path:
        """Return the folder of a training's record and state."""
        return self._jobs / id

    def interrupted(self) -> list[Path]:
        """Return the records of trainings that were cut short, the oldest first."""
        return oldest_first(matching(self._jobs, "*/job.json"))

    def delete_leftovers(self) -> None:
        """Delete photos and states without a record, which a process left when it died."""
        for folder in (*matching(self._people, "*"), *matching(self._jobs, "*")):
            listed = any((folder / name).exists() for name in ("person.json", "job.json"))
            with suppress(OSError):  # another process deletes it, too
                if not listed and time.time() - folder.lstat().st_mtime > UNLISTED:
                    shutil.rmtree(folder)


def _consent(record: Mapping[str, Any]) -> str:
    """Read what is known of a person's consent; earlier versions wrote only that there is one."""
    consent = record.get("consent")
    if isinstance(consent, str):
        return consent[:MAX_CONSENT]
    return STATED if consent else ""


def _face_at(photo: Path, middle: tuple[float, float], faces: FaceModel) -> Face:
    """Find the face of a stored photo, which is as it was when it was listed, by its box's middle.

    Raises:
        CelebError: The photo cannot be read.
        ValueError: It shows no face.
    """
    if not (found := faces.find(load_photo(photo))):
        raise ValueError(f"no face in {photo.name}")
    return min(found, key=lambda face: _distance(_middle(face), middle))


def _middle(face: Face) -> tuple[float, float]:
    left, top, right, bottom = face.box
    return ((left + right) / 2, (top + bottom) / 2)


def _distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
