"""Whole trainings: steps of ours until the official recipe's score on Toonville, times full size.

python -m bench.training [--people 8] [--full-size FILE]   FILE: what `python -m bench --json` wrote
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from celeb_core.evaluation import Bench, _score, load_bench
from celeb_core.files import write_atomically
from celeb_core.models import Studio, load_studio
from celeb_core.presets import PRESETS
from celeb_core.training import fit_identities
from celeb_core.types import Identity, TrainConfig

LOOKS = (0, 1, 2, 3, 5, 8, 12, 20, 40, 60)
"""Steps of ours at which people are scored, until they are as alike as the official recipe's."""


def main() -> int:
    """Measure and print -> exit code."""
    options = _parser().parse_args()
    studio = load_studio(options.model, device=options.device)
    bench = load_bench(studio, options.seed, options.people)
    # Its last coefficients count, not its moving average, which is still noise (METHOD.md §2).
    official = replace(
        PRESETS["paper"], steps=options.official_steps, ema=0.0, ema_from_noise=False
    )
    _, people = next(_looks(studio, bench, official, (official.steps,)))
    goal = _score_of(studio, bench, people)
    print(f"official, {official.steps} steps of {official.batch_size}: {_said(goal)}", flush=True)
    reached, scores = None, {}
    for steps, people in _looks(studio, bench, PRESETS["best"], LOOKS):
        scores[steps] = score = _score_of(studio, bench, people)
        print(f"ours, {steps} steps of {PRESETS['best'].batch_size}: {_said(score)}", flush=True)
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


def _looks(
    studio: Studio, bench: Bench, config: TrainConfig, looks: Sequence[int]
) -> Iterator[tuple[int, dict[str, Identity]]]:
    """All people after each of some rising numbers of steps of one training each, which goes on
    only as far as is asked for."""
    trainings = [
        fit_identities(
            [person], studio.models, studio.basis, config, calibration=studio.calibration
        )
        for person in bench.people
    ]
    for steps in looks:
        people: dict[str, Identity] = {}
        for training in trainings:
            people |= next(step for step in training if step.step == steps).identities
        yield steps, people


def _score_of(studio: Studio, bench: Bench, people: dict[str, Identity]) -> dict[str, float]:
    names = [f"<{person.name}>" for person in bench.people]
    return _score(studio, bench, names, people, bench.gallery[bench.index])


def _ratio(path: Path, steps: int, official: TrainConfig) -> float:
    """Seconds of a whole training of ours over those of the official recipe.

    A step's seconds were measured with one picture; both take several, one after the other.
    """
    rows = {row["variant"]: row for row in json.loads(path.read_text())["rows"]}
    runs = json.loads(path.read_text())["runs"]["ours"]
    best = PRESETS["best"]
    once = runs[0]["once"] * best.views
    ours = once + steps * best.batch_size * rows["ours"]["step"]
    theirs = official.steps * official.batch_size * rows["official"]["step"]
    return float((ours if steps else 0.0) / theirs)


def _said(score: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in score.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__)
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
