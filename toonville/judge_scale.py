"""What a likeness means: the judge's cosine of true photos of faces that are wrong by a known
amount.

A cosine of .87 says little by itself, and it need not say the same of everybody: celebrities were
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
SEEDS = range(9_000_000, 9_050_000, 10_000)  # of photos that are in no gallery
AT_ONCE = 64


def likeness(
    judge: Judge, people: Traits, gallery: NDArray[np.floating], error: float, seed: int
) -> NDArray[np.float64]:
    """Return the cosine (n,) of a plain photo of each person with their gallery entry (n, 128).

    Each trait is wrong by a normal number of standard deviation `error`, cut off at [-1, 1]; the
    same seed errs in the same direction, whatever the error.
    """
    wrong = np.random.default_rng(seed).standard_normal(people.shape)
    faces = np.clip(people + error * wrong, -1, 1).astype(np.float32)
    cosines = []
    for start in range(0, len(faces), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        photos = [portrait(face, seed + start + i) for i, face in enumerate(faces[rows])]
        _, seen = judge(
            [np.asarray(photo.image) for photo in photos],
            [photo.people[0].landmarks for photo in photos],
        )
        cosines.append((seen * gallery[rows]).sum(1, dtype=np.float64))
    return np.concatenate(cosines)


def run_judge_scale(assets: Path) -> None:
    """Print a row for each of ERRORS: held-out people, celebrities, and the ratio.

    Each person's likeness is the mean over SEEDS; standard errors are over people.
    """
    judge = Judge(assets)
    stored = load_file(assets / "evaluation" / "people.safetensors")
    held_out, known = held_out_people(), celebrities()[1]
    print(f"spread of traits: held-out people {held_out.std():.2f}, celebrities {known.std():.2f}")
    print(f"{'traits wrong by':16}{'held-out':>16}{'celebrities':>16}{'ratio':>16}")
    both = (held_out, stored["judge_embedding"]), (known, stored["celebrity_judge_embedding"])
    for error in ERRORS:
        seen = [np.mean([likeness(judge, *who, error, s) for s in SEEDS], 0) for who in both]
        means = [x.mean() for x in seen]
        off = [x.std() / len(x) ** 0.5 for x in seen]
        ratio = means[0] / means[1]
        cells = [f"{mean:.3f} ± {wide:.3f}" for mean, wide in zip(means, off, strict=True)]
        cells.append(f"{ratio:.3f} ± {ratio * np.hypot(off[0] / means[0], off[1] / means[1]):.3f}")
        print(f"{error:<16.2f}" + "".join(f"{cell:>16}" for cell in cells))
