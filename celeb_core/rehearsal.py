"""What a training says too loudly or too softly, found on people whose words are known.

Pictures are drawn with guidance, which the loss of a training knows nothing of: what words say is
drawn stronger than the loss has asked for, one thing more than another. So the training is
rehearsed: words as a photo may have led to, a picture drawn from them, a training on that picture.
From the words that are found, ridge regression leads back to those that were meant. What it says
is added to the words of every new person (`CalibratedMapper.corrected`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from celeb_core.basis import compose
from celeb_core.calibration import PORTRAIT, largest, no_correction
from celeb_core.errors import FeatureMissing
from celeb_core.presets import PRESETS
from celeb_core.prompt import parse_prompt
from celeb_core.sampling import generate
from celeb_core.start import ridge, start_coefficients
from celeb_core.training import fit
from celeb_core.types import Calibration, Face, Person, SampleConfig

if TYPE_CHECKING:
    from celeb_core.models import Studio

PEOPLE = 120
FEWEST_PEOPLE = 40  # with fewer, the regression is of chance
SPREAD = 1.25  # of people's words along the directions, over the start's: trained people's are such
SEED = 5_000_000  # of the pictures, so that no other picture is drawn again


@dataclass(frozen=True, eq=False)
class RehearsalStep:
    """Progress of a rehearsal."""

    people: int  # trained so far
    result: Callable[[], Calibration]  # raises FeatureMissing while the people are too few


def rehearse(
    calibration: Calibration, photos: Sequence[Face], studio: Studio, seed: int = 0
) -> Iterator[RehearsalStep]:
    """Train Best on a drawn picture of somebody like each photo's person; yields after each.

    Whose picture has no face is left out. Deterministic for a seed. Raises FeatureMissing with
    fewer than FEWEST_PEOPLE photos.
    """
    if len(photos) < FEWEST_PEOPLE:
        raise FeatureMissing(
            f"{len(photos)} photos with a face are too few to learn from; {FEWEST_PEOPLE} are "
            "needed, and a hundred are better. Add photos of other people."
        )
    models, basis = studio.models, studio.basis
    plain = replace(calibration, correction=no_correction(calibration.directions))
    config = replace(PRESETS["best"], seed=seed)
    along = torch.linalg.pinv(calibration.directions)  # (q, k * p)
    faces = torch.stack([face.embedding for face in photos])
    start = start_coefficients(faces, plain, basis)
    further = (start.flatten(1) - start.flatten(1).mean(0)) @ along.T @ plain.directions.T
    meant = start + (SPREAD - 1) * further.view_as(start)
    pairs: list[tuple[Tensor, Tensor]] = []  # found, meant: (q,) along the directions

    def result() -> Calibration:
        if len(pairs) < FEWEST_PEOPLE:
            raise FeatureMissing(
                f"{len(pairs)} people were drawn with a face and trained; {FEWEST_PEOPLE} are "
                "needed. Add photos of other people."
            )
        found, wanted = (torch.stack(side) for side in zip(*pairs, strict=True))
        return replace(calibration, correction=fit_correction(found, wanted))

    for row, words in enumerate(meant):
        prompt = parse_prompt(PORTRAIT.format("<x>"), {"x": compose(basis, words[None])[0]})
        picture = generate(prompt, models, basis, SampleConfig(seed=SEED + row, num_images=1))[0]
        if seen := studio.faces.find(picture):
            person = Person("x", (largest(seen),))
            trained = fit([person], models, basis, config, calibration=plain)["x"]
            pairs.append((along @ trained.coefficients.flatten(), along @ words.flatten()))
        yield RehearsalStep(len(pairs), result)


def fit_correction(found: Tensor, meant: Tensor) -> Tensor:
    """Along q directions, what was found and what was meant (n, q) -> (q, q + 1): the ridge
    regression of the difference on what was found, and what is added to everybody."""
    weight, bias, _ = ridge(found, meant - found)
    return torch.cat([weight, bias[:, None]], 1)
