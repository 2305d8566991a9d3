"""What belongs to one user: photos, people to be trained, the library, images.

Files: `<library>/*.safetensors` the people, each with a generated portrait `*.png` beside it;
`<library>/.studio/` the photos of people to be trained and the states of trainings, never served;
`<images>/` what was generated. Everything is looked up by ids that we made, never by a path or a
name that came from the page.
"""

from __future__ import annotations

import json
import shutil
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from celeb_core import (
    CelebBasis,
    Face,
    FaceModel,
    Identity,
    Person,
    find_faces,
    list_identities,
)
from celeb_core.errors import BadName, CelebError
from celeb_core.faces import examine_photo
from celeb_core.files import write_atomically
from celeb_core.identity import check_name
from ui.images import save_image
from ui.library_files import LibraryFiles

PRIVATE_FOLDER = ".studio"  # in the library: photos and states of trainings
MAX_PHOTOS = 12  # in memory, not yet used


@dataclass(eq=False)
class Photo:
    """A photo on the Faces tab, upright and bounded, with the faces in it (at least one)."""

    label: str  # the file's name as its owner knows it; only ever shown
    image: Image.Image
    faces: list[Face]
    example: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(eq=False)
class Trainee:
    """An entry of the training list: a name and the faces to learn from."""

    name: str
    faces: tuple[Face, ...]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def person(self) -> Person:
        """Return the person for the core."""
        return Person(self.name, self.faces)

    def reference(self) -> Tensor:
        """Return (512,) of unit norm: the face that images of this person are compared with."""
        return mean_direction([face.embedding for face in self.faces])


