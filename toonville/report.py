"""Measures the shipped weights on held-out seeds: the table of docs/toonville.md."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image

from celeb_core.alignment import align
from toonville.captions import (
    ACCESSORY_WORDS,
    ACTION_WORDS,
    CLOTHES_WORDS,
    EXPRESSION_WORDS,
    PAIR_WORDS,
    SCENE_WORDS,
    STYLE_WORDS,
)
from toonville.dataset import celebrities, random_spec
from toonville.export import gallery
from toonville.face_report import (
    Judge,
    Reader,
    find,
    measure_detector,
    measure_recogniser,
    open_faces,
)
from toonville.identity import sample_traits
from toonville.render import render
from toonville.vae import to_tensor
from toonville.world import CLOTHES, PAIR_SIZE, SINGLE_SIZE

STEPS = 20
GUIDANCE = 3.0
BATCH = 16
NUM_PAIRS = 80
PAIR_GALLERY = 100
NUM_UNKNOWN = 100
UNKNOWN_SEEDS = 4
EACH_ATTRIBUTE = 6

GOALS: dict[str, tuple[str, float]] = {
    "vae_identity_cosine": (">=", 0.90),
    "recogniser_tar": (">=", 0.95),
    "recogniser_rank1": (">=", 0.97),
    "detector_recall": (">=", 0.99),
    "detector_false_per_picture": ("<=", 0.01),
    "detector_landmark_error": ("<=", 0.05),
    "celebrity_rank1": (">=", 0.80),
    "attributes_accuracy": (">=", 0.90),
    "pair_found": (">=", 0.95),
    "pair_rank1": (">=", 0.75),
    "unknown_consistent": ("<=", 0.15),
    "seconds_per_picture": ("<=", 1.5),
    "assets_mb": ("<=", 50.0),
}

Array = NDArray[np.float32]


class Painter:
    """Draws prompts with the shipped pipeline, 20 steps, guidance on."""

    def __init__(self, assets: Path) -> None:
        self.pipe = StableDiffusionPipeline.from_pretrained(
            assets, torch_dtype=torch.float32, safety_checker=None
        )
        self.pipe.scheduler = DPMSolverMultistepScheduler.from_config(
            self.pipe.scheduler.config, use_karras_sigmas=True
        )
        self.pipe.set_progress_bar_config(disable=True)

    def __call__(
        self, prompts: Sequence[str], seed: int, size: tuple[int, int] = SINGLE_SIZE
    ) -> list[Image.Image]:
        """Draw one picture for each prompt; number i from seed + i."""
        pictures: list[Image.Image] = []
        for start in range(0, len(prompts), BATCH):
            batch = list(prompts[start : start + BATCH])
            seeds = range(seed + start, seed + start + len(batch))
            pictures += self.pipe(
                batch,
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                width=size[0],
                height=size[1],
                generator=[torch.Generator().manual_seed(s) for s in seeds],
            ).images
        return pictures


class Eye:
    """Finds faces with the shipped pack and embeds them with the judge."""

    def __init__(self, assets: Path) -> None:
        self.faces = open_faces(assets)
        self.judge = Judge(assets)

    def people(self, picture: Image.Image) -> Array:
        """Return the judge's embeddings of the faces of a picture, left to right, (n, 128)."""
        image = np.asarray(picture)
        found = sorted(find(self.faces, image), key=lambda face: float(face.bbox[0]))
        if not found:
            return np.zeros((0, 128), np.float32)
        _, embeddings = self.judge([image] * len(found), [face.kps for face in found])
        return embeddings

    def recognise(self, picture: Image.Image, landmarks: Array) -> Array:
        """Return the recogniser's unit embedding of the face at known landmarks, (512,)."""
        crop = align(np.asarray(picture), landmarks)[:, :, ::-1]
        embedding: Array = self.faces.models["recognition"].get_feat(crop)[0]
        return embedding / np.linalg.norm(embedding)


