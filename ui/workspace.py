"""What belongs to one user: photos, people to be trained, the library, images.

Files: `<library>/*.safetensors` the people, each with a generated portrait `*.png` beside it;
`<library>/.studio/` the photos of people to be trained and the states of trainings, never served;
`<images>/` what was generated. Everything is looked up by ids that we made, never by a path or a
name that came from the page.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from celeb_core import (
    CelebBasis,
    FaceModel,
    Identity,
    list_identities,
)
from celeb_core.errors import BadName, CelebError
from celeb_core.faces import examine_photo, mean_embedding
from celeb_core.formats.image_file import PhotoSource
from celeb_core.identity import check_name, identity_path, load_identity
from celeb_core.library import PRIVATE_FOLDER
from celeb_core.marks.provenance import Marker
from celeb_core.temporary_files import delete_leftovers
from ui.examples import Examples
from ui.library_files import LibraryFiles
from ui.limits import HOME, Limits
from ui.page_files import PageFiles
from ui.photos import Photo, PhotoList, memory_of
from ui.portraits import Portraits
from ui.trainee_files import MADE_UP, STATED, Trainee, TraineeFiles

log = logging.getLogger(__name__)


class Workspace:
    """One library and all that belongs to it; on a private machine there is only one.

    Args:
        id: Of the session.
        library: Folder of the people.
        images: Folder of generated images.
        faces: Finds faces in photos.
        basis: Of the model; people of other models are not offered.
        shown: Temporary files of images that the page shows.
        marker: Marks generated images.
        limits: Of this session.
        examples: Know the faces of the sample people.
    """

    def __init__(
        self,
        id: str,
        library: Path,
        images: Path,
        faces: FaceModel,
        basis: CelebBasis,
        shown: PageFiles,
        marker: Marker,
        limits: Limits = HOME,
        examples: Examples | None = None,
    ) -> None:
        self.id, self.library, self.images, self.shown = id, library, images, shown
        self.marker = marker
        self.private = library / PRIVATE_FOLDER
        self.files = LibraryFiles(library)
        self.portraits = Portraits(id, self.files, shown, marker)
        self.listed = TraineeFiles(self.private)
        delete_leftovers(library)
        delete_leftovers(images)
        self.listed.delete_leftovers()
        self.basis, self.limits, self._faces, self._examples = basis, limits, faces, examples
        self._photos = PhotoList(shown.photos, limits.photos, shown.forget)
        self._references: dict[str, Tensor | None] = {}  # of people without a photo
        self._lock = threading.RLock()
        self._trainees: dict[str, Trainee] | None = None

    @property
    def photos(self) -> dict[str, Photo]:
        """The photos of the Faces tab by id, the oldest first; those on the disk are loaded."""
        with self._lock:
            return self._photos.load(self._faces)

    @property
    def trainees(self) -> dict[str, Trainee]:
        """The training list by id, loaded when it is asked for."""
        with self._lock:
            if self._trainees is None:
                found = self.listed.load(self._faces)
                self._trainees = {trainee.id: trainee for trainee in found}
            return self._trainees

    @property
    def memory(self) -> int:
        """Bytes of the pixels that are in memory."""
        with self._lock:
            listed = [face.image for one in (self._trainees or {}).values() for face in one.faces]
            return self._photos.memory + memory_of(listed)

    def release(self) -> None:
        """Take all pixels out of memory, until somebody asks for them.

        Raises:
            SaveFailed: The photos of the Faces tab cannot be written to the disk.
        """
        with self._lock:
            self._photos.release()
            self._trainees = None

    def use(self, faces: FaceModel) -> None:
        """Find all faces again, with a changed face model; photos that now show others go."""
        if faces is self._faces:
            return
        with self._lock:
            self._photos.find_again(self._faces, faces)
            self._faces, self._references, self._trainees = faces, {}, None

    def close(self) -> None:
        """Delete the files that show photos and people."""
        with self._lock:
            self._photos.discard_all()
        for id in self._trainees or {}:
            self.shown.forget(id)
        self.portraits.forget(self.people())

    # --- photos -------------------------------------------------------------------------------

    def add_photo(self, source: PhotoSource, label: str, example: bool = False) -> Photo:
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
            self._photos.add(photo)
        return photo

    def discard_photo(self, id: str) -> None:
        """Forget a photo of the Faces tab, and delete the files that show it."""
        with self._lock:
            self._photos.discard(id)

    # --- people to be trained -----------------------------------------------------------------

    def enlist(self, photo: Photo, index: int, name: str, consent: bool) -> Trainee:
        """Put a face into the training list; a name that is there already gets one face more.

        The photo leaves the Faces tab unless it shows others too.

        Args:
            photo: Of this workspace.
            index: Of the face in the photo.
            name: Of the person.
            consent: Whether the person has agreed. It is asked once per person, and recorded;
                example faces are made up and need none.

        Raises:
            BadName: The name cannot be used.
            SaveFailed: The photo cannot be stored.
            LimitReached: There are too many already.
            CelebError: The person has not agreed.
        """
        name = check_name(name)
        if not (consent or photo.example or self.has_consent(name)):
            raise CelebError(
                f"Tick “I may use this person's likeness” first. If {name} has not agreed, "
                "use a photo of a person who has."
            )
        with self._lock:
            self.check_room()
            known = self.trainee(name)
            face = photo.faces[index]
            trainee = Trainee(name, (*known.faces, face) if known else (face,))
            trainee.id = known.id if known else trainee.id
            trainee.consent = known.consent if known else ""
            if not trainee.consent or trainee.consent == MADE_UP:  # of an example, until now
                stated = f"{date.today()}, {STATED}"
                trainee.consent = MADE_UP if photo.example else stated
            self.listed.save(trainee, photo.image)
            self.trainees[trainee.id] = trainee
            if len(photo.faces) == 1:
                self.discard_photo(photo.id)
        return trainee

    def has_consent(self, name: str) -> bool:
        """Return whether a person of the training list is known to have agreed."""
        known = self.trainee(name)
        return known is not None and known.consent not in ("", MADE_UP)

    def check_room(self, count: int = 1) -> None:
        """Check that there is room for more faces in the training list, or people.

        Args:
            count: How many.

        Raises:
            LimitReached: There is none.
        """
        if self.limits.people is not None:
            faces = sum(len(trainee.faces) for trainee in self.trainees.values())
            self.limits.check_people(max(faces, len(self.people())) + count)

    def trainee(self, name: str) -> Trainee | None:
        """Return the entry of the training list with that name."""
        return next((t for t in self.trainees.values() if t.name == name), None)

    def face_file(self, trainee: Trainee) -> str:
        """Return the path of a file that shows the first face of a person to be trained."""
        return self.shown.show(trainee.id, "face", trainee.faces[0].image)

    def dismiss(self, id: str) -> None:
        """Take a person off the training list; delete the photos, and trainings cut short.

        Raises:
            SaveFailed: The photos cannot be deleted.
        """
        with self._lock:
            if trainee := self.trainees.get(id):
                self.listed.delete(trainee)
                self.shown.forget(id)
                del self.trainees[id]

    # --- the library --------------------------------------------------------------------------

    def people(self) -> dict[str, Identity]:
        """Return the people of this model by name."""
        found = list_identities(self.library, basis=self.basis)
        return {name: who for name, who in found.items() if who.basis_id == self.basis.id}

    def save_person(self, identity: Identity) -> None:
        """Save a trained person.

        Raises:
            SaveFailed: The file cannot be written.
        """
        with self._lock:
            self.files.replace(identity)
            self.portraits.forget([identity.name])

    def save_portrait(
        self, person: Identity, image: Image.Image, settings: Mapping[str, Any]
    ) -> None:
        """Save a generated image to recognise a person by, if the library has that very person.

        Meanwhile another job may have trained them anew, and somebody may have deleted them.

        Args:
            person: Whom the image shows.
            image: The portrait.
            settings: Written into the file; "identity" is its identity score.

        Raises:
            SaveFailed: The file cannot be written.
        """
        with self._lock:
            path = identity_path(person.name, self.library)
            if path.is_file() and _digest(load_identity(path)) == _digest(person):
                self.portraits.save(person.name, image, settings)

    def delete(self, name: str) -> None:
        """Move a person to the bin.

        Raises:
            IdentityNotFound, SaveFailed: There is no such person; their files cannot be moved.
        """
        with self._lock:
            self.files.delete(name)
            self.portraits.forget([name])

    def forget_person(self, name: str) -> None:
        """Forget what is in memory of a person, and the files that show their portrait."""
        with self._lock:
            for key in [key for key in self._references if key.startswith(f"{name} ")]:
                del self._references[key]
        self.portraits.forget([name])

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
            self.portraits.forget([name])
            if trainee is not None:
                trainee.name = saved
                self.listed.save(trainee)
        return saved

    def reference(self, identity: Identity) -> Tensor | None:
        """Return (512,), the face that images of this person are compared with, if it is known."""
        trainee = self.trainee(identity.name)
        if trainee is not None:
            return trainee.reference()
        found = self._references.get(_digest(identity))
        if found is None and self._examples is not None:
            return self._examples.reference(identity, self._faces)
        return found

    def needs_reference(self, identity: Identity) -> bool:
        """Return whether there is no photo, and no generated face was looked for yet."""
        if self.trainee(identity.name) is not None or _digest(identity) in self._references:
            return False
        return self.reference(identity) is None

    def remember_reference(self, identity: Identity, faces: Sequence[Tensor]) -> None:
        """Remember generated faces (512,) of a person, maybe none.

        Until the app ends: no embedding goes to the disk.
        """
        with self._lock:
            self._references[_digest(identity)] = mean_embedding(faces) if faces else None


def _digest(identity: Identity) -> str:
    return f"{identity.name} {hash(identity.coefficients.numpy().tobytes())}"
