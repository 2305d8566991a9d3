"""The photos on the Faces tab of one session that are not used yet."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from celeb_core import Face, FaceModel, load_photo
from ui.images import save_photo


@dataclass(eq=False)
class Photo:
    """A photo on the Faces tab, upright and bounded, with the faces in it (at least one)."""

    label: str  # the file's name as its owner knows it; only ever shown
    image: Image.Image
    faces: list[Face]
    example: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def bytes(self) -> int:
        """Memory of the pixels."""
        return memory_of([self.image, *(face.image for face in self.faces)])

    def find_again(self, faces: FaceModel) -> bool:
        """Find the faces again, with another face model; return whether they are as many."""
        found = faces.find(self.image)
        if len(found) != len(self.faces):
            return False
        pairs = zip(self.faces, found, strict=True)  # of the photo as it is by now
        self.faces = [
            replace(new, turned=old.turned, domain_note=old.domain_note) for old, new in pairs
        ]
        return True


@dataclass(frozen=True)
class StoredPhoto:
    """A photo whose pixels are on the disk."""

    label: str
    path: Path
    marks: tuple[tuple[int, str], ...]  # `turned` and `domain_note` of each face
    example: bool
    id: str

    def load(self, faces: FaceModel) -> Photo | None:
        """Load the photo and find its faces; None if they are not as many as before."""
        image = load_photo(self.path)
        found = faces.find(image)
        if len(found) != len(self.marks):
            return None
        marked = [
            replace(face, turned=turned, domain_note=note)
            for face, (turned, note) in zip(found, self.marks, strict=True)
        ]
        return Photo(self.label, image, marked, self.example, self.id)


def store(photo: Photo, folder: Path) -> StoredPhoto:
    """Write a photo's pixels to the disk, as a PNG.

    Raises:
        SaveFailed: The file cannot be written.
    """
    path = save_photo(photo.image, folder / f"{photo.id}.png")
    marks = tuple((face.turned, face.domain_note) for face in photo.faces)
    return StoredPhoto(photo.label, path, marks, photo.example, photo.id)


def memory_of(images: Sequence[Image.Image]) -> int:
    """Return the bytes of RGB images."""
    return sum(3 * image.width * image.height for image in images)
