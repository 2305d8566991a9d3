"""How the model draws its celebrities: the faces that a training's start is fitted to.

Once per model and recogniser, on the model's own pictures: no outside data is needed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from celeb_core.files import write_atomically
from celeb_core.prompt import parse_prompt
from celeb_core.sampling import generate_each
from celeb_core.types import Calibration, Face, Framing, SampleConfig

if TYPE_CHECKING:
    from celeb_core.models import Studio

FORMAT = "celeb-calibration 1"
PORTRAIT = "a photo of {}"

log = logging.getLogger(__name__)


def calibrate(
    studio: Studio,
    pictures: int = 1,
    seed: int = 0,
    names: Sequence[str] | None = None,
    batch_size: int = 8,
) -> Iterator[tuple[int, Calibration]]:
    """Draw each celebrity `pictures` times and embed the faces -> (names done, result so far).

    Every picture has its own noise. A celebrity without a face gets zeros, and is left out
    of the start.
    """
    names = tuple(studio.basis.names if names is None else names)
    framings: list[tuple[float, float, float]] = []
    embeddings = torch.zeros(len(names), 512)
    for first in range(0, len(names), batch_size):
        group = names[first : first + batch_size]
        prompts = [parse_prompt(PORTRAIT.format(n), {}) for n in group for _ in range(pictures)]
        config = SampleConfig(seed=seed + first * pictures, batch_size=batch_size)
        drawn = generate_each(prompts, studio.models, studio.basis, config)
        for index in range(len(group)):
            own = drawn[index * pictures : (index + 1) * pictures]
            found = [largest(faces) for p in own if (faces := studio.faces.find(p))]
            if found:
                mean = mean_direction(torch.stack([face.embedding for face in found]))
                embeddings[first + index] = mean
            framings += [_framing(face, own[0].height) for face in found]
        middle = torch.tensor(framings or [(2.0, 0.5, 0.5)]).median(0).values.tolist()
        yield (
            first + len(group),
            Calibration(
                names, embeddings.clone(), studio.models.id, studio.faces.id, Framing(*middle)
            ),
        )


def _framing(face: Face, side: int) -> tuple[float, float, float]:
    """How a square picture frames its face: the three numbers of `Framing`."""
    left, top, right, bottom = face.box
    ratio = side / max(right - left, bottom - top)
    return ratio, (left + right) / 2 / side, (top + bottom) / 2 / side


def largest(faces: Sequence[Face]) -> Face:
    """The face with the largest box."""
    return max(faces, key=lambda f: (f.box[2] - f.box[0]) * (f.box[3] - f.box[1]))


def mean_direction(embeddings: Tensor) -> Tensor:
    """Unit mean (512,) of unit vectors (n, 512)."""
    return functional.normalize(embeddings.float().mean(0), dim=0)


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write the embeddings in half precision (about 1 KB per celebrity), atomically."""
    metadata = {
        "format": FORMAT,
        "names": json.dumps(calibration.names),
        "base_model": calibration.base_model,
        "recogniser": calibration.recogniser,
        "framing": json.dumps(vars(calibration.framing)),
    }
    tensors = {"face_embeddings": calibration.face_embeddings.half().contiguous()}
    write_atomically(path, save(tensors, metadata=metadata))


def load_calibration(places: Sequence[Path], recogniser: str) -> Calibration | None:
    """The first calibration of this recogniser among some files; None if there is none."""
    for path in places:
        if not path.is_file():
            continue
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                embeddings = file.get_tensor("face_embeddings").float()
        except SafetensorError as error:
            log.warning("ignored: %s is damaged (%s); run calibrate again", path, error)
            continue
        if metadata.get("format") != FORMAT or metadata.get("recogniser") != recogniser:
            log.warning("ignored: %s was made with another recogniser; run calibrate again", path)
            continue
        names = tuple(json.loads(metadata["names"]))
        framing = Framing(**json.loads(metadata["framing"]))
        return Calibration(names, embeddings, metadata["base_model"], recogniser, framing)
    return None
