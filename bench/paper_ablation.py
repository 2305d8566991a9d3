"""The paper's recipe on a model with an evaluation set: what its parts cost, changed one at a time.

python -m bench.paper_ablation [--people 5] [--seed 0] [--variants NAME ...]   one line for each
python -m bench.paper_ablation --signal   what a step says about the person, without training
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from celeb_core.augmentation import AugmentedLatents, augment
from celeb_core.basis import person_embeddings, project
from celeb_core.denoising_loss import DenoisingLoss
from celeb_core.errors import CelebError
from celeb_core.evaluation.data import EvaluationSet, load_evaluation_set
from celeb_core.evaluation.images import SEED
from celeb_core.evaluation.single import fit_each
from celeb_core.faces import find_face, largest_face
from celeb_core.prompt import PORTRAIT, parse_prompt
from celeb_core.sampling import generate_each
from celeb_core.studio import Studio, load_studio
from celeb_core.types import (
    PRESETS,
    AugmentationConfig,
    Identity,
    LossConfig,
    Person,
    SampleConfig,
)

OURS = LossConfig()
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "photo fills the canvas": {"min_scale": 0.92},
    "edges repeated": {"padding": "edge"},
    "both": {"min_scale": 0.92, "padding": "edge"},
    "no norm": {"norm": "free"},
    "rate 1e-3": {"learning_rate": 1e-3},
    "rate 1e-4": {"learning_rate": 1e-4},
    "short templates": {"templates": "short"},
    "window of timesteps": {"min_log_snr": OURS.min_log_snr, "max_log_snr": OURS.max_log_snr},
    "mask": {
        "background_weight": OURS.background_weight,
        "landmark_weight": OURS.landmark_weight,
    },
    "nuisance tokens": {"nuisance_tokens": True},
    "batch 8": {"batch_size": 8},
    "no average": {"ema": 0.0},
}
"""What of the preset is changed."""
NO_SIGNAL = ("no norm", "rate 1e-3", "rate 1e-4", "nuisance tokens", "no average")
"""Variants that leave the gradients at the mean person as they are."""


def main() -> int:
    """Measure and print; return the exit code."""
    options = _parser().parse_args()
    try:
        studio = load_studio(options.model, device=options.device)
        data = load_evaluation_set(studio, options.seed, options.people)
        if options.signal:
            print(f"{'':30}{'cosine':>9}{'signal':>9}")
            for name in (name for name in options.variants if name not in NO_SIGNAL):
                row = measure_signal(studio, data, VARIANTS[name])
                print(f"{name:30}{row['cosine']:9.3f}{row['signal']:9.3f}", flush=True)
            return 0
        print(f"basis: {describe_basis(studio)}")
        print(f"embeddings of jittered photos: {jittered_embeddings(studio, data)}")
        print(f"{'':30}{'identity':>9}{'found':>7}{'norm':>7}{'seconds':>9}")
        for label, unit in (("celebrities, two embeddings", False), ("the same, unit norm", True)):
            _print(label, measure_celebrities(studio, data, unit))
        for name in options.variants:
            _print(name, measure(studio, data, VARIANTS[name], options.steps))
    except CelebError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def measure_signal(
    studio: Studio, data: EvaluationSet, changes: Mapping[str, Any], steps: int = 24
) -> dict[str, float]:
    """Ask the gradients of the loss for celebrities, whose token embeddings are known.

    Each is trained from an image of theirs, from the mean person on; nothing is updated.

    Returns:
        cosine: of the gradients' sum over the steps with the way to the celebrity; signal: mean
        over standard deviation of a single step's component along it. Means over the celebrities.
    """
    config, mean = PRESETS["paper"].changed(**changes), studio.basis.mean
    cosines, signals = [], []
    for name in data.celebrities:
        prompt = parse_prompt(PORTRAIT.format(name), {})
        (image,) = generate_each([prompt], studio.models, studio.basis, SampleConfig(seed=SEED))
        person = Person("celebrity", (find_face(image, studio.faces, choose=1),))
        way = person_embeddings(name, studio.basis, studio.models) - mean
        generator = torch.Generator().manual_seed(0)
        latents = AugmentedLatents([person], studio.models, config, generator)
        loss = DenoisingLoss(studio.models, config.loss, generator)
        found = []
        for step in range(steps):
            embeddings = mean[None].clone().requires_grad_()
            loss.backward(embeddings, *latents.batch(step))
            assert embeddings.grad is not None
            found.append(-embeddings.grad[0])
        along = torch.stack([(gradient * way).sum() for gradient in found])
        signals.append(float(along.mean() / along.std()))
        total = torch.stack(found).sum(0)
        cosines.append(float(torch.cosine_similarity(total.flatten(), way.flatten(), dim=0)))
    return {"cosine": float(np.mean(cosines)), "signal": float(np.mean(signals))}


def measure_celebrities(studio: Studio, data: EvaluationSet, unit: bool) -> dict[str, float]:
    """Score the celebrities themselves, as they are or moved to where the recipe's people are.

    Args:
        studio: The model.
        data: The celebrities.
        unit: Bring their token embeddings to a distance of 1 from the mean.

    Returns:
        As `measure`.
    """
    embeddings, norms = {}, []
    for index, name in enumerate(data.celebrities):
        own = person_embeddings(name, studio.basis, studio.models)
        if unit:
            own = studio.basis.mean + functional.normalize(own - studio.basis.mean, dim=-1)
        embeddings[f"c{index}"] = own
        norms.append(float(project(studio.basis, own).norm()))
    scores = score_portraits(studio, data, embeddings, data.celebrity_embeddings)
    return scores | {"norm": float(np.mean(norms)), "seconds": 0.0}


def measure(
    studio: Studio, data: EvaluationSet, changes: Mapping[str, Any], steps: int | None = None
) -> dict[str, float]:
    """Train everybody by the preset “paper” with some changes.

    Returns:
        identity and found of `score_portraits`, norm: mean of the coefficients', seconds: per
        person.
    """
    config = PRESETS["paper"].changed(**changes)
    config = replace(config, steps=steps or config.steps)
    identities, seconds = fit_each(studio, data.people, config)
    norms = [float(one.coefficients.norm()) for one in identities.values()]
    scores = score_portraits(studio, data, identities, data.gallery[data.index])
    return scores | {"norm": float(np.mean(norms)), "seconds": seconds}


def score_portraits(
    studio: Studio, data: EvaluationSet, people: Mapping[str, Identity | Tensor], targets: Tensor
) -> dict[str, float]:
    """Score two portraits of each person by the judge's embeddings (n, 128).

    Returns:
        identity: mean cosine, 0 for an image without a face; found: share of images with one.
    """
    prompts = [parse_prompt(PORTRAIT.format(f"<{name}>"), people) for name in people for _ in "ab"]
    images = generate_each(prompts, studio.models, studio.basis, SampleConfig(seed=SEED))
    cosines = []
    for image, target in zip(images, targets.repeat_interleave(2, 0), strict=True):
        if faces := studio.faces.find(image):
            cosines.append(float(data.judge.embed(image, [largest_face(faces)])[0] @ target))
    return {"identity": sum(cosines) / len(images), "found": len(cosines) / len(images)}


def jittered_embeddings(studio: Studio, data: EvaluationSet, count: int = 16) -> dict[str, float]:
    """Compare photos' embeddings with those after flips and colour jitter, as the paper's.

    Returns:
        mean and least cosine.
    """
    rng, cosines = np.random.default_rng(0), []
    jitter = PRESETS["paper"].augmentation.colour_jitter
    config = AugmentationConfig(0, jitter, min_scale=1.0, padding="edge")
    for face in (person.faces[0] for person in data.people):
        crop = replace(face, image=Image.fromarray(face.aligned))
        views = augment((crop,), count, (112, 112), config, 0.0, rng)
        for pixels in ((views.pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1):
            cosines.append(float(studio.faces.embed(pixels.numpy()) @ face.embedding))
    return {"mean": float(np.mean(cosines)), "least": min(cosines)}


def describe_basis(studio: Studio) -> dict[str, list[float]]:
    """Compare the basis with one in which every name counts, as in the official code.

    Returns:
        For each position, rows and distinct rows; distance: of the celebrities' token embeddings
        from their mean, on average, which is 1 for the recipe's people; shift: of that mean if
        every name counts.
    """
    result: dict[str, list[float]] = {"rows": [], "distinct": [], "distance": [], "shift": []}
    (encoder, *_) = studio.models.encoders
    ids = [encoder.token_ids(name) for name in studio.basis.names]
    for position in range(studio.basis.k):
        column = [row[position] for row in ids if len(row) > position]
        offsets = encoder.embed(column) - studio.basis.mean[position, encoder.columns]
        result["rows"].append(len(column))
        result["distinct"].append(len(set(column)))
        result["distance"].append(round(float(offsets.norm(dim=1).mean()), 3))
        result["shift"].append(round(float(offsets.mean(0).norm()), 3))
    return result


def _print(name: str, row: Mapping[str, float]) -> None:
    numbers = f"{row['identity']:9.3f}{row['found']:7.2f}{row['norm']:7.1f}{row['seconds']:9.1f}"
    print(f"{name:30}{numbers}", flush=True)


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m bench.paper_ablation", description=about)
    parser.add_argument("--model", default="toonville")
    parser.add_argument("--device")
    parser.add_argument("--people", type=int, default=5)
    parser.add_argument("--signal", action="store_true", help="of the loss, without training")
    parser.add_argument("--steps", type=int, help="400 by default")
    parser.add_argument("--seed", type=int, default=0, help="of the people and celebrities")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    return parser


if __name__ == "__main__":
    sys.exit(main())
