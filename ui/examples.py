"""What a model's folder has to look at before anything was made: its `examples/`.

`photos/NAME.png` and `portraits/NAME.png` of the sample people, `images/` that carry their
settings, `strip.webp` and `square.webp` of mixtures. Each of them may be missing.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from celeb_core import CelebBasis, CelebError, FaceModel, Identity, find_face, list_identities
from celeb_core.errors import PhotoUnreadable
from celeb_core.files import matching, write_atomically
from celeb_core.identity import SAMPLE_SUFFIX, SAMPLES, identity_path, load_identity, save_identity
from celeb_core.library import portrait_path
from celeb_core.prompt import placeholders
from ui.images import read_settings

FOLDER, PARTS = "examples", ("photos", "portraits")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExampleImage:
    """A generated image and the settings that it carries."""

    path: Path
    settings: Mapping[str, Any]

    @property
    def prompt(self) -> str:
        """Its prompt."""
        return str(self.settings.get("prompt", ""))

    @property
    def people(self) -> list[str]:
        """Who of the sample people are in it."""
        return placeholders(self.prompt)


@dataclass(frozen=True, eq=False)
class SamplePerson:
    """A person who comes with the program, their photo and an image of them."""

    identity: Identity
    photo: Path
    portrait: Path
    score: float | None  # of the portrait, beside the photo


class Examples:
    """Files of one model's folder, looked up when they are first needed.

    Args:
        folder: Of the model; None: it has none.
        basis: Of the model: sample people of other models are not offered.
    """

    def __init__(self, folder: Path | None, basis: CelebBasis) -> None:
        self._folder = folder / FOLDER if folder else None
        self._basis_id = basis.id
        self._faces: dict[str, Tensor | None] = {}  # name and face model -> of the photo

    @functools.cached_property
    def images(self) -> list[ExampleImage]:
        """Images of prompts, the first of which has a single person."""
        if self._folder is None:
            return []
        return [
            ExampleImage(path, settings)
            for path in sorted(matching(self._folder / "images", "*.png"))
            if (settings := _settings(path)).get("prompt")
        ]

    @functools.cached_property
    def people(self) -> dict[str, SamplePerson]:
        """The sample people of this model by name, those with photo and portrait."""
        if self._folder is None:
            return {}
        found = {}
        for name, who in list_identities(SAMPLES, SAMPLE_SUFFIX).items():
            photo, portrait = (self._folder / part / f"{name}.png" for part in PARTS)
            if who.basis_id == self._basis_id and photo.is_file() and portrait.is_file():
                score = _settings(portrait).get("identity")
                known = float(score) if isinstance(score, int | float) else None
                found[name] = SamplePerson(who, photo, portrait, known)
        return found

    @property
    def prompt(self) -> str:
        """A first prompt to look at; "" without example images."""
        return self.images[0].prompt if self.images else ""

    def mixture(self, name: str) -> Path | None:
        """Return the image of a "strip" or a "square", if there is one."""
        path = self._folder / f"{name}.webp" if self._folder else None
        return path if path and path.is_file() else None

    # --- sample people in a library -------------------------------------------------------------

    def reference(self, identity: Identity, faces: FaceModel) -> Tensor | None:
        """Return the face (512,) in the photo of a sample person; None for anybody else."""
        person = self._sample(identity)
        if person is None or not faces.ready:
            return None
        key = f"{person.identity.name} {faces.id}"
        if key not in self._faces:
            try:
                self._faces[key] = find_face(person.photo, faces).embedding
            except CelebError as error:
                log.warning("skipped: %s (%s)", person.photo, error)
                self._faces[key] = None
        return self._faces[key]

    def add_portraits(self, library: Path) -> None:
        """Give the sample people of a library their portraits, if they have none."""
        for name, person in self.people.items():
            file, portrait = identity_path(name, library), portrait_path(name, library)
            try:
                if file.is_file() and not portrait.exists() and self._sample(load_identity(file)):
                    write_atomically(portrait, person.portrait.read_bytes())
            except (CelebError, OSError) as error:  # somebody else's file; a disk that is full
                log.warning("skipped: the portrait %s (%s)", portrait, error)

    def missing(self, library: Path) -> list[str]:
        """Return the names of the sample people who are not in a library."""
        return [name for name in self.people if not identity_path(name, library).is_file()]

    def add_people(self, names: Iterable[str], library: Path) -> None:
        """Add sample people to a library, with their portraits.

        Raises:
            SaveFailed: A file cannot be written.
        """
        for name in names:
            save_identity(self.people[name].identity, library)
        self.add_portraits(library)

    def _sample(self, identity: Identity) -> SamplePerson | None:
        """Return the sample person whose numbers these are, whatever they are called now."""
        numbers = identity.coefficients.numpy().tobytes()
        people = self.people.values()
        same = (who for who in people if who.identity.coefficients.numpy().tobytes() == numbers)
        return next(same, None)


def _settings(path: Path) -> dict[str, Any]:
    try:
        return read_settings(path)
    except PhotoUnreadable as error:
        log.warning("skipped: %s (%s)", path, error)
        return {}