def vae_identity_cosine(painter: Painter, eye: Eye, seed: int, n: int = 100) -> float:
    """Recogniser cosine between drawn faces and their reconstructions, mean over n pictures."""
    rng = np.random.default_rng((seed, 1))
    cosines = []
    for _ in range(n):
        picture = render(random_spec(rng, sample_traits(rng, 1)))
        pixels = to_tensor(np.asarray(picture.image)[None])
        with torch.no_grad():
            latents = painter.pipe.vae.encode(pixels).latent_dist.mode()
            decoded = painter.pipe.vae.decode(latents).sample
        image = painter.pipe.image_processor.postprocess(decoded)[0]
        landmarks = picture.people[0].landmarks
        pair = eye.recognise(picture.image, landmarks), eye.recognise(image, landmarks)
        cosines.append(float(pair[0] @ pair[1]))
    return float(np.mean(cosines))


def celebrity_rank1(painter: Painter, eye: Eye, known_gallery: Array, seed: int) -> float:
    """Share of the celebrities whom the judge recognises among all in "a photo of <name>"."""
    names, _ = celebrities()
    pictures = painter([f"a photo of {name}" for name in names.known], seed)
    right = [_nearest(eye.people(p), known_gallery) == i for i, p in enumerate(pictures)]
    return float(np.mean(right))


def _nearest(found: Array, among: Array) -> int:
    """Return the row of `among` that is nearest to the only face; -1 if there is not just one."""
    return int((among @ found[0]).argmax()) if len(found) == 1 else -1


def attribute_prompts() -> list[tuple[str, str, str]]:
    """Return (prompt part, group, label) for every attribute value that a prompt can ask for."""
    tables = {
        "expression": EXPRESSION_WORDS,
        "accessory": ACCESSORY_WORDS,
        "scene": SCENE_WORDS,
        "action": ACTION_WORDS,
        "style": STYLE_WORDS,
    }
    rows = [
        (words[0], group, label)
        for group, table in tables.items()
        for label, words in table.items()
    ]
    return rows + [(CLOTHES_WORDS[0].format(c), "clothes", c) for c in CLOTHES]


def attributes_accuracy(painter: Painter, reader: Reader, seed: int) -> dict[str, float]:
    """Share of asked attributes that the reader finds, mean by group, one person."""
    names, _ = celebrities()
    rng = np.random.default_rng((seed, 2))
    rows = attribute_prompts() * EACH_ATTRIBUTE
    who = rng.choice(names.known, len(rows))
    pictures = painter(
        [f"a photo of {w} {part}" for w, (part, _, _) in zip(who, rows, strict=True)], seed
    )
    right: dict[str, list[bool]] = {}
    read = reader([np.asarray(p) for p in pictures])
    for i, (_, group, label) in enumerate(rows):
        right.setdefault(group, []).append(read[group][i] == label)
    return {group: float(np.mean(values)) for group, values in right.items()}


def pairs(painter: Painter, eye: Eye, known_gallery: Array, seed: int) -> tuple[float, float]:
    """Return the share of pair pictures with both faces, and of sides that are the right person.

    Rank-1 among 100 celebrities, the pair included; a missing face is wrong.
    """
    names, _ = celebrities()
    rng = np.random.default_rng((seed, 3))
    templates = [words[0] for words in PAIR_WORDS.values()]
    who = [rng.permutation(len(names.known))[:PAIR_GALLERY] for _ in range(NUM_PAIRS)]
    prompts = [
        "a photo of " + templates[i % len(templates)].format(names.known[w[0]], names.known[w[1]])
        for i, w in enumerate(who)
    ]
    both, right = [], []
    for picture, w in zip(painter(prompts, seed, PAIR_SIZE), who, strict=True):
        found = eye.people(picture)
        both.append(len(found) == 2)
        nearest = (found @ known_gallery[w].T).argmax(1) if len(found) == 2 else [-1, -1]
        right += [int(nearest[0]) == 0, int(nearest[1]) == 1]
    return float(np.mean(both)), float(np.mean(right))