class Workspace:
    """One library and all that belongs to it; on a private machine there is only one.

    Args:
        id: Of the session.
        library: Folder of the people.
        images: Folder of generated images.
        faces: Finds faces in photos.
        basis: Of the model; people of other models are not offered.
    """

    def __init__(
        self, id: str, library: Path, images: Path, faces: FaceModel, basis: CelebBasis
    ) -> None:
        self.id, self.library, self.images = id, library, images
        self.private = library / PRIVATE_FOLDER
        self.files = LibraryFiles(library, self.private)
        self.basis, self._faces = basis, faces
        self.photos: dict[str, Photo] = {}
        self._references: dict[str, Tensor | None] = {}  # of people without a photo
        self._lock = threading.RLock()
        self.trainees = {trainee.id: trainee for trainee in self._stored_trainees()}

    def use(self, faces: FaceModel) -> None:
        """Find all faces again, with a changed face model; photos that now show others go."""
        if faces is self._faces:
            return
        with self._lock:
            self._faces, self._references = faces, {}
            for id, photo in list(self.photos.items()):
                found = faces.find(photo.image)
                if len(found) == len(photo.faces):
                    pairs = zip(photo.faces, found, strict=True)  # of the photo as it is by now
                    photo.faces = [
                        replace(new, turned=old.turned, domain_note=old.domain_note)
                        for old, new in pairs
                    ]
                else:
                    del self.photos[id]
            self.trainees = {trainee.id: trainee for trainee in self._stored_trainees()}

    # --- photos -------------------------------------------------------------------------------

    def add_photo(self, source: Path | Image.Image, label: str, example: bool = False) -> Photo:
        """Decode a photo and find its faces.

        Args:
            source: The photo.
            label: The file's name as the user knows it.
            example: A face that comes with the model; it replaces the example before it.

        Raises:
            PhotoError: It cannot be read, or shows no face.
        """
        found = examine_photo(source, self._faces)
        photo = Photo(label, found.photo, found.faces, example)
        with self._lock:
            if example:
                self.photos = {id: old for id, old in self.photos.items() if not old.example}
            self.photos[photo.id] = photo
            while len(self.photos) > MAX_PHOTOS:
                del self.photos[next(iter(self.photos))]
        return photo

    # --- people to be trained -----------------------------------------------------------------

    def enlist(self, photo: Photo, index: int, name: str, consent: bool) -> Trainee:
        """Put a face into the training list; a name that is there already gets one face more.

        The photo leaves the Faces tab unless it shows others too.

        Args:
            photo: Of this workspace.
            index: Of the face in the photo.
            name: Of the person.
            consent: Whether the person has agreed; example faces are made up and need none.

        Raises:
            BadName: The name cannot be used.
            SaveFailed: The photo cannot be stored.
            CelebError: The person has not agreed.
        """
        name = check_name(name)
        if not (consent or photo.example):
            raise CelebError(
                f"Tick “I may use this person's likeness” first. If {name} has not agreed, "
                "use a photo of a person who has."
            )
        with self._lock:
            known = self.trainee(name)
            face = photo.faces[index]
            trainee = Trainee(name, (*known.faces, face) if known else (face,))
            trainee.id = known.id if known else trainee.id
            save_image(photo.image, self._folder(trainee.id) / f"{len(trainee.faces)}.png")
            self._store(trainee)
            self.trainees[trainee.id] = trainee
            if len(photo.faces) == 1:
                self.photos.pop(photo.id, None)
        return trainee

    def trainee(self, name: str) -> Trainee | None:
        """Return the entry of the training list with that name."""
        return next((t for t in self.trainees.values() if t.name == name), None)

    def dismiss(self, id: str) -> None:
        """Take a person off the training list and delete the photos."""
        with self._lock:
            if self.trainees.pop(id, None):
                shutil.rmtree(self._folder(id), ignore_errors=True)

    # --- the library --------------------------------------------------------------------------

    def people(self) -> dict[str, Identity]:
        """Return the people of this model by name."""
        found = list_identities(self.library)
        return {name: who for name, who in found.items() if who.basis_id == self.basis.id}

    def save_person(self, identity: Identity) -> None:
        """Save a trained person.

        Raises:
            SaveFailed: The file cannot be written.
        """
        self.files.replace(identity)

    def save_portrait(self, name: str, image: Image.Image, settings: Mapping[str, Any]) -> None:
        """Save a generated image to recognise the person by.

        Args:
            name: Of a person in the library.
            image: The portrait.
            settings: Written into the file; "identity" is its identity score.

        Raises:
            SaveFailed: The file cannot be written.
        """
        save_image(image, self.files.portrait_path(name), settings)

    def portrait(self, name: str) -> Path | None:
        """Return the portrait of a person in the library, if there is one."""
        path = self.files.portrait_path(name)
        return path if path.is_file() else None

    def rename(self, name: str, new_name: str) -> str:
        """Rename a person and their photos; return the new name as it was saved.

        Raises:
            BadName: The new name is taken or cannot be used.
        """
        with self._lock:
            trainee = self.trainee(name)
            other = self.trainee(check_name(new_name))
            if trainee and other and other is not trainee:
                raise BadName(
                    f"“{other.name}” is in the training list. Choose another name, or remove that "
                    "one from the list first."
                )
            saved = self.files.rename(name, new_name)
            if trainee is not None:
                trainee.name = saved
                self._store(trainee)
        return saved

    def reference(self, identity: Identity) -> Tensor | None:
        """Return (512,), the face that images of this person are compared with, if it is known."""
        trainee = self.trainee(identity.name)
        if trainee is not None:
            return trainee.reference()
        return self._references.get(_digest(identity))

    def needs_reference(self, identity: Identity) -> bool:
        """Return whether there is no photo, and no generated face was looked for yet."""
        return self.trainee(identity.name) is None and _digest(identity) not in self._references

    def remember_reference(self, identity: Identity, faces: Sequence[Tensor]) -> None:
        """Remember generated faces (512,) of a person, maybe none.

        Until the app ends: no embedding goes to the disk.
        """
        self._references[_digest(identity)] = mean_direction(faces) if faces else None

    # --- files --------------------------------------------------------------------------------

    def _folder(self, id: str) -> Path:
        return self.private / "people" / id

    def _store(self, trainee: Trainee) -> None:
        """Photo number n is of the n-th face, which is found again by the middle of its box."""
        faces = [_middle(face) for face in trainee.faces]
        record = {"name": trainee.name, "faces": faces, "consent": True}
        write_atomically(self._folder(trainee.id) / "person.json", json.dumps(record).encode())

    def _stored_trainees(self) -> Iterable[Trainee]:
        records = (self.private / "people").glob("*/person.json")
        for path in sorted(records, key=lambda record: record.stat().st_mtime):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                faces = [
                    self._stored_face(path.with_name(f"{number}.png"), middle)
                    for number, middle in enumerate(record["faces"], 1)
                ]
                yield Trainee(check_name(record["name"]), tuple(faces), path.parent.name)
            except (CelebError, ValueError, KeyError):  # written by another version, or damaged
                continue

    def _stored_face(self, photo: Path, middle: tuple[float, float]) -> Face:
        faces = find_faces(photo, self._faces)
        return min(faces, key=lambda face: _distance(_middle(face), middle))


def mean_direction(embeddings: Sequence[Tensor]) -> Tensor:
    """Return the mean of unit vectors (512,), with unit norm."""
    total: Tensor = sum(embeddings[1:], embeddings[0])
    length: Tensor = total.norm()
    return total / length


def _middle(face: Face) -> tuple[float, float]:
    left, top, right, bottom = face.box
    return ((left + right) / 2, (top + bottom) / 2)


def _distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


def _digest(identity: Identity) -> str:
    return f"{identity.name} {hash(identity.coefficients.numpy().tobytes())}"
