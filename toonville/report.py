"""Measurements of the shipped weights on held-out seeds: the table of docs/toonville.md."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from celeb_core.scoring import AttributeReader
from toonville import image_report, prompt_report
from toonville.dataset import celebrities
from toonville.export import gallery
from toonville.face_report import measure_detector, measure_recogniser
from toonville.generated import Array, FaceEmbedder, ImageGenerator
from toonville.group_report import NUM_TRIOS, NUM_WIDE, groups_right, pairs

TIMED_IMAGES = 7

# Number -> whether it should be at least or at most that.
GOALS: dict[str, tuple[str, float]] = {
    "vae_identity_cosine": (">=", 0.94),
    "vae_expression": (">=", 0.95),
    "recogniser_tar": (">=", 0.95),
    "recogniser_rank1": (">=", 0.97),
    "detector_recall": (">=", 0.99),
    "detector_false_per_image": ("<=", 0.01),
    "detector_landmark_error": ("<=", 0.05),
    "celebrity_rank1": (">=", 0.80),
    "sketch_rank1": (">=", 0.80),
    "attributes_accuracy": (">=", 0.90),
    "expression_accuracy": (">=", 0.90),
    "late_people": (">=", 0.95),
    "written_attributes": (">=", 0.85),
    "written_identity": (">=", 0.95),
    "pair_found": (">=", 0.95),
    "pair_rank1": (">=", 0.75),
    "pair_right_wide": (">=", 0.95),
    "three_right": (">=", 0.80),
    "sharpness": (">=", 0.4),
    "unknown_consistent": ("<=", 0.15),
    "seconds_per_image": ("<=", 1.5),
    "seconds_ratio": ("<=", 1.2),
    "assets_mb": ("<=", 50.0),
}

Numbers = dict[str, float]


@dataclass(frozen=True)
class Subject:
    """The model folder that is measured; its parts are loaded when they are needed."""

    assets: Path
    seed: int  # of people and images
    baseline: Path | None = None  # an older model folder, whose speed is the reference

    @cached_property
    def generator(self) -> ImageGenerator:
        """Of images."""
        return ImageGenerator(self.assets)

    @cached_property
    def embedder(self) -> FaceEmbedder:
        """Of faces."""
        return FaceEmbedder(self.assets)

    @cached_property
    def reader(self) -> AttributeReader:
        """Of attributes."""
        return AttributeReader(self.assets / "reader.onnx")

    @cached_property
    def known_gallery(self) -> Array:
        """The judge's embeddings (NUM_KNOWN, 128) of the celebrities."""
        return gallery(self.embedder.judge, celebrities()[1], 2)


def image_size(assets: Path) -> tuple[int, int]:
    """Return the width and height in pixels of a model folder's images of one person."""
    defaults = json.loads((assets / "studio.json").read_text(encoding="utf-8"))["defaults"]
    return defaults["width"], defaults["height"]


def seconds(subject: Subject) -> Numbers:
    """Return the median time of a single image, and over that of the baseline if there is one.

    The models take turns, so that what else the machine does slows both.
    """
    timed = [(subject.generator, image_size(subject.assets))]
    if subject.baseline is not None:
        timed.append((ImageGenerator(subject.baseline), image_size(subject.baseline)))
    prompts = [f"a photo of {name}" for name in celebrities()[0].known[: TIMED_IMAGES + 1]]
    rounds = []
    for i, prompt in enumerate(prompts):
        times = []
        for generator, size in timed:
            start = time.perf_counter()
            generator([prompt], subject.seed + i, size)
            times.append(time.perf_counter() - start)
        rounds.append(times)
    medians = np.median(rounds[1:], axis=0)  # the first image of a model takes longer
    numbers = {"seconds_per_image": float(medians[0])}
    if len(medians) > 1:
        numbers["seconds_ratio"] = float(medians[0] / medians[1])
    return numbers


def assets_mb(subject: Subject) -> Numbers:
    """Return the size of the model folder in megabytes."""
    size = sum(f.stat().st_size for f in subject.assets.rglob("*") if f.is_file())
    return {"assets_mb": size / 1e6}


def _recogniser(s: Subject) -> Numbers:
    return measure_recogniser(s.assets, s.seed)


def _detector(s: Subject) -> Numbers:
    return measure_detector(s.assets, s.seed)


def _vae_identity(s: Subject) -> Numbers:
    cosine = image_report.vae_identity_cosine(s.generator, s.embedder, s.seed)
    return {"vae_identity_cosine": cosine}


def _vae_expression(s: Subject) -> Numbers:
    return image_report.vae_expression(s.generator, s.reader, s.seed)


def _celebrities(s: Subject) -> Numbers:
    share = image_report.celebrity_rank1(s.generator, s.embedder, s.known_gallery, s.seed)
    return {"celebrity_rank1": share}


def _sketches(s: Subject) -> Numbers:
    share = image_report.sketch_rank1(s.generator, s.embedder, s.known_gallery, s.seed)
    return {"sketch_rank1": share}


