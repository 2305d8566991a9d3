"""Who tells whether a generated face is the person: another recogniser than the one that trained.

A score by the recogniser whose embedding the training began with flatters the method, so an
independent judge is looked for first: the model folder's own, another insightface pack, or dlib.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from huggingface_hub import snapshot_download
from PIL import Image
from torch import Tensor

from celeb_core.errors import FacePackMissing, FeatureMissing, UsageError
from celeb_core.evaluation.dlib_judge import load_dlib_judge
from celeb_core.faces import FaceModel, load_face_model
from celeb_core.files import sha256
from celeb_core.scoring import ClipScorer
from celeb_core.studio import Studio
from celeb_core.types import Face

DLIB = "dlib"  # in place of a pack's name
CLIP_FILES = ["*.json", "*.txt", "model.safetensors"]  # of a hub repository
WITHOUT_JUDGE = (
    "No independent judge: identity by the conditioning recogniser, which flatters. "
    "Name another face pack or dlib: --judge antelopev2."
)
WITHOUT_CLIP = "No prompt score: there is no CLIP. Name one: --clip openai/clip-vit-large-patch14."


class FaceJudge(Protocol):
    """Whatever embeds faces that were found in an image."""

    def embed(self, image: Image.Image, faces: Sequence[Face]) -> Tensor:
        """Return (n, d) of unit norm, one row for each face."""
        ...


class PackJudge:
    """The recogniser of a face pack; without one, the embeddings that the faces have already."""

    def __init__(self, faces: FaceModel | None = None) -> None:
        self.faces = faces

    def embed(self, image: Image.Image, faces: Sequence[Face]) -> Tensor:
        """Return (n, 512) of unit norm."""
        del image  # the faces are aligned crops of it
        rows = [self.faces.embed(one.aligned) if self.faces else one.embedding for one in faces]
        return torch.stack(rows) if rows else torch.zeros(0, 512)


class ChosenJudge(NamedTuple):
    """A judge, and what to say about it."""

    judge: FaceJudge
    id: str  # scores of different ids cannot be compared
    note: str = ""  # what whoever reads the table must know


def find_judge(studio: Studio, pack: str | None = None) -> ChosenJudge:
    """Return the judge that is named, else the model's own, else the studio's recogniser.

    Args:
        studio: Its recogniser conditioned the trainings.
        pack: An insightface pack's name or folder, or DLIB.

    Raises:
        FacePackMissing, FeatureMissing: There is no such pack; dlib is not installed.
        UsageError: It has the recogniser that conditioned the trainings.
    """
    own = studio.scorers.judge
    if pack is None and own is not None and studio.models.folder is not None:
        return ChosenJudge(own, f"judge-{sha256(studio.models.folder / 'judge.onnx')[:8]}")
    if pack is None:
        return ChosenJudge(PackJudge(), studio.faces.id, WITHOUT_JUDGE)
    if pack == DLIB:
        if (judge := load_dlib_judge()) is None:
            raise FeatureMissing("dlib is missing: pip install -r requirements-judge.txt.")
        return ChosenJudge(judge, DLIB)
    try:
        faces = load_face_model(pack, device=str(studio.models.device))
    except FacePackMissing as error:
        error.within("The judge")
        raise
    if _checksum(faces) == _checksum(studio.faces):
        raise UsageError(
            f"The judge {faces.id} has the recogniser {studio.faces.id}, which the people are "
            "trained with: it would judge its own work. Name a face pack with another recogniser, "
            "for example --judge antelopev2 with --face-pack buffalo_l."
        )
    return ChosenJudge(PackJudge(faces), faces.id)


def find_clip(studio: Studio, source: str | None = None) -> tuple[ClipScorer | None, str]:
    """Return the scorer of prompts, and what to say about it.

    Args:
        studio: Its model's own is taken if none is named.
        source: Of a CLIP: a folder in transformers' layout or a hub id.

    Raises:
        FeatureMissing: There is no CLIP of that name, or it is not whole.
    """
    if source is None:
        own = studio.scorers.clip
        return own, "" if own else WITHOUT_CLIP
    folder = Path(source).expanduser()
    try:
        if not folder.is_dir():
            folder = Path(snapshot_download(source, allow_patterns=CLIP_FILES))
        return ClipScorer(folder), ""
    except Exception as error:  # of a folder that may hold anything, or of the hub
        reason = str(error).strip().partition("\n")[0][:200]
        raise FeatureMissing(
            f"The CLIP {source} cannot be used ({reason}). Name a folder with config.json, "
            "model.safetensors and a tokenizer, or a hub id.",
            option="--clip openai/clip-vit-large-patch14",
        ) from error


def _checksum(faces: FaceModel) -> str:
    return faces.id.rpartition("-")[2]
