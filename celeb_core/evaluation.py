"""Identity score, prompt score, detection rate; the judge; the table of `evaluate --quick`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from celeb_core.types import Scores

if TYPE_CHECKING:
    from celeb_core.models import Studio


def score_picture(
    picture: Image.Image, text: str, wanted: Mapping[str, Tensor], studio: Studio
) -> Scores:
    """Match the faces of a picture one to one to the wanted people and score it.

    `wanted`: name -> face embedding (512,) to compare with, the photo's or `reference_faces`'.
    """
    raise NotImplementedError


def reference_faces(
    people: Mapping[str, Any], studio: Studio, pictures: int = 4, seed: int = 1000
) -> dict[str, Tensor]:
    """Mean face embedding (512,) of each person as the model draws “a photo of <name>”.

    For saved identities, whose photo's embedding is deliberately not kept. People without any
    face in their pictures are left out.
    """
    raise NotImplementedError


def evaluate_quick(studio: Studio, seed: int = 0, people: int = 20) -> dict[str, Any]:
    """The numbers of `evaluate --quick`, with exactly the keys of its JSON file."""
    raise NotImplementedError
