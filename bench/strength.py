"""What a person's strength trades: identity and prompt scores from 0 to 1.5, and their plot.

python -m bench.strength [--model MODEL] [--people N] [--seed N] [--steps N] [--out PLOT.svg]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from celeb_core.errors import CelebError
from celeb_core.evaluation.data import EditPrompt, EvaluationSet, load_evaluation_set
from celeb_core.evaluation.single import fit_each
from celeb_core.faces import largest_face
from celeb_core.prompt import parse_prompt, strip_people
from celeb_core.sampling import generate_each
from celeb_core.studio import Studio, load_studio
from celeb_core.types import SampleConfig, recipe

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
SEED = 60_000  # of the images
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 300, 50, 20, 50, 40  # of the plot, pixels
# Legible on white and on black.
COLOURS = {"identity": "#6366f1", "prompt": "#0d9488", "clip": "#ea580c"}
LABELS = {
    "identity": "identity score (judge)",
    "prompt": "prompt: share of attributes",
    "clip": "prompt score (CLIP, right axis)",
}
CLIP_AXIS = (0.5, 0.7)
GREY = "#94a3b8"


@dataclass(frozen=True)
class Point:
    """Mean scores at a strength."""

    strength: float
    identity: float  # the judge's cosine
    prompt: float  # share of the expected attributes that the reader finds
    clip: float  # cosine with the prompt without its person; nan without a CLIP


def main() -> int:
    """Measure, print and plot; return the exit code."""
    options = _parser().parse_args()
    try:
        studio = load_studio(options.model, device=options.device)
        points = []
        print(f"{'strength':>8}{'identity':>10}{'prompt':>10}{'CLIP':>10}")
        for point in measure(studio, options.seed, options.people, options.steps):
            points.append(point)
            scores = point.identity, point.prompt, point.clip
            print(f"{point.strength:8.2f}" + "".join(f"{s:10.3f}" for s in scores), flush=True)
    except CelebError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.out:
        options.out.write_text(plot(points), encoding="utf-8")
    return 0


def measure(
    studio: Studio, seed: int = 0, people: int = 12, steps: int | None = None
) -> Iterator[Point]:
    """Score images of all edit prompts with new people (preset fast) at each of STRENGTHS.

    The images of a person and prompt have the same seed at every strength.

    Raises:
        FeatureMissing: The model has no evaluation set.
    """
    data = load_evaluation_set(studio, seed, people)
    trained, _ = fit_each(studio, data.people, recipe("fast", studio.calibration))
    for strength in STRENGTHS:
        scores = []
        for number, edit in enumerate(data.prompts):
            texts = [edit.prompt.format(f"<{one.name}>") for one in data.people]
            prompts = [
                replace(parse_prompt(text, trained), strengths=dict.fromkeys(trained, strength))
                for text in texts
            ]
            config = SampleConfig(seed=SEED + 1000 * number, steps=steps, batch_size=people)
            images = generate_each(prompts, studio.models, studio.basis, config)
            scores += [
                _score(image, edit, row, studio, data)
                for image, row in zip(images, data.index, strict=True)
            ]
        identity, prompt, clip = (float(np.mean(each)) for each in zip(*scores, strict=True))
        yield Point(strength, identity, prompt, clip)


def _score(
    image: Image.Image, edit: EditPrompt, row: int, studio: Studio, data: EvaluationSet
) -> tuple[float, float, float]:
    """Judge's cosine with the person in that row of the gallery, attributes found, and CLIP."""
    identity, clip = 0.0, float("nan")
    if faces := studio.faces.find(image):
        identity = float(data.judge.embed(image, [largest_face(faces)])[0] @ data.gallery[row])
    assert data.reader is not None  # the model's own evaluation set has one
    labels = data.reader.read(image)
    right = [labels[group] == label for group, label in edit.expects.items()]
    if studio.scorers.clip:
        clip = studio.scorers.clip.score(image, strip_people(edit.prompt.format("<x>")))
    return identity, sum(right) / len(right), clip


def plot(points: Sequence[Point]) -> str:
    """Plot the scores over the strength as SVG."""
    low, high = points[0].strength, points[-1].strength
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(strength: float) -> float:
        return LEFT + across * (strength - low) / (high - low)

    def y(score: float, axis: tuple[float, float] = (0.0, 1.0)) -> float:
        return TOP + down * (1 - (score - axis[0]) / (axis[1] - axis[0]))

    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        clip = CLIP_AXIS[0] + share * (CLIP_AXIS[1] - CLIP_AXIS[0])
        parts += [
            f'<path d="M{LEFT} {y(share):.1f}H{WIDTH - RIGHT}" stroke="{GREY}" opacity=".4"/>',
            _text(LEFT - 8, y(share) + 4, f"{share:.2f}", "end", GREY),
            _text(WIDTH - RIGHT + 8, y(share) + 4, f"{clip:.2f}", "start", COLOURS["clip"]),
        ]
    parts += [_text(x(one.strength), HEIGHT - 22, f"{one.strength:g}", "middle", GREY)
              for one in points]  # fmt: skip
    parts.append(_text(LEFT + across / 2, HEIGHT - 5, "strength", "middle", GREY))
    for number, (name, colour) in enumerate(COLOURS.items()):
        axis = CLIP_AXIS if name == "clip" else (0.0, 1.0)
        places = [(x(one.strength), y(getattr(one, name), axis)) for one in points]
        line = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in places]
        parts.append(_text(WIDTH - RIGHT - 8, y(0.32 - 0.08 * number), LABELS[name], "end", colour))
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    font = 'font-family="sans-serif" font-size="13"'
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>\n{body}\n</svg>\n'


def _text(x: float, y: float, text: str, anchor: str, colour: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{escape(text)}</text>"


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m bench.strength", description=about)
    parser.add_argument("--model", default="toonville")
    parser.add_argument("--device")
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0, help="of the people")
    parser.add_argument("--steps", type=int, help="of sampling; the model's by default")
    parser.add_argument("--out", type=Path, help="SVG file for the plot")
    return parser


if __name__ == "__main__":
    sys.exit(main())
