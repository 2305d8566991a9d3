"""People who are named late in a prompt: what rearranging it gains, on prompts of other tools.

python -m bench.late_people [--model MODEL] [--people N] [--seed N] [--steps N]
    prints identity and prompt scores of each group of prompts, as written and rearranged
python -m bench.late_people --measure N --out FILE
    measures up to which token the model knows people, N images per position, and writes its
    calibration with that
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from celeb_core.errors import CelebError, FeatureMissing
from celeb_core.evaluation.data import EvaluationSet, load_evaluation_set
from celeb_core.evaluation.single import fit_each
from celeb_core.faces import largest_face
from celeb_core.formats.calibration_file import save_calibration
from celeb_core.person_positions import late_people, rearranged
from celeb_core.prepare.positions import measure_positions, person_positions, place_people
from celeb_core.prompt import parse_prompt
from celeb_core.sampling import generate_each
from celeb_core.studio import Studio, load_studio
from celeb_core.types import Calibration, Identity, PersonPositions, Prompt, SampleConfig, recipe

STEPS = 8  # of sampling, as in a quick preparation
SEED = 90_000  # of the images
PROMPTS = {
    "quality first": (
        ("masterpiece, best quality, {} on the beach", {"scene": "beach"}),
        ("best quality, ultra detailed, {} in the forest, smiling", {"scene": "forest"}),
        ("(masterpiece), 8k, {} wearing a hat", {"accessory": "hat"}),
        ("highres, absurdres, solo, {} playing the guitar", {"action": "guitar"}),
        ("raw photo, 8k uhd, dslr, {} in space", {"scene": "space"}),
        ("award winning photo, sharp focus, {} wearing sunglasses", {"accessory": "sunglasses"}),
        ("ultra realistic, cinematic lighting, {} reading a book", {"action": "book"}),
        ("trending on artstation, {} in the mountains", {"scene": "mountains"}),
        ("best quality, looking at viewer, {} with a crown", {"accessory": "crown"}),
        ("professional photography, bokeh, {} in the city", {"scene": "city"}),
    ),
    "place first": (
        ("on the beach at sunset, {}", {"scene": "beach"}),
        ("in a library full of old books, {} reads a book", {"action": "book"}),
        ("in outer space among the stars, {} waving", {"scene": "space", "action": "waving"}),
        ("late at night in the city, {} wearing headphones", {"accessory": "headphones"}),
        ("deep in the forest, by a river, {} holding flowers", {"action": "flowers"}),
        ("in the hot desert, {} drinking coffee", {"action": "cup"}),
        ("on a stage in a spotlight, {} playing guitar", {"action": "guitar", "scene": "stage"}),
        ("in front of snowy mountains, {} with a scarf", {"accessory": "scarf"}),
        ("It is summer. The sea is calm. {} is on the beach", {"scene": "beach"}),
        ("a rainy day in the city, umbrellas, {}", {"scene": "city"}),
    ),
    "described": (
        ("a photo of a happy smiling {}", {"expression": "smiling"}),
        ("a photo of a young and beautiful {} on the beach", {"scene": "beach"}),
        ("a portrait of a handsome friendly {} wearing a hat", {"accessory": "hat"}),
        ("a very sad lonely {} in the forest", {"scene": "forest"}),
        ("photo of a cheerful bearded {} in space", {"scene": "space"}),
        ("a picture of the world famous {} wearing sunglasses", {"accessory": "sunglasses"}),
        ("a close-up photo of a serious looking {} with a crown", {"accessory": "crown"}),
        ("a photo of an elegant stylish {} drinking coffee", {"action": "cup"}),
        ("best quality, a photo of a happy {} playing the guitar", {"action": "guitar"}),
        ("the portrait of a mysterious young {} in the mountains", {"scene": "mountains"}),
    ),
    "what it is first": (
        ("a highly detailed oil painting of {} on the beach", {"scene": "beach"}),
        ("an extremely beautiful watercolour of {} in the forest", {"scene": "forest"}),
        ("a cinematic wide angle shot of {} in the desert", {"scene": "desert"}),
        ("a black and white photograph of {} wearing a hat", {"accessory": "hat"}),
        ("digital art, a concept art of {} in space", {"scene": "space"}),
        ("a professional studio portrait of {} wearing glasses", {"accessory": "glasses"}),
        ("a colourful comic book illustration of {} waving", {"action": "waving"}),
        ("a vintage polaroid photo of {} holding flowers", {"action": "flowers"}),
        ("8k, a hyperrealistic rendering of {} in the city", {"scene": "city"}),
        ("a cute cartoon drawing of {} reading a book", {"action": "book"}),
    ),
}
"""Group -> prompts in the way of other tools, and what the attribute reader should find."""


@dataclass(frozen=True, eq=False)
class Row:
    """The scores of a group of prompts; one of each image."""

    group: str
    late: int  # prompts with a late person
    changed: int  # prompts that were rearranged
    identity: tuple[list[float], list[float]]  # the judge's cosine, as written and rearranged
    prompt: tuple[list[float], list[float]]  # share of the attributes that are found

    def __str__(self) -> str:
        """Format it as a line of the table."""
        scores = (*self.identity, *self.prompt)
        return f"{self.group:18}{self.late:6}{self.changed:9}" + "".join(
            f"{np.mean(values) if values else np.nan:10.3f}" for values in scores
        )


HEAD = f"{'':18}{'late':>6}{'changed':>9}{'identity':>10}{'after':>10}{'prompt':>10}{'after':>10}"


def main() -> int:
    """Measure and print; return the exit code."""
    options = _parser().parse_args()
    try:
        studio = load_studio(options.model, device=options.device)
        if studio.calibration is None:
            raise FeatureMissing(f"Prepare {studio.models.title} first: celeb-basis prepare.")
        if options.measure:
            made = measure(studio, studio.calibration, options.measure)
            print(made.person_positions)
            save_calibration(made, options.out)
        elif (limits := studio.calibration.person_positions) is None:
            raise FeatureMissing("The calibration has no positions: see --measure.")
        else:
            print(f"limits {limits.first.limit}, {limits.later.limit}", HEAD, sep="\n")
            for row in compare(studio, limits, options.people, options.seed, options.steps):
                print(row, flush=True)
    except CelebError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def measure(studio: Studio, calibration: Calibration, per_position: int) -> Calibration:
    """Return the calibration with the positions that are measured anew."""
    faces = zip(calibration.names, calibration.face_embeddings, strict=True)
    known = [name for name, face in faces if face.any()]
    placed = place_people(known, per_position, studio.models.encoders[0])
    with tempfile.TemporaryDirectory() as folder:
        for texts in placed:
            for _ in measure_positions(texts, STEPS, calibration, studio, Path(folder)):
                pass
        positions = person_positions(*placed, STEPS, calibration, Path(folder))
    return replace(calibration, person_positions=positions)


def compare(
    studio: Studio, limits: PersonPositions, people: int = 4, seed: int = 0, steps: int = STEPS
) -> Iterator[Row]:
    """Score images of all prompts with new people, as written and rearranged, at equal seeds.

    Prompts are not rearranged where nobody is late: their images are generated once.
    """
    data = load_evaluation_set(studio, seed, people)
    trained, _ = fit_each(studio, data.people, recipe("fast", studio.calibration))
    rows = []
    for group in PROMPTS:
        rows.append(_row(group, studio, data, trained, limits, steps))
        yield rows[-1]
    yield _whole(rows)


def _row(
    group: str,
    studio: Studio,
    data: EvaluationSet,
    trained: Mapping[str, Identity],
    limits: PersonPositions,
    steps: int,
) -> Row:
    encoder, names = studio.models.encoders[0], studio.models.names
    cases = [
        _Case(number, text.format(f"<{data.people[person].name}>"), expects, person)
        for number, (text, expects) in enumerate(PROMPTS[group])
        for person in range(len(trained))
    ]
    written = [parse_prompt(case.text, trained) for case in cases]
    used = [rearranged(prompt, limits, encoder, names) for prompt in written]
    before = [_score(*each, studio, data, steps) for each in zip(written, cases, strict=True)]
    after = [
        _score(prompt, case, studio, data, steps) if prompt.written else score
        for prompt, case, score in zip(used, cases, before, strict=True)
    ]
    late = sum(bool(late_people(prompt, limits, encoder, names)) for prompt in written)
    counts = late // len(trained), sum(bool(prompt.written) for prompt in used) // len(trained)
    (one, right), (other, still) = (zip(*scores, strict=True) for scores in (before, after))
    return Row(group, *counts, (list(one), list(other)), (list(right), list(still)))


@dataclass(frozen=True, eq=False)
class _Case:
    """A prompt with one of the people."""

    number: int
    text: str
    expects: dict[str, str]
    person: int


def _score(
    prompt: Prompt, case: _Case, studio: Studio, data: EvaluationSet, steps: int
) -> tuple[float, float]:
    """Identity and prompt score of one image; its seed is that of the case."""
    config = SampleConfig(seed=SEED + 100 * case.number + case.person, steps=steps)
    (image,) = generate_each([prompt], studio.models, studio.basis, config)
    faces, identity = studio.faces.find(image), 0.0
    if faces:
        embedding = data.judge.embed(image, [largest_face(faces)])[0]
        identity = float(embedding @ data.gallery[data.index[case.person]])
    assert data.reader is not None  # the model's own evaluation set has one
    labels = data.reader.read(image)
    right = [labels[group] == label for group, label in case.expects.items()]
    return identity, sum(right) / len(right)


def _whole(rows: Sequence[Row]) -> Row:
    """Put all groups together."""
    identity = tuple(sum((row.identity[i] for row in rows), []) for i in (0, 1))
    prompt = tuple(sum((row.prompt[i] for row in rows), []) for i in (0, 1))
    late, changed = sum(row.late for row in rows), sum(row.changed for row in rows)
    return Row("all", late, changed, (identity[0], identity[1]), (prompt[0], prompt[1]))


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m bench.late_people", description=about)
    parser.add_argument("--model", default="toonville")
    parser.add_argument("--device")
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="of the people")
    parser.add_argument("--steps", type=int, default=STEPS, help="of sampling")
    parser.add_argument("--measure", type=int, metavar="N", help="images per position")
    parser.add_argument("--out", type=Path, default=Path("calibration.safetensors"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
