"""The photos on the Faces tab of one session that are not used yet."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
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


class PhotoList:
    """The photos of a session, the oldest first. Their owner locks.

    Args:
        folder: For those that are not in memory.
        most: How many are kept; None: all.
        forget: Called with the id of a photo that is gone, or whose faces are others now.
    """

    def __init__(self, folder: Path, most: int | None, forget: Callable[[str], None]) -> None:
        self._folder, self._most, self._forget = folder, most, forget
        self._photos: dict[str, Photo | StoredPhoto] = {}

    def load(self, faces: FaceModel) -> dict[str, Photo]:
        """Return all of them by id; those on the disk are loaded."""
        for id, photo in list(self._photos.items()):
            if isinstance(photo, StoredPhoto):
                loaded = photo.load(faces)
                photo.path.unlink(missing_ok=True)
                if loaded is None:
                    self.discard(id)
                else:
                    self._photos[id] = loaded
        return {photo.id: photo for photo in self._loaded}

    def add(self, photo: Photo) -> None:
        """Add a photo; an example takes the place of the one before it."""
        for old in [old for old in self._photos.values() if photo.example and old.example]:
            self.discard(old.id)
        self._photos[photo.id] = photo
        while self._most is not None and len(self._photos) > self._most:
            self.discard(next(iter(self._photos)))

    def discard(self, id: str) -> None:
        """Forget a photo, if it is there."""
        photo = self._photos.pop(id, None)
        if isinstance(photo, StoredPhoto):
            photo.path.unlink(missing_ok=True)
        self._forget(id)

    def discard_all(self) -> None:
        """Forget all of them."""
        for id in list(self._photos):
            self.discard(id)

    def find_again(self, before: FaceModel, faces: FaceModel) -> None:
        """Find all faces again, with another face model; photos that now show others go."""
        for id, photo in self.load(before).items():
            if photo.find_again(faces):
                self._forget(id)
            else:
                self.discard(id)

    @property
    def memory(self) -> int:
        """Bytes of the pixels in memory."""
        return sum(photo.bytes for photo in self._loaded)

    def release(self) -> None:
        """Write all pixels to the disk, and take them out of memory.

        Raises:
            SaveFailed: They cannot be written.
        """
        for photo in self._loaded:
            path = save_photo(photo.image, self._folder / f"{photo.id}.png")
            marks = tuple((face.turned, face.domain_note) for face in photo.faces)
            stored = StoredPhoto(photo.label, path, marks, photo.example, photo.id)
            self._photos[photo.id] = stored

    @property
    def _loaded(self) -> list[Photo]:
        return [photo for photo in self._photos.values() if isinstance(photo, Photo)]


def memory_of(images: Sequence[Image.Image]) -> int:
    """Return the bytes of RGB images."""
    return sum(3 * image.width * image.height for image in images)
