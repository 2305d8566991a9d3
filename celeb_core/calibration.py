"""How the model draws people whose coefficients are known: what a new person starts from.

Once per model, recogniser and basis, on the model's own pictures: no outside data is needed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from celeb_core.basis import compose, mix, project, words_of
from celeb_core.files import write_atomically
from celeb_core.mapper import CALIBRATED
from celeb_core.prompt import parse_prompt
from celeb_core.sampling import generate_each
from celeb_core.start import FEWEST, check_basis, fit_start
from celeb_core.types import Calibration, Face, Framing, SampleConfig

if TYPE_CHECKING:
    from celeb_core.models import Studio

FORMAT = "celeb-calibration 3"
ROWS_FORMAT = "celeb-sightings 1"
PORTRAIT = "a photo of {}"
MIXTURES = 2500

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Sightings:
    """What the recogniser saw of n people whom the model drew: the celebrities, then mixtures."""

    names: tuple[str, ...]  # the celebrities
    coefficients: Tensor  # (n, k, p) float32
    face_embeddings: Tensor  # (n, 512) float32, unit norm; zeros where no face was found
    framings: Tensor  # (n, 3) float32, the numbers of `Framing`; zeros where no face was found
    planned: int  # rows when all is done
    made_of: str  # what must agree for a run to go on: names, seed, steps, basis, model, recogniser

    @property
    def seen(self) -> Tensor:
        """(n,) bool: who has a face."""
        seen: Tensor = self.face_embeddings.norm(dim=1) > 0.5
        return seen


def look_at_people(
    studio: Studio,
    mixtures: int = MIXTURES,
    seed: int = 0,
    names: Sequence[str] | None = None,
    steps: int | None = None,
    batch_size: int = 8,
    so_far: Sightings | None = None,
) -> Iterator[Sightings]:
    """Draw each celebrity once by name, then `mixtures` mixtures of two, and embed the faces.

    A mixture is v = lam * v1 + (1 - lam) * v2 (METHOD.md §1.1) of two celebrities by chance, lam
    uniform. Yields all rows so far, every `batch_size`. Every picture has its own noise; `steps`
    of sampling may be fewer than for pictures to be looked at. `so_far` of the same model, names,
    seed and steps is gone on with.
    """
    names = tuple(studio.basis.names if names is None else names)
    made_of = json.dumps(
        [names, seed, steps, studio.basis.id, studio.models.id, studio.faces.id],
        ensure_ascii=False,
    )
    planned = len(names) + mixtures
    rows = so_far if so_far is not None and so_far.made_of == made_of else None
    coefficients = list(rows.coefficients[:planned]) if rows else []
    embeddings = list(rows.face_embeddings[:planned]) if rows else []
    framings = list(rows.framings[:planned]) if rows else []
    while len(coefficients) < planned:
        first = len(coefficients)
        prompts = []
        for row in range(first, min(first + batch_size, planned)):
            words = _words(row, names, seed, studio)
            coefficients.append(project(studio.basis, words))
            if row < len(names):
                prompts.append(parse_prompt(PORTRAIT.format(names[row]), {}))
            else:
                words = compose(studio.basis, coefficients[-1])
                prompts.append(parse_prompt(PORTRAIT.format("<x>"), {"x": words}))
        config = SampleConfig(seed=seed + first, steps=steps, batch_size=batch_size)
        for picture in generate_each(prompts, studio.models, studio.basis, config):
            face = largest(faces) if (faces := studio.faces.find(picture)) else None
            embeddings.append(torch.zeros(512) if face is None else face.embedding)
            framings.append(torch.zeros(3) if face is None else _framing(face, picture.height))
        yield Sightings(
            names,
            torch.stack(coefficients),
            torch.stack(embeddings),
            torch.stack(framings),
            planned,
            made_of,
        )


def calibration_of(
    sightings: Sightings, studio: Studio, start: Calibration | None = None
) -> Calibration:
    """Closed form, seconds; the way from faces to coefficients is that of `start`, if there is one.

    Raises FeatureMissing with too few faces, BasisMismatch if `start` is of another basis.
    """
    seen, celebrities = sightings.seen, len(sightings.names)
    # Mixtures make more of the map, but their faces blur what tells people apart: directions from
    # them, too, were worse (docs/toonville.md).
    down, up, bias, directions = fit_start(
        sightings.face_embeddings[seen],
        sightings.coefficients[seen],
        studio.basis,
        studio.models,
        max(FEWEST, int(seen[:celebrities].sum())),
    )
    if start is not None:
        check_basis(start, studio.basis)
        down, up, bias = start.down, start.up, start.bias
    framing = Framing(*sightings.framings[seen].median(0).values.tolist())
    return Calibration(
        sightings.names,
        sightings.face_embeddings[:celebrities].clone(),
        down,
        up,
        bias,
        directions,
        no_correction(directions),
        studio.basis.id,
        studio.models.id,
        studio.faces.id,
        framing,
    )


def no_correction(directions: Tensor) -> Tensor:
    """`Calibration.correction` along directions (k * p, q) before a rehearsal."""
    count = directions.shape[1]
    return torch.zeros(count, count + 1)


def _words(row: int, names: Sequence[str], seed: int, studio: Studio) -> Tensor:
    """The words (k, d) of a row: a celebrity's, or a mixture that only row and seed determine."""
    if row < len(names):
        return words_of(names[row], studio.basis, studio.models)
    rng = np.random.default_rng((seed, row))
    a, b = rng.choice(len(names), 2, replace=len(names) < 2)
    lam = float(rng.random())
    return mix((names[a], names[b]), (lam, 1 - lam), studio.basis, studio.models)