def _attributes(s: Subject) -> Numbers:
    return prompt_report.attributes_accuracy(s.generator, s.reader, s.seed)


def _late(s: Subject) -> Numbers:
    return prompt_report.late_people(s.generator, s.embedder, s.known_gallery, s.seed)


def _written(s: Subject) -> Numbers:
    prompts = prompt_report.written_prompts()
    return prompt_report.measure_written(
        s.generator, s.embedder, s.reader, s.known_gallery, prompts, s.seed
    )


def _negative(s: Subject) -> Numbers:
    return prompt_report.negative_prompts(
        s.generator, s.embedder, s.reader, s.known_gallery, s.seed
    )


def _pairs(s: Subject) -> Numbers:
    return pairs(s.generator, s.embedder, s.known_gallery, s.seed)


def _wide_pairs(s: Subject) -> Numbers:
    share = groups_right(s.generator, s.embedder, s.known_gallery, 2, NUM_WIDE, s.seed)
    return {"pair_right_wide": share}


def _trios(s: Subject) -> Numbers:
    share = groups_right(s.generator, s.embedder, s.known_gallery, 3, NUM_TRIOS, s.seed)
    return {"three_right": share}


def _sharpness(s: Subject) -> Numbers:
    return {"sharpness": image_report.sharpness(s.generator, s.seed)}


def _unknown(s: Subject) -> Numbers:
    share = image_report.unknown_consistent(s.generator, s.embedder, s.seed)
    return {"unknown_consistent": share}


# Number -> what measures it, maybe with others.
MEASUREMENTS: dict[str, Callable[[Subject], Numbers]] = {
    "vae_identity_cosine": _vae_identity,
    "vae_expression": _vae_expression,
    "recogniser_tar": _recogniser,
    "recogniser_rank1": _recogniser,
    "detector_recall": _detector,
    "detector_false_per_image": _detector,
    "detector_landmark_error": _detector,
    "celebrity_rank1": _celebrities,
    "sketch_rank1": _sketches,
    "attributes_accuracy": _attributes,
    "expression_accuracy": _attributes,
    "late_people": _late,
    "written_attributes": _written,
    "written_identity": _written,
    "negative_works": _negative,
    "negative_costs": _negative,
    "pair_found": _pairs,
    "pair_rank1": _pairs,
    "pair_right_wide": _wide_pairs,
    "three_right": _trios,
    "sharpness": _sharpness,
    "unknown_consistent": _unknown,
    "seconds_per_image": seconds,
    "seconds_ratio": seconds,
    "assets_mb": assets_mb,
}


def parse_keys(text: str) -> list[str]:
    """Return the keys of MEASUREMENTS in a text, which has commas between them.

    Raises:
        argparse.ArgumentTypeError: If one is no key.
    """
    keys = [key.strip() for key in text.split(",")]
    unknown = [key for key in keys if key not in MEASUREMENTS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)}: not measured; there are {', '.join(MEASUREMENTS)}"
        )
    return keys


def measure(subject: Subject, keys: Collection[str]) -> Numbers:
    """Measure and print numbers.

    Args:
        subject: The model folder.
        keys: Of MEASUREMENTS.

    Returns:
        Them, and what is measured with them.
    """
    numbers: Numbers = {}
    for measurement in dict.fromkeys(MEASUREMENTS[key] for key in MEASUREMENTS if key in keys):
        measured = measurement(subject)
        for key, value in measured.items():
            print(f"{key:30s} {value:.4f}", flush=True)
        numbers |= measured
    return numbers


def table(numbers: Mapping[str, float], keys: Collection[str]) -> str:
    """Return a table of numbers and their goals.

    Args:
        numbers: Measured ones.
        keys: Of the rows; those without a goal have none, and those without a number have "-".
    """
    lines = [f"{'metric':30s} {'measured':>9s} {'goal':>9s}"]
    for key, (sign, goal) in GOALS.items():
        if key not in keys:
            continue
        wanted = f"{sign} {goal:<6g}"
        if key not in numbers:
            lines.append(f"{key:30s} {'-':>9s} {wanted} not measured")
            continue
        good = numbers[key] >= goal if sign == ">=" else numbers[key] <= goal
        lines.append(f"{key:30s} {numbers[key]:9.4f} {wanted} {'ok' if good else 'MISSED'}")
    return "\n".join(lines)


def run_report(
    assets: Path,
    seed: int,
    out: Path | None,
    baseline: Path | None = None,
    only: Collection[str] | None = None,
) -> None:
    """Measure the shipped weights and print a table of numbers and goals.

    Args:
        assets: The model folder.
        seed: Of people and images.
        out: JSON file that gets the numbers, if any.
        baseline: An older model folder, whose speed is the reference.
        only: Keys of MEASUREMENTS; None: all of them.
    """
    start = time.perf_counter()
    keys = MEASUREMENTS.keys() if only is None else only
    numbers = measure(Subject(assets, seed, baseline), keys)
    print(f"\n{table(numbers, keys)}")
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes")
    if out is not None:
        out.write_text(json.dumps(numbers, indent=1) + "\n")
