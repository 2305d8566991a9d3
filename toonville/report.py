"""Measurements of the shipped weights on held-out seeds: the table of docs/toonville.md."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from insightface.utils.face_align import norm_crop
from numpy.typing import NDArray
from PIL import Image

from celeb_core.scoring import AttributeReader
from toonville.captions import (
    ACCESSORY_PHRASES,
    ACTION_PHRASES,
    CLOTHES_PHRASES,
    EXPRESSION_PHRASES,
    PAIR_PHRASES,
    SCENE_PHRASES,
    STYLE_PHRASES,
)
from toonville.dataset import celebrities
from toonville.export import gallery
from toonville.face_report import Judge, find, measure_detector, measure_recogniser, open_faces
from toonville.identity import sample_traits
from toonville.random_specs import random_spec
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
    "detector_false_per_image": ("<=", 0.01),
    "detector_landmark_error": ("<=", 0.05),
    "celebrity_rank1": (">=", 0.80),
    "attributes_accuracy": (">=", 0.90),
    "pair_found": (">=", 0.95),
    "pair_rank1": (">=", 0.75),
    "unknown_consistent": ("<=", 0.15),
    "seconds_per_image": ("<=", 1.5),
    "assets_mb": ("<=", 50.0),
}

Array = NDArray[np.float32]


class ImageGenerator:
    """Generates images of prompts with the shipped pipeline, STEPS steps, guidance on."""

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
        """Generate one image of (width, height) per prompt; image i has seed `seed` + i."""
        images: list[Image.Image] = []
        for start in range(0, len(prompts), BATCH):
            batch = list(prompts[start : start + BATCH])
            seeds = range(seed + start, seed + start + len(batch))
            images += self.pipe(
                batch,
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                width=size[0],
                height=size[1],
                generator=[torch.Generator().manual_seed(s) for s in seeds],
            ).images
        return images


class FaceEmbedder:
    """Finds faces with the shipped pack; embeds them with the judge or the recogniser."""

    def __init__(self, assets: Path) -> None:
        self.faces = open_faces(assets)
        self.judge = Judge(assets)

    def judged(self, image: Image.Image) -> Array:
        """Return the judge's embeddings (n, 128) of all faces of an image, left to right."""
        pixels = np.asarray(image)
        found = sorted(find(self.faces, pixels), key=lambda face: float(face.bbox[0]))
        if not found:
            return np.zeros((0, 128), np.float32)
        _, embeddings = self.judge([pixels] * len(found), [face.kps for face in found])
        return embeddings

    def recognised(self, image: Image.Image, landmarks: Array) -> Array:
        """Return the recogniser's unit embedding (512,) of the face with known landmarks."""
        crop = norm_crop(np.asarray(image), landmarks)[:, :, ::-1]
        embedding: Array = self.faces.models["recognition"].get_feat(crop)[0]
        return embedding / np.linalg.norm(embedding)


def vae_identity_cosine(
    generator: ImageGenerator, embedder: FaceEmbedder, seed: int, n: int = 100
) -> float:
    """Return the mean recogniser cosine between n rendered faces and their reconstructions."""
    rng = np.random.default_rng((seed, 1))
    cosines = []
    for _ in range(n):
        rendering = render(random_spec(rng, sample_traits(rng, 1)))
        pixels = to_tensor(np.asarray(rendering.image)[None])
        with torch.no_grad():
            latents = generator.pipe.vae.encode(pixels).latent_dist.mode()
            decoded = generator.pipe.vae.decode(latents).sample
        image = generator.pipe.image_processor.postprocess(decoded)[0]
        landmarks = rendering.people[0].landmarks
        original = embedder.recognised(rendering.image, landmarks)
        cosines.append(float(original @ embedder.recognised(image, landmarks)))
    return float(np.mean(cosines))


def celebrity_rank1(
    generator: ImageGenerator, embedder: FaceEmbedder, known_gallery: Array, seed: int
) -> float:
    """Return the share of celebrities that the judge recognises in "a photo of NAME"."""
    names, _ = celebrities()
    images = generator([f"a photo of {name}" for name in names.known], seed)
    right = [_nearest(embedder.judged(p), known_gallery) == i for i, p in enumerate(images)]
    return float(np.mean(right))


def _nearest(found: Array, among: Array) -> int:
    """Return the row of `among` that is nearest to the only face; -1 if there is not just one."""
    return int((among @ found[0]).argmax()) if len(found) == 1 else -1


def attribute_prompts() -> list[tuple[str, str, str]]:
    """Return (phrase, group, label) for every attribute value that a prompt can ask for."""
    tables = {
        "expression": EXPRESSION_PHRASES,
        "accessory": ACCESSORY_PHRASES,
        "scene": SCENE_PHRASES,
        "action": ACTION_PHRASES,
        "style": STYLE_PHRASES,
    }
    rows = [
        (phrases[0], group, label)
        for group, table in tables.items()
        for label, phrases in table.items()
    ]
    return rows + [(CLOTHES_PHRASES[0].format(c), "clothes", c) for c in CLOTHES]


def attributes_accuracy(
    generator: ImageGenerator, reader: AttributeReader, seed: int
) -> dict[str, float]:
    """Return group -> share of attributes in prompts of one person that the reader finds."""
    names, _ = celebrities()
    rng = np.random.default_rng((seed, 2))
    rows = attribute_prompts() * EACH_ATTRIBUTE
    chosen = rng.choice(names.known, len(rows))
    images = generator(
        [f"a photo of {name} {phrase}" for name, (phrase, _, _) in zip(chosen, rows, strict=True)],
        seed,
    )
    right: dict[str, list[bool]] = {}
    for image, (_, group, label) in zip(images, rows, strict=True):
        right.setdefault(group, []).append(reader.read(image)[group] == label)
    return {group: float(np.mean(values)) for group, values in right.items()}


