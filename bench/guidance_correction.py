"""The producer of `Calibration.correction`: how guidance changes what a training finds.

Images are generated with guidance, which the loss of a training knows nothing of. So the
coefficients that fit an image best are not those that it was generated from: too large along some
directions, too small along others. To measure that, coefficients such as a photo leads to are
taken as the truth; an image is generated from them, and a person is trained on that image. Ridge
regression from the coefficients that were found to the true ones is the correction, which
`CalibratedMapper.settled` adds to every later training.

python -m bench.guidance_correction PHOTOS [--model MODEL] [--people N] [--out FILE]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from celeb_core.basis import compose
from celeb_core.errors import CelebError, FeatureMissing
from celeb_core.faces import find_faces, largest_face
from celeb_core.formats.calibration_file import save_calibration, zero_correction
from celeb_core.mapper import build_mapper
from celeb_core.prepare.calibration import ridge
from celeb_core.prompt import PORTRAIT, parse_prompt
from celeb_core.sampling import generate
from celeb_core.studio import Studio, calibration_path, load_studio
from celeb_core.training import fit
from celeb_core.types import Calibration, MapperConfig, Person, SampleConfig, recipe

PEOPLE = 120
MIN_PEOPLE = 40  # fewer give a regression of chance
SPREAD = 1.25  # of trained people along the directions, over that of the initialisation
SEED = 5_000_000  # of the images; far from all others


@dataclass(frozen=True, eq=False)
class CorrectionStep:
    """Progress of `learn_correction`."""

    people: int  # trained so far
    result: Callable[[], Calibration]  # raises FeatureMissing while the people are too few


def main() -> int:
    """Learn a correction from a folder of photos and store it; return the exit code."""
    options = _parser().parse_args()
    cache: Path = options.cache.expanduser()
    try:
        studio = load_studio(options.model, device=options.device, cache=cache)
        out = options.out or calibration_path(studio.models, studio.faces, cache)
        people = learn(options.photos, studio, options.people, options.seed, out)
    except CelebError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{out}: corrected with {people} people")
    return 0


def learn(folder: Path, studio: Studio, people: int, seed: int, out: Path) -> int:
    """Learn from the first photos with a face of a folder, and store the result after each.

    Returns:
        The number of people that were trained.

    Raises:
        FeatureMissing: There is no calibration, no such folder, or there are too few people.
    """
    if studio.calibration is None:
        raise FeatureMissing(
            f"{studio.models.title} has no calibration to correct. Run “celeb-basis prepare” first."
        )
    embeddings = _embeddings(folder, studio, people)
    steps = learn_correction(studio.calibration, embeddings, studio, seed)
    for step in tqdm(steps, desc="training", unit="person", total=len(embeddings)):
        if step.people >= MIN_PEOPLE:
            save_calibration(step.result(), out)
    save_calibration(step.result(), out)
    return step.people


def learn_correction(
    calibration: Calibration, faces: Tensor, studio: Studio, seed: int = 0
) -> Iterator[CorrectionStep]:
    """Train the preset “best” on a generated image of a person like each of some faces.

    Args:
        calibration: Its correction is learned anew.
        faces: (n, 512) face embeddings of photos.
        studio: Generates and trains. Images without a face are left out.
        seed: Of the trainings; the result is deterministic.

    Yields:
        A step after each person.

    Raises:
        FeatureMissing: There are fewer than MIN_PEOPLE faces.
    """
    if len(faces) < MIN_PEOPLE:
        raise FeatureMissing(
            f"{len(faces)} photos with a face are too few to learn from; {MIN_PEOPLE} are "
            "needed, and a hundred are better. Add photos of other people."
        )
    models, basis = studio.models, studio.basis
    plain = replace(calibration, correction=zero_correction(calibration.directions))
    config = recipe("best", calibration).changed(seed=seed)
    along = torch.linalg.pinv(calibration.directions)  # (q, k * p)
    initial = build_mapper(basis, MapperConfig(), plain, 0)(faces).detach()
    deviation = (initial.flatten(1) - initial.flatten(1).mean(0)) @ along.T @ plain.directions.T
    true = initial + (SPREAD - 1) * deviation.view_as(initial)
    pairs: list[tuple[Tensor, Tensor]] = []  # found and true coefficients along the directions

    def result() -> Calibration:
        if len(pairs) < MIN_PEOPLE:
            raise FeatureMissing(
                f"{len(pairs)} people were generated with a face and trained; {MIN_PEOPLE} are "
                "needed. Add photos of other people."
            )
        found, expected = (torch.stack(side) for side in zip(*pairs, strict=True))
        return replace(calibration, correction=fit_correction(found, expected))

    for row, coefficients in enumerate(true):
        prompt = parse_prompt(PORTRAIT.format("<x>"), {"x": compose(basis, coefficients)})
        (image,) = generate(prompt, models, basis, SampleConfig(seed=SEED + row))
        if there := studio.faces.find(image):
            person = Person("x", (largest_face(there),))
            trained = fit([person], models, basis, config, calibration=plain)["x"]
            found = along @ trained.coefficients.flatten()
            pairs.append((found, along @ coefficients.flatten()))
        yield CorrectionStep(len(pairs), result)


def fit_correction(found: Tensor, true: Tensor) -> Tensor:
    """Regress what is missing on what was found, both (n, q) along the directions.

    Returns:
        (q, q + 1): the weight and, as the last column, the bias.
    """
    weight, bias, _ = ridge(found, true - found)
    return torch.cat([weight, bias[:, None]], 1)


def _embeddings(folder: Path, studio: Studio, count: int) -> Tensor:
    """Embed the largest face of the first `count` photos that have one."""
    if not folder.is_dir():
        raise FeatureMissing(f"{folder} is no folder. Name one with photos, one of each person.")
    found: list[Tensor] = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        if len(found) == count:
            break
        try:
            found.append(largest_face(find_faces(path, studio.faces)).embedding)
        except CelebError as error:
            print(f"left out: {path.name}: {error}", file=sys.stderr)
    return torch.stack(found) if found else torch.zeros(0, 512)


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m bench.guidance_correction", description=about)
    parser.add_argument("photos", type=Path, help="folder of photos, one of each person")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--device")
    parser.add_argument("--people", type=int, default=PEOPLE, help="how many of the photos")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/celeb-basis-studio"))
    parser.add_argument("--out", type=Path, help="calibration to write; the cache's by default")
    return parser


if __name__ == "__main__":
    sys.exit(main())
