"""The scale of identity scores: the judge's cosine when traits have errors of a known size.

A cosine of .87 says little by itself, and its meaning may differ between people: celebrities were
chosen to lie far from each other, held-out people were not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from toonville.dataset import celebrities
from toonville.export import held_out_people, portrait
from toonville.face_report import Judge
from toonville.identity import Traits

ERRORS = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3)
SEEDS = range(9_000_000, 9_050_000, 10_000)  # of portraits that are in no gallery
BATCH = 64


def identity_scores(
    judge: Judge, people: Traits, gallery: NDArray[np.floating], error: float, seed: int
) -> NDArray[np.float64]:
    """Score a plain portrait of each person whose traits have random errors.

    Args:
        judge: Scores.
        people: True traits (n, NUM_TRAITS).
        gallery: Their embeddings (n, 128).
        error: Standard deviation of the normal errors; traits are clipped to [-1, 1].
        seed: Of errors and portraits; the direction of the errors does not depend on their size.

    Returns:
        Cosines (n,) of the portraits with the gallery.
    """
    offsets = np.random.default_rng(seed).standard_normal(people.shape)
    faces = np.clip(people + error * offsets, -1, 1).astype(np.float32)
    cosines = []
    for start in range(0, len(faces), BATCH):
        rows = slice(start, start + BATCH)
        portraits = [portrait(face, seed + start + i) for i, face in enumerate(faces[rows])]
        _, embeddings = judge.read(portraits)
        cosines.append((embeddings * gallery[rows]).sum(1, dtype=np.float64))
    return np.concatenate(cosines)


def run_judge_scale(assets: Path) -> None:
    """Print a row for each of ERRORS: held-out people, celebrities, and the ratio.

    Each person's score is the mean over SEEDS; standard errors are over people.
    """
    judge = Judge(assets)
    stored = load_file(assets / "evaluation" / "people.safetensors")
    held_out, known = held_out_people(), celebrities()[1]
    print(
        f"deviation of traits: held-out people {held_out.std():.2f}, celebrities {known.std():.2f}"
    )
    print(f"{'error of traits':16}{'held-out':>16}{'celebrities':>16}{'ratio':>16}")
    groups = (
        (held_out, stored["judge_embedding"]),
        (known, stored["celebrity_judge_embedding"]),
    )
    for error in ERRORS:
        scores = [
            np.mean([identity_scores(judge, people, gallery, error, s) for s in SEEDS], 0)
            for people, gallery in groups
        ]
        means = [x.mean() for x in scores]
        errors = [x.std() / len(x) ** 0.5 for x in scores]
        ratio = means[0] / means[1]
        cells = [f"{mean:.3f} ± {sigma:.3f}" for mean, sigma in zip(means, errors, strict=True)]
        sigma = ratio * np.hypot(errors[0] / means[0], errors[1] / means[1])
        cells.append(f"{ratio:.3f} ± {sigma:.3f}")
        print(f"{error:<16.2f}" + "".join(f"{cell:>16}" for cell in cells))
