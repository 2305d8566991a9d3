"""Photo -> Face: decode, detect, choose, align, embed. By PIL and insightface."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from celeb_core.errors import (
    FacePackMissing,
    NoFaceFound,
    PhotoTooLarge,
    PhotoUnreadable,
    SeveralFaces,
)
from celeb_core.packs import PACKS, check_sums, pack_folder
from celeb_core.types import Box, Face, Framing

PhotoSource = str | Path | bytes | Image.Image
Pixels: TypeAlias = npt.NDArray[np.uint8]

MAX_PIXELS = 150_000_000  # decoded; more is taken for a decompression bomb
MAX_SIDE = 2048  # of the photo that the detector sees and the crop is cut from
SHIFT = 2  # pixels of an aligned crop, about what a detector's landmarks are off by
PLACES = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))  # of a crop in one that is wider by SHIFT
MIN_SIDE = 16  # a face in less could not be recognised by anybody


class FaceModel(Protocol):
    """What finds and embeds faces. `load_face_model` gives one; tests give fakes."""

    id: str  # names the recogniser: embeddings of different ids cannot be compared
    note: str  # what a user should know when no face is found
    framing: Framing  # how `Face.image` is cut out

    def find(self, photo: Image.Image) -> list[Face]:
        """All faces of an upright RGB photo, left to right; empty if there is none."""
        ...


class InsightFace:
    """A `FaceModel` by `insightface.app.FaceAnalysis`."""

    def __init__(self, analysis: Any, id: str, note: str, framing: Framing) -> None:
        self.analysis, self.id, self.note, self.framing = analysis, id, note, framing

    def find(self, photo: Image.Image) -> list[Face]:
        """All faces of an upright RGB photo, left to right; empty if there is none."""
        from insightface.utils.face_align import norm_crop

        photo = photo.convert("RGB")
        rgb = np.asarray(photo)
        found = []
        for raw in self.analysis.get(np.ascontiguousarray(rgb[:, :, ::-1])):  # it wants BGR
            if not np.isfinite(raw.embedding).all():
                continue  # landmarks that fell together: alignment has no solution
            if raw.embedding.shape != (512,):
                raise FacePackMissing(
                    f"The recogniser of the face pack “{self.id}” gives {raw.embedding.size} "
                    "numbers per face, 512 are needed. Use a pack with an ArcFace recogniser."
                )
            aligned = np.asarray(norm_crop(rgb, raw.kps, 112))
            box = _box(raw.bbox)
            crop = portrait_box(box, photo.size, self.framing)
            found.append(
                Face(
                    image=photo.crop(_box(np.round(crop))),
                    aligned=aligned,
                    embedding=self.embed(aligned),
                    box=box,
                    crop=crop,
                    landmarks=np.asarray(raw.kps, dtype=np.float32),
                    score=float(raw.det_score),
                )
            )
        return sorted(found, key=lambda face: face.box[0] + face.box[2])

    def embed(self, aligned: Pixels) -> Tensor:
        """An aligned crop (112, 112, 3) RGB -> (512,) of unit norm.

        The mean over ten views, shifted by SHIFT to each side or not, mirrored or not: what chance
        did to the landmarks averages out (docs/toonville.md).
        """
        bgr = np.pad(aligned[:, :, ::-1], ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
        views = [bgr[SHIFT * y :, SHIFT * x :][:112, :112] for y, x in PLACES]
        views += [view[:, ::-1] for view in views]
        found = self.analysis.models["recognition"].get_feat(views)
        seen = functional.normalize(torch.from_numpy(np.asarray(found, np.float32)), dim=1)
        return functional.normalize(seen.mean(0), dim=0)


def load_face_model(
    pack: str | Path,
    note: str = "",
    root: Path | None = None,
    framing: Framing | None = None,
    det_size: tuple[int, int] | None = None,
    det_thresh: float = 0.5,
    device: str = "cpu",
) -> FaceModel:
    """Load an insightface pack: a folder with ONNX files, or a name under `<root>/models`.

    `det_size` None lets insightface look at two scales; what scores below `det_thresh` is no
    face. On a CUDA `device` it runs there if this onnxruntime can, else on the CPU.
    Raises FacePackMissing before insightface would try to download anything.
    """
    folder = Path(pack).expanduser()
    if not folder.is_dir():
        folder = pack_folder(str(pack), root)
    if len(sorted(folder.glob("*.onnx"))) < 2:
        raise FacePackMissing(_where_to_get(Path(pack).name, folder))
    check_sums(folder)
    from insightface.app import FaceAnalysis
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    try:
        analysis = FaceAnalysis(
            name=str(folder),
            allowed_modules=["detection", "recognition"],
            providers=_providers(device),
        )
    except AssertionError as error:
        raise FacePackMissing(f"No face detector among the files of {folder}.") from error
    except (runtime.InvalidProtobuf, runtime.InvalidArgument, runtime.Fail) as error:
        raise FacePackMissing(
            f"A file of the face pack {folder} is damaged or was downloaded in part ({error}). "
            "Delete the folder and unpack the pack again."
        ) from error
    if "recognition" not in analysis.models:
        raise FacePackMissing(f"No face recogniser among the files of {folder}.")
    context = 0 if device.startswith("cuda") else -1
    analysis.prepare(ctx_id=context, det_size=det_size, det_thresh=det_thresh)
    recogniser = Path(analysis.models["recognition"].model_file)
    digest = hashlib.sha256(recogniser.read_bytes()).hexdigest()[:8]
    name = folder.name if folder.name != "faces" else folder.parent.name
    return InsightFace(analysis, f"{name}-{digest}", note, framing or Framing())


def open_photo(source: PhotoSource) -> Image.Image:
    """Decode any picture (JPEG, PNG, WebP, HEIC, CMYK, RGBA, 16 bit) to upright 8-bit RGB.

    The longer side is at most MAX_SIDE afterwards. Raises PhotoUnreadable, PhotoTooLarge.
    """
    name = str(source) if isinstance(source, str | Path) else "the picture"
    try:
        photo = source if isinstance(source, Image.Image) else _open(source)
        if photo.width * photo.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        if min(photo.size) < MIN_SIDE:
            raise PhotoUnreadable(
                f"{name} has only {photo.width} x {photo.height} pixels. "
                "Use a photo of at least 128 x 128."
            )
        photo = _to_rgb(ImageOps.exif_transpose(photo))  # a copy: the caller's picture stays
        photo.thumbnail((MAX_SIDE, MAX_SIDE), reducing_gap=2.0)
        return photo
    except Image.DecompressionBombError as error:
        raise PhotoTooLarge(
            f"{name} has more than {MAX_PIXELS // 1_000_000} million pixels. "
            "Save a smaller copy and use that."
        ) from error
    except FileNotFoundError as error:
        raise PhotoUnreadable(f"There is no file {name}.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise PhotoUnreadable(
            f"{name} is no picture that can be read, or only a part of one. "
            "Save it again as JPEG or PNG."
        ) from error


def find_faces(source: PhotoSource, model: FaceModel) -> list[Face]:
    """All faces of a photo, left to right. Raises NoFaceFound if there is none."""
    faces = model.find(open_photo(source))
    if not faces:
        raise NoFaceFound(model.note)
    return faces


def find_face(source: PhotoSource, model: FaceModel, choose: int | None = None) -> Face:
    """The one face of a photo, or face number `choose` (1 is the leftmost).

    Raises NoFaceFound, and SeveralFaces (which carries the faces) if nobody chose.
    """
    faces = find_faces(source, model)
    if choose is None and len(faces) == 1:
        return faces[0]
    if choose is None or not 1 <= choose <= len(faces):
        raise SeveralFaces(faces)
    return faces[choose - 1]


def portrait_box(box: Box, size: tuple[int, int], framing: Framing) -> Box:
    """The square of a photo of (width, height) that frames the face as a portrait does.

    It stays inside the photo: shifted where the face is near an edge, smaller where the photo is.
    """
    left, top, right, bottom = box
    width, height = size
    side = min(max(right - left, bottom - top) * framing.side, float(min(size)))
    x = min(max((left + right) / 2 - framing.x * side, 0.0), width - side)
    y = min(max((top + bottom) / 2 - framing.y * side, 0.0), height - side)
    return (x, y, x + side, y + side)


def _where_to_get(pack: str, folder: Path) -> str:
    """What to do about a pack that is not there; nothing is downloaded unasked."""
    if deeper := sorted(folder.glob("*/*.onnx")):  # antelopev2.zip unpacks that way
        return (
            f"The files of the face pack “{pack}” lie one folder too deep, in {deeper[0].parent}. "
            f"Move them to {folder}."
        )
    get = "Unpack it there from where it is published"
    if pack in PACKS:
        url = PACKS[pack].url
        get = f"Get it with “python -m celeb_core pack {pack}”, or unpack {url} there"
    return (
        f"There is no face pack at {folder} (a detector and a recogniser, *.onnx). {get}, or name "
        "another folder. insightface's own packs are for non-commercial research only."
    )


def _providers(device: str) -> list[str]:
    """What onnxruntime should run on, the first that works. What is listed was compiled in."""
    import onnxruntime

    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    there = onnxruntime.get_available_providers()
    return [*(name for name in wanted if name in there), "CPUExecutionProvider"]


def _open(source: str | Path | bytes) -> Image.Image:
    from pillow_heif import register_heif_opener

    register_heif_opener()
    with warnings.catch_warnings():  # PIL warns where we have a limit of our own
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        photo = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    photo.draft("RGB", (MAX_SIDE, MAX_SIDE))  # JPEG: decode at a fraction of the size
    return photo


def _to_rgb(photo: Image.Image) -> Image.Image:
    if photo.mode.startswith("I") or photo.mode == "F":  # 16 bits and more: keep the range
        values = np.asarray(photo, dtype=np.float32)
        top = 65535.0 if values.max() > 255 else 255.0
        return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in photo.getbands() or "transparency" in photo.info:
        photo = photo.convert("RGBA")
        white = Image.new("RGBA", photo.size, "white")
        return Image.alpha_composite(white, photo).convert("RGB")
    return photo.convert("RGB")


def _box(values: Any) -> Box:
    left, top, right, bottom = (float(value) for value in values)
    return (left, top, right, bottom)