def pairs(
    generator: ImageGenerator, embedder: FaceEmbedder, known_gallery: Array, seed: int
) -> tuple[float, float]:
    """Return the share of images of two with both faces, and of sides with the right person.

    Rank-1 among PAIR_GALLERY celebrities, the pair included; a missing face is wrong.
    """
    names, _ = celebrities()
    rng = np.random.default_rng((seed, 3))
    templates = [phrases[0] for phrases in PAIR_PHRASES.values()]
    galleries = [rng.permutation(len(names.known))[:PAIR_GALLERY] for _ in range(NUM_PAIRS)]
    prompts = [
        "a photo of "
        + templates[i % len(templates)].format(names.known[rows[0]], names.known[rows[1]])
        for i, rows in enumerate(galleries)
    ]
    both, right = [], []
    for image, rows in zip(generator(prompts, seed, PAIR_SIZE), galleries, strict=True):
        found = embedder.judged(image)
        both.append(len(found) == 2)
        nearest = (found @ known_gallery[rows].T).argmax(1) if len(found) == 2 else [-1, -1]
        right += [int(nearest[0]) == 0, int(nearest[1]) == 1]
    return float(np.mean(both)), float(np.mean(right))


def same_person_threshold(judge: Judge, seed: int, n: int = 300) -> float:
    """Return the judge's cosine that one in a thousand pairs of different people exceeds."""
    rng = np.random.default_rng((seed, 4))
    embeddings = gallery(judge, sample_traits(rng, n), 3)
    cosines = (embeddings @ embeddings.T)[np.triu_indices(n, 1)]
    return float(np.quantile(cosines, 0.999))


def unknown_consistent(generator: ImageGenerator, embedder: FaceEmbedder, seed: int) -> float:
    """Return the share of unknown names whose images still show one person.

    One person: the mean cosine over all pairs of seeds is above same_person_threshold.
    """
    names, _ = celebrities()
    rng = np.random.default_rng((seed, 5))
    chosen = rng.choice(names.unknown, NUM_UNKNOWN, replace=False)
    prompts = [f"a photo of {name}" for name in chosen for _ in range(UNKNOWN_SEEDS)]
    faces = [embedder.judged(image) for image in generator(prompts, seed)]
    threshold = same_person_threshold(embedder.judge, seed)
    consistent = []
    for start in range(0, len(faces), UNKNOWN_SEEDS):
        group = [f[0] for f in faces[start : start + UNKNOWN_SEEDS] if len(f) == 1]
        if len(group) < 2:
            consistent.append(False)
            continue
        embeddings = np.stack(group)
        cosines = (embeddings @ embeddings.T)[np.triu_indices(len(embeddings), 1)]
        consistent.append(bool(cosines.mean() > threshold))
    return float(np.mean(consistent))


def seconds_per_image(generator: ImageGenerator, seed: int) -> float:
    """Return the median time of a single image."""
    times = []
    for i in range(5):
        start = time.perf_counter()
        generator([f"a photo of {celebrities()[0].known[i]}"], seed + i)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure(assets: Path, seed: int) -> dict[str, float]:
    """Measure and print every number of the report; return those with a goal."""
    generator, embedder = ImageGenerator(assets), FaceEmbedder(assets)
    numbers: dict[str, float] = {}

    def note(**values: float) -> None:
        numbers.update(values)
        for key, value in values.items():
            print(f"{key:30s} {value:.4f}", flush=True)

    note(vae_identity_cosine=vae_identity_cosine(generator, embedder, seed))
    note(**measure_recogniser(assets, seed))
    note(**measure_detector(assets, seed))
    known_gallery = gallery(embedder.judge, celebrities()[1], 2)
    note(celebrity_rank1=celebrity_rank1(generator, embedder, known_gallery, seed))
    reader = AttributeReader(assets / "reader.onnx")
    groups = attributes_accuracy(generator, reader, seed)
    note(**{f"  {group}": value for group, value in groups.items()})
    note(attributes_accuracy=float(np.mean(list(groups.values()))))
    found, rank1 = pairs(generator, embedder, known_gallery, seed)
    note(pair_found=found, pair_rank1=rank1)
    note(unknown_consistent=unknown_consistent(generator, embedder, seed))
    note(seconds_per_image=seconds_per_image(generator, seed))
    size = sum(f.stat().st_size for f in assets.rglob("*") if f.is_file())
    note(assets_mb=size / 1e6)
    return {key: numbers[key] for key in GOALS}


def run_report(assets: Path, seed: int, out: Path | None) -> None:
    """Measure the shipped weights and print a table of numbers and goals.

    Args:
        assets: The model folder.
        seed: Of people and images.
        out: JSON file that gets the numbers, if any.
    """
    start = time.perf_counter()
    numbers = measure(assets, seed)
    print(f"\n{'metric':30s} {'measured':>9s} {'goal':>9s}")
    for key, (sign, goal) in GOALS.items():
        good = numbers[key] >= goal if sign == ">=" else numbers[key] <= goal
        print(f"{key:30s} {numbers[key]:9.4f} {sign} {goal:<6g} {'ok' if good else 'MISSED'}")
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes")
    if out is not None:
        out.write_text(json.dumps(numbers, indent=1) + "\n")