def _framing(face: Face, side: int) -> Tensor:
    """How a square picture frames its face: the three numbers of `Framing`."""
    left, top, right, bottom = face.box
    ratio = side / max(right - left, bottom - top)
    return torch.tensor([ratio, (left + right) / 2 / side, (top + bottom) / 2 / side])


def largest(faces: Sequence[Face]) -> Face:
    """The face with the largest box."""
    return max(faces, key=lambda f: (f.box[2] - f.box[0]) * (f.box[3] - f.box[1]))


def mean_direction(embeddings: Tensor) -> Tensor:
    """Unit mean (512,) of unit vectors (n, 512)."""
    return functional.normalize(embeddings.float().mean(0), dim=0)


def save_sightings(sightings: Sightings, path: Path) -> None:
    """Keep rows for a run that goes on later; atomic."""
    tensors = {
        "coefficients": sightings.coefficients.half(),
        "face_embeddings": sightings.face_embeddings.half(),
        "framings": sightings.framings,
    }
    metadata = {
        "format": ROWS_FORMAT,
        "names": json.dumps(sightings.names),
        "planned": str(sightings.planned),
        "made_of": sightings.made_of,
    }
    write_atomically(path, save(tensors, metadata=metadata))


def load_sightings(path: Path) -> Sightings | None:
    """What `save_sightings` wrote; None if there is nothing that can be read."""
    content = _read(path, ROWS_FORMAT)
    if content is None:
        return None
    tensors, metadata = content
    return Sightings(
        tuple(json.loads(metadata["names"])),
        tensors["coefficients"],
        tensors["face_embeddings"],
        tensors["framings"],
        int(metadata["planned"]),
        metadata["made_of"],
    )


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write it atomically: faces in 8 bits (0.5 KB per celebrity), the rest in half precision."""
    metadata = {
        "format": FORMAT,
        "names": json.dumps(calibration.names),
        "basis_id": calibration.basis_id,
        "base_model": calibration.base_model,
        "recogniser": calibration.recogniser,
        "framing": json.dumps(vars(calibration.framing)),
    }
    tensors = {name: getattr(calibration, name).half().contiguous() for name in CALIBRATED}
    largest_entries = calibration.face_embeddings.abs().amax(1, keepdim=True).clamp_min(1e-6)
    tensors["face_embeddings"] = (
        (calibration.face_embeddings / largest_entries * 127).round().char()
    )
    write_atomically(path, save(tensors, metadata=metadata))


def load_calibration(places: Sequence[Path], recogniser: str, basis_id: str) -> Calibration | None:
    """The first calibration of this recogniser and basis among some files; None without one."""
    for path in places:
        content = _read(path, FORMAT)
        if content is None:
            continue
        tensors, metadata = content
        tensors["face_embeddings"] = functional.normalize(tensors["face_embeddings"], dim=1)
        tensors.setdefault("correction", no_correction(tensors["directions"]))
        made_with = metadata["recogniser"], metadata["basis_id"]
        if made_with != (recogniser, basis_id):
            what = "recogniser" if made_with[0] != recogniser else "celeb basis"
            log.warning("ignored: %s was made with another %s; run calibrate again", path, what)
            continue
        return Calibration(
            names=tuple(json.loads(metadata["names"])),
            **tensors,
            basis_id=basis_id,
            base_model=metadata["base_model"],
            recogniser=recogniser,
            framing=Framing(**json.loads(metadata["framing"])),
        )
    return None


def _read(path: Path, wanted: str) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Tensors (float32) and metadata of a file of a format; None without one."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}
    except SafetensorError as error:
        log.warning("ignored: %s is damaged (%s); run calibrate again", path, error)
        return None
    if metadata.get("format") != wanted:
        log.warning("ignored: %s is of another version; run calibrate again", path)
        return None
    return tensors, metadata
