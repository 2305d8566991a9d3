"""Whole trainings: steps of ours until the official recipe's score, times the full-size cost.

python -m bench.training [--people 8] [--full-size FILE]   FILE: what `python -m bench --json` wrote
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from celeb_core.evaluation.data import EvaluationSet, load_evaluation_set
from celeb_core.evaluation.single import score_people
from celeb_core.files import write_atomically
from celeb_core.studio import Studio, load_studio
from celeb_core.training import fit_identities
from celeb_core.types import PRESETS, Identity, TrainConfig, recipe

SCORED_STEPS = (0, 1, 2, 3, 5, 8, 12, 20, 40, 60)
"""Steps of ours after which people are scored, until they reach the official recipe's score."""
SHOWN = ("identity", "identity_edits", "prompt")


def main() -> int:
    """Measure and print; return the exit code."""
    options = _parser().parse_args()
    studio = load_studio(options.model, device=options.device)
    data = load_evaluation_set(studio, options.seed, options.people)
    # After fewer steps the moving average would still be noise, so the last coefficients count.
    official = PRESETS["paper"].changed(steps=options.official_steps, ema=0.0)
    _, people = next(train_until(studio, data, official, (official.steps,)))
    goal = score_people(studio, data, people)
    print(f"official, {official.steps} steps of {official.batch_size}: {_text(goal)}", flush=True)
    reached, scores, best = None, {}, recipe("best", studio.calibration)
    for steps, people in train_until(studio, data, best, SCORED_STEPS):
        scores[steps] = score = score_people(studio, data, people)
        print(f"ours, {steps} steps of {best.batch_size}: {_text(score)}", flush=True)
        if score["identity"] >= goal["identity"]:
            reached = steps
            break
    result: dict[str, Any] = {"official": goal, "ours": scores, "reached": reached}
    if reached is None:
        print("ours does not reach it in these steps")
    elif options.full_size:
        result["ratio"] = ratio = _ratio(options.full_size, reached, official)
        print(f"reached after {reached} steps; whole training at full size: {ratio:.3f}x")
    else:
        print(f"reached after {reached} steps")
    if options.json:
        write_atomically(options.json, json.dumps(result, indent=1).encode())
    return 0


def train_until(
    studio: Studio, data: EvaluationSet, config: TrainConfig, stops: Sequence[int]
) -> Iterator[tuple[int, dict[str, Identity]]]:
    """Train each person alone, no further than is asked for.

    Args:
        studio: The model.
        data: The people.
        config: Of the trainings.
        stops: Numbers of steps, rising.

    Yields:
        Each of the stops and all people after as many steps.
    """
    trainings = [
        fit_identities(
            [person], studio.models, studio.basis, config, calibration=studio.calibration
        )
        for person in data.people
    ]
    for steps in stops:
        people: dict[str, Identity] = {}
        for training in trainings:
            people |= next(step for step in training if step.step == steps).identities
        yield steps, people


def _ratio(path: Path, steps: int, official: TrainConfig) -> float:
    """Seconds of a whole training of ours over those of the official recipe.

    A step's seconds were measured with one image; both take several, one after the other.
    """
    measured, best = json.loads(path.read_text()), PRESETS["best"]
    seconds = {row["variant"]: row["step"] for row in measured["rows"]}
    once = measured["runs"]["ours"][0]["once"] * best.augmentation.views
    ours = once + steps * best.batch_size * seconds["ours"]
    theirs = official.steps * official.batch_size * seconds["official"]
    return float((ours if steps else 0.0) / theirs)


def _text(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {scores[name]:.3f}" for name in SHOWN)


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=about)
    parser.add_argument("--model", default="toonville")
    parser.add_argument("--device")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--official-steps", type=int, default=PRESETS["paper"].steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full-size", type=Path, help="what python -m bench --json wrote")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