def same_person_threshold(judge: Judge, seed: int, n: int = 300) -> float:
    """Return the judge's cosine that one in a thousand pairs of different drawn people exceeds."""
    rng = np.random.default_rng((seed, 4))
    seen = gallery(judge, sample_traits(rng, n), 3)
    cosines = (seen @ seen.T)[np.triu_indices(n, 1)]
    return float(np.quantile(cosines, 0.999))


def unknown_consistent(painter: Painter, eye: Eye, seed: int) -> float:
    """Share of names that the model does not know whose pictures still show one person.

    One person: the mean cosine over all pairs of seeds is above same_person_threshold.
    """
    names, _ = celebrities()
    rng = np.random.default_rng((seed, 5))
    who = rng.choice(names.unknown, NUM_UNKNOWN, replace=False)
    prompts = [f"a photo of {w}" for w in who for _ in range(UNKNOWN_SEEDS)]
    faces = [eye.people(p) for p in painter(prompts, seed)]
    threshold = same_person_threshold(eye.judge, seed)
    consistent = []
    for start in range(0, len(faces), UNKNOWN_SEEDS):
        group = [f[0] for f in faces[start : start + UNKNOWN_SEEDS] if len(f) == 1]
        if len(group) < 2:
            consistent.append(False)
            continue
        seen = np.stack(group)
        cosines = (seen @ seen.T)[np.triu_indices(len(seen), 1)]
        consistent.append(bool(cosines.mean() > threshold))
    return float(np.mean(consistent))


def seconds_per_picture(painter: Painter, seed: int) -> float:
    """Return the median time of one picture alone, 20 steps, guidance on."""
    times = []
    for i in range(5):
        start = time.perf_counter()
        painter([f"a photo of {celebrities()[0].known[i]}"], seed + i)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure(assets: Path, seed: int) -> dict[str, float]:
    """Return every number of the report; prints each as it comes."""
    painter, eye = Painter(assets), Eye(assets)
    numbers: dict[str, float] = {}

    def note(**values: float) -> None:
        numbers.update(values)
        for key, value in values.items():
            print(f"{key:30s} {value:.4f}", flush=True)

    note(vae_identity_cosine=vae_identity_cosine(painter, eye, seed))
    note(**measure_recogniser(assets, seed))
    note(**measure_detector(assets, seed))
    known_gallery = gallery(eye.judge, celebrities()[1], 2)
    note(celebrity_rank1=celebrity_rank1(painter, eye, known_gallery, seed))
    groups = attributes_accuracy(painter, Reader(assets), seed)
    note(**{f"  {group}": value for group, value in groups.items()})
    note(attributes_accuracy=float(np.mean(list(groups.values()))))
    found, rank1 = pairs(painter, eye, known_gallery, seed)
    note(pair_found=found, pair_rank1=rank1)
    note(unknown_consistent=unknown_consistent(painter, eye, seed))
    note(seconds_per_picture=seconds_per_picture(painter, seed))
    size = sum(f.stat().st_size for f in assets.rglob("*") if f.is_file())
    note(assets_mb=size / 1e6)
    return {key: numbers[key] for key in GOALS}


def run_report(assets: Path, seed: int, out: Path | None) -> None:
    """Measure, print the table against the goals, and write the JSON if asked."""
    start = time.perf_counter()
    numbers = measure(assets, seed)
    print(f"\n{'what':30s} {'measured':>9s} {'goal':>9s}")
    for key, (sign, goal) in GOALS.items():
        good = numbers[key] >= goal if sign == ">=" else numbers[key] <= goal
        print(f"{key:30s} {numbers[key]:9.4f} {sign} {goal:<6g} {'ok' if good else 'MISSED'}")
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes")
    if out is not None:
        out.write_text(json.dumps(numbers, indent=1) + "\n")
