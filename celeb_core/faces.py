"""Photo -> Face: decode, detect, choose, align, embed. By PIL and insightface."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from PIL import Image

from celeb_core.types import Face

PhotoSource = str | Path | bytes | Image.Image


class FaceModel(Protocol):
    """What finds and embeds faces. `load_face_model` gives one; tests give fakes."""

    id: str  # names the recogniser: embeddings of different ids cannot be compared
    note: str  # what a user should know when no face is found

    def find(self, photo: Image.Image) -> list[Face]:
        """All faces of an upright RGB photo, left to right; empty if there is none."""
        ...


def load_face_model(pack: str | Path, note: str = "", root: Path | None = None) -> FaceModel:
    """Load an insightface pack (a folder with detector and 512-d recogniser ONNX files).

    Raises FacePackMissing before insightface would try to download anything.
    """
    raise NotImplementedError


def open_photo(source: PhotoSource) -> Image.Image:
    """Decode any picture (JPEG, PNG, WebP, HEIC, CMYK, RGBA, 16 bit) to upright 8-bit RGB.

    The longer side is at most 2,048 afterwards. Raises PhotoUnreadable, PhotoTooLarge.
    """
    raise NotImplementedError


def find_faces(source: PhotoSource, model: FaceModel) -> list[Face]:
    """All faces of a photo, left to right. Raises NoFaceFound if there is none."""
    raise NotImplementedError


def find_face(source: PhotoSource, model: FaceModel, choose: int | None = None) -> Face:
    """The one face of a photo, or face number `choose` (1 is the leftmost).

    Raises NoFaceFound, and SeveralFaces (which carries the faces) if nobody chose.
    """
    raise NotImplementedError
