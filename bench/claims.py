"""Two claims of the paper, measured: joint training costs little, interpolation is smooth.

python -m bench.claims [--model MODEL] [--seed N]   prints both results as JSON
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
import torch
from scipy.stats import spearmanr

from celeb_core.basis import interpolate
from celeb_core.errors import CelebError
from celeb_core.evaluation.data import load_evaluation_set
from celeb_core.evaluation.images import SEED
from celeb_core.evaluation.single import fit_each, score_people
from celeb_core.faces import largest_face
from celeb_core.prompt import PORTRAIT, parse_prompt
from celeb_core.sampling import generate
from celeb_core.studio import Studio, load_studio
from celeb_core.training import fit
from celeb_core.types import SampleConfig, recipe


def main() -> int:
    """Measure both and print them; return the exit code."""
    options = _parser().parse_args()
    try:
        studio = load_studio(options.model, device=options.device)
        joint = evaluate_joint(studio, options.seed)
        interpolation = evaluate_interpolation(studio, options.seed)
    except CelebError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"joint": joint, "interpolation": interpolation}, indent=1))
    return 0


def evaluate_joint(studio: Studio, seed: int = 0, people: int = 10) -> dict[str, float]:
    """Compare people who are trained together with the same people trained one by one.

    Returns:
        seconds_single (mean of one person), seconds_joint (of all), their ratio times_one; then
        identity and identity_edits of `score_people`, each with _single and _joint.

    Raises:
        FeatureMissing: The model has no evaluation set.
    """
    data, best = load_evaluation_set(studio, seed, people), recipe("best", studio.calibration)
    single, single_seconds = fit_each(studio, data.people, best)
    began = time.perf_counter()
    joint = fit(data.people, studio.models, studio.basis, best, calibration=studio.calibration)
    joint_seconds = time.perf_counter() - began
    seconds = {"seconds_single": single_seconds, "seconds_joint": joint_seconds}
    result = {**seconds, "times_one": joint_seconds / single_seconds}
    for kind, identities in (("single", single), ("joint", joint)):
        scores = score_people(studio, data, identities)
        result |= {f"{key}_{kind}": scores[key] for key in ("identity", "identity_edits")}
    return result


def evaluate_interpolation(
    studio: Studio, seed: int = 0, pairs: int = 5, steps: int = 9
) -> dict[str, float]:
    """Evaluate images from one celebrity to another, lam from 0 to 1 at one seed.

    Returns:
        faces: share of images with a face; rank_correlation: mean over the pairs, of lam and the
        judge's traits along the line from the first image's to the last one's.

    Raises:
        FeatureMissing: The model has no evaluation set.
    """
    data, judge = load_evaluation_set(studio, seed, pairs * 2), studio.scorers.judge
    assert judge is not None  # of every evaluation set
    faces, correlations = 0, []
    for pair in range(pairs):
        a, b = data.celebrities[2 * pair : 2 * pair + 2]
        lams, traits = [], []
        for lam in np.linspace(0, 1, steps):
            mixture = {"mix": interpolate(b, a, lam, studio.basis, studio.models)}
            prompt = parse_prompt(PORTRAIT.format("<mix>"), mixture)
            config = SampleConfig(seed=SEED + pair)
            (image,) = generate(prompt, studio.models, studio.basis, config)
            if found := studio.faces.find(image):
                lams.append(lam)
                traits.append(judge.read(image, [largest_face(found)])["traits"][0])
        faces += len(traits)
        along = torch.stack(traits) @ (traits[-1] - traits[0])
        correlations.append(float(spearmanr(lams, along.numpy()).statistic))
    return {"faces": faces / (pairs * steps), "rank_correlation": float(np.mean(correlations))}


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m bench.claims", description=about)
    parser.add_argument("--model", default="toonville")
    parser.add_argument("--device")
    parser.add_argument("--seed", type=int, default=0, help="of the people and celebrities")
    return parser


if __name__ == "__main__":
    sys.exit(main())
