"""Photo -> Face: detect, align, embed, quality."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from insightface.app import FaceAnalysis
from insightface.utils.face_align import norm_crop
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors
from PIL import Image
from torch import Tensor
from torch.nn import functional

from celeb_core import errors, face_packs
from celeb_core.face_orientation import FoundBox, quarter_turns
from celeb_core.files import sha256
from celeb_core.formats.image_file import PhotoSource, load_photo
from celeb_core.types import Box, Face, Framing

Pixels: TypeAlias = npt.NDArray[np.uint8]

TASKS = ["detection", "recognition"]  # of a pack, which may hold more
SHIFT = 2  # pixels of an aligned crop, about the error of a detector's landmarks
OFFSETS = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))  # rows, columns, in SHIFTs

FEATURES = np.s_[36:108, 24:88]  # of an aligned crop: from the eyes to the chin
SHADED, EVEN = 0.11, 0.2  # of a photograph: the slopes' lower quartile, relative, is above

# A training photo gets a note below (of TURNED: above) these values.
SMALL = 0.25  # longer side of the face box, as a share of the width of the model's images
BLURRED = 25.0  # variance of the Laplacian of the aligned face, grey values 0 to 255
DARK = 70.0  # 90th percentile of its grey values
TURNED = 0.25  # offset of the nose from the middle of the eyes, in distances between the eyes
UNSURE = 0.65  # the detector's confidence

log = logging.getLogger(__name__)


@dataclass(eq=False)
class FaceModel:
    """A face detector and recogniser, see `load_face_model`."""

    analysis: Any  # insightface.app.FaceAnalysis; None while there is no face pack
    id: str  # of the recogniser: embeddings of different ids cannot be compared
    note: str  # advice for the user when no face is found, or there is no face pack
    framing: Framing  # of `Face.image`
    drawn: bool = False  # the model knows drawn faces only, of which `note` says more

    @property
    def ready(self) -> bool:
        """Whether there is a face pack; without one, `find` raises FacePackMissing."""
        return self.analysis is not None

    @property
    def providers(self) -> tuple[str, ...]:
        """What onnxruntime really runs the recogniser on, the preferred one first."""
        session = self.analysis.models["recognition"].session if self.ready else None
        return tuple(session.get_providers()) if session else ()

    def find(self, photo: Image.Image) -> list[Face]:
        """Find all faces of an upright RGB photo, left to right; empty if there are none."""
        rgb = np.asarray(photo.convert("RGB"))
        faces = []
        for found in self._analysis().get(np.ascontiguousarray(rgb[:, :, ::-1])):  # it takes BGR
            if not np.isfinite(found.embedding).all():
                continue  # coinciding landmarks: the alignment has no solution
            aligned = np.asarray(norm_crop(rgb, found.kps, 112))
            embedding, landmarks = self.embed(aligned), np.asarray(found.kps, dtype=np.float32)
            box: Any = tuple(found.bbox.tolist())
            crop = portrait_box(box, photo.size, self.framing)
            score = float(found.det_score)
            faces.append(Face(photo.crop(crop), aligned, embedding, box, crop, landmarks, score))
        return sorted(faces, key=lambda face: face.box[0] + face.box[2])

    def detect(self, photo: Image.Image) -> list[FoundBox]:
        """Find the faces of an RGB photo, whatever their orientation.

        Returns:
            The detector's confidence, the box, and by how many quarters, counter-clockwise, the
            landmarks have to be turned to be upright, of each.
        """
        bgr = np.ascontiguousarray(np.asarray(photo)[:, :, ::-1])
        found: list[FoundBox] = []
        for (*box, score), points in zip(*self._analysis().det_model.detect(bgr), strict=True):
            up_x, up_y = points[:2].mean(0) - points[3:].mean(0)  # from the mouth to the eyes
            turns = round(math.atan2(up_x, -up_y) / (math.pi / 2)) % 4
            found.append((float(score), tuple(box), turns))
        return found

    def _analysis(self) -> Any:
        if not self.ready:
            raise errors.FacePackMissing(self.note)
        return self.analysis

    def embed(self, aligned: Pixels) -> Tensor:
        """Embed an aligned crop (112, 112, 3) RGB -> (512,) float32 of unit norm.

        The mean over ten views, shifted by SHIFT to one side or not, mirrored or not, averages
        out the error of the landmarks.
        """
        bgr = np.pad(aligned[:, :, ::-1], ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
        views = [bgr[SHIFT * row :, SHIFT * column :][:112, :112] for row, column in OFFSETS]
        views += [view[:, ::-1] for view in views]
        embeddings = torch.tensor(self.analysis.models["recognition"].get_feat(views)).float()
        return mean_embedding(functional.normalize(embeddings, dim=1))


def load_face_model(
    pack: str | Path,
    note: str = "",
    root: Path | None = None,
    framing: Framing | None = None,
    det_size: tuple[int, int] | None = None,
    det_thresh: float = 0.5,
    device: str = "cpu",
    drawn: bool = False,
) -> FaceModel:
    """Load an insightface pack: a folder with *.onnx files, or the name of one in `<root>/models`.

    Nothing is downloaded; `root` None is insightface's own. The detector works on `det_size` pixels
    (width, height; None: two scales) and takes faces of a confidence above `det_thresh`, 0 to 1.
    `drawn` says that the model whose photos they are knows drawn faces only, and `note` more of it.
    CUDA is used if `device` says so and onnxruntime can; if it cannot, a warning says so.

    Raises:
        FacePackMissing: No pack there, or an incomplete, damaged or changed one.
    """
    folder = Path(pack).expanduser()
    if not folder.is_dir():
        folder = face_packs.pack_folder(str(pack), root)
    if len(sorted(folder.glob("*.onnx"))) < 2:
        raise face_packs.missing_pack(folder)
    face_packs.verify_checksums(folder)
    kind: dict[str, Any] = {"providers": face_packs.execution_providers(device)}
    kind["sess_options"] = onnxruntime.SessionOptions()
    kind["sess_options"].intra_op_num_threads = torch.get_num_threads()  # of one core: no others
    try:
        analysis = FaceAnalysis(name=str(folder), allowed_modules=TASKS, **kind)
    except AssertionError as error:
        raise errors.FacePackMissing(f"No face detector among the files of {folder}.") from error
    except (onnx_errors.InvalidProtobuf, onnx_errors.InvalidArgument, onnx_errors.Fail) as error:
        raise errors.FacePackMissing(
            f"A file of the face pack {folder} is damaged or was downloaded in part ({error}). "
            "Delete the folder and unpack the pack again."
        ) from error
    recogniser = analysis.models.get("recognition")
    if recogniser is None or recogniser.get_feat(np.zeros((112, 112, 3), np.uint8)).size != 512:
        raise errors.FacePackMissing(
            f"No face recogniser of 512 numbers in {folder}. Use a pack with an ArcFace recogniser."
        )
    analysis.prepare(0 if device.startswith("cuda") else -1, det_thresh, det_size)
    name = folder.name if folder.name != "faces" else folder.parent.name
    checksum = sha256(Path(recogniser.model_file))
    model = FaceModel(analysis, f"{name}-{checksum[:8]}", note, framing or Framing(), drawn)
    if device.startswith("cuda") and "CUDAExecutionProvider" not in model.providers:
        log.warning("faces are found on the CPU: README.md says how to install onnxruntime-gpu")
    return model


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """The faces of a photo, at least one, left to right."""

    photo: Image.Image  # to which their boxes refer: turned upright
    faces: list[Face]


def examine_photo(source: PhotoSource, model: FaceModel) -> FoundFaces:
    """Find all faces of a photo, which is turned if they are upside down or on their sides.

    Raises:
        PhotoError: See `load_photo`; NoFaceFound if there is none.
    """
    photo = load_photo(source)
    if turns := quarter_turns(photo, model.detect):
        photo = photo.rotate(90 * turns, expand=True)
    faces = [replace(face, turned=90 * turns) for face in model.find(photo)]
    if model.drawn:
        notes = [model.note if is_photograph(face.aligned) else "" for face in faces]
        faces = [replace(face, domain_note=note) for face, note in zip(faces, notes, strict=True)]
    if not faces:
        advice = "Try a photo where the face fills more of the frame, looks at the camera, is lit."
        raise errors.NoFaceFound(f"No face found. {advice} {model.note}".rstrip())
    return FoundFaces(photo, faces)


def find_faces(source: PhotoSource, model: FaceModel) -> list[Face]:
    """Find all faces of a photo as `examine_photo` does, left to right."""
    return examine_photo(source, model).faces


def find_face(source: PhotoSource, model: FaceModel, choose: int | None = None) -> Face:
    """Find the only face of a photo, or face number `choose` (1 is the leftmost).

    Raises:
        PhotoError: See `find_faces`; SeveralFaces without a valid choice.
    """
    faces = find_faces(source, model)
    if choose is None and len(faces) == 1:
        return faces[0]
    if choose is None or not 1 <= choose <= len(faces):
        raise errors.SeveralFaces(faces)
    return faces[choose - 1]


def largest_face(faces: Sequence[Face]) -> Face:
    """Return the face with the largest box."""
    return max(faces, key=lambda f: (f.box[2] - f.box[0]) * (f.box[3] - f.box[1]))


def mean_embedding(embeddings: Tensor | Sequence[Tensor]) -> Tensor:
    """Return the mean (512,), scaled to unit norm, of n unit vectors (512,)."""
    return functional.normalize(torch.stack([*embeddings]).float().mean(0), dim=0)


def portrait_box(box: Box, size: tuple[int, int], framing: Framing) -> Box:
    """Return the square that frames a face box as a portrait does, inside a photo of that size."""
    left, top, right, bottom = box
    side = min(max(right - left, bottom - top) * framing.side, float(min(size)))
    x = min(max((left + right) / 2 - framing.x * side, 0.0), size[0] - side)
    y = min(max((top + bottom) / 2 - framing.y * side, 0.0), size[1] - side)
    return (x, y, x + side, y + side)


def is_photograph(aligned: Pixels) -> bool:
    """Return whether an aligned face seems to be photographed: even its plainest parts are shaded.

    A quarter of a drawn face, of whatever style, is of about one colour. Both sizes are so small
    that neither noise nor JPEG matter much. Strong blur hides the difference, both ways.
    """
    fine, coarse = (_slopes(aligned, rows) for rows in (24, 18))
    contrast = float(cv2.resize(aligned[FEATURES], (21, 24), interpolation=cv2.INTER_AREA).std())
    shaded = np.percentile(fine, 25) > SHADED * (contrast + 5)
    return bool(shaded and np.percentile(coarse, 25) > EVEN * (np.percentile(coarse, 90) + 1))


def _slopes(aligned: Pixels, rows: int) -> npt.NDArray[Any]:
    """Return how much the colour changes per pixel of the features, reduced to some rows."""
    size = (round(rows * 64 / 72), rows)
    small = cv2.resize(aligned[FEATURES], size, interpolation=cv2.INTER_AREA).astype(np.float32)
    x, y = (np.abs(np.diff(small, axis=axis)).mean(2) for axis in (1, 0))
    slopes: npt.NDArray[Any] = np.hypot(x[:-1], y[:, :-1])
    return slopes


def quality_notes(face: Face, side: int) -> list[str]:
    """Say what is wrong with a training photo for images `side` pixels wide, and what to do."""
    left, top, right, bottom = face.box
    high, need = round(max(right - left, bottom - top)), SMALL * side
    grey = face.aligned.astype(np.float32).mean(axis=2)
    sharpness, light = cv2.Laplacian(grey, cv2.CV_32F)[1:-1, 1:-1].var(), np.percentile(grey, 90)
    left_eye, right_eye, nose = face.landmarks[:3]
    eyes, score = right_eye - left_eye, face.score
    turn = abs((nose - (left_eye + right_eye) / 2) @ eyes / max(float(eyes @ eyes), 1e-6))
    notes = {
        f"The photo was turned upright by {face.turned} degrees: its faces were "
        f"{'upside down' if face.turned == 180 else 'on their sides'}. "
        "Use another photo if that is wrong.": face.turned > 0,
        "This looks like a photograph, and images of this person would not look like it. "
        + face.domain_note: bool(face.domain_note),
        f"Small: the face is {high} pixels high. Use a photo with {need:.0f} or more.": high < need,
        "Blurred: fine traits will be missed. Use a sharper photo.": sharpness < BLURRED,
        "Dark: colours will be off. Use a photo with light on the face.": light < DARK,
        "Turned away: half of the face is hidden. Use one that looks at the camera.": turn > TURNED,
        "Hard to make out: maybe something covers it. Use one with the face free.": score < UNSURE,
    }
    return [note for note, applies in notes.items() if applies]
