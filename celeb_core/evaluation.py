"""How good are new people, beside celebrities that the model knows by name?

A model folder brings `evaluation/` (held-out people, their gallery, edit prompts), a judge and an
attribute reader. No training uses the judge. An image without the wanted face scores zero.
"""

import json
import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from celeb_core.errors import FeatureMissing, UsageError
from celeb_core.faces import find_face, largest_face
from celeb_core.prompt import PORTRAIT, parse_prompt
from celeb_core.sampling import generate_each
from celeb_core.scoring import AttributeReader, Judge, match_faces
from celeb_core.studio import Studio
from celeb_core.training import fit
from celeb_core.types import PRESETS, Identity, Person, SampleConfig, TrainConfig, recipe

SIDE, PER_ROW = 128, 20  # pixels of a photo in people.png, photos in a row
ROWS = ("instant", "trained", "unprepared", "paper")
PAPER_PEOPLE = 5  # trained by the paper's recipe, which is slow
GALLERY = 100  # people among whom the right one must be nearest
SEED = 7_000  # of the images; far from a calibration's

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """What people are evaluated with."""

    people: list[Person]  # held-out, one photo each
    index: list[int]  # of these people in the gallery
    gallery: Tensor  # (m, 128) the judge's embeddings of other images of held-out people
    celebrities: list[str]
    celebrity_embeddings: Tensor  # (c, 128) the judge's, of these celebrities
    prompts: list[dict[str, Any]]  # "prompt" with {}, and "expects": attribute group -> label
    judge: Judge
    reader: AttributeReader


def load_evaluation_set(studio: Studio, seed: int, people: int) -> EvaluationSet:
    """Load random held-out people and as many celebrities; FeatureMissing if the model has none."""
    folder, scorers = studio.models.folder, studio.scorers
    files = (folder or Path()) / "evaluation"
    if folder is None or not files.is_dir() or not scorers.judge or not scorers.reader:
        raise FeatureMissing(
            f"{studio.models.title} has no evaluation set (evaluation/, judge.onnx, reader.onnx). "
            "Use the bundled model: --model toonville."
        )
    tensors = {name: t.float() for name, t in load_file(files / "people.safetensors").items()}
    gallery, names = tensors["judge_embedding"], studio.models.names
    if people > len(names):
        raise UsageError(f"There are {len(names)} celebrities, not {people}. Evaluate fewer.")
    grid = Image.open(files / "people.png").convert("RGB")
    rng, index = random.Random(seed), list(range(len(gallery)))
    rng.shuffle(index)
    del index[people:]
    persons = []
    for number in index:
        y, x = (SIDE * at for at in divmod(number, PER_ROW))
        photo = grid.crop((x, y, x + SIDE, y + SIDE))
        persons.append(Person(f"p{number}", (find_face(photo, studio.faces, choose=1),)))
    celebrities = rng.sample(list(names), people)
    known = tensors["celebrity_judge_embedding"][[names.index(name) for name in celebrities]]
    prompts = json.loads((files / "prompts.json").read_text(encoding="utf-8"))
    tools = scorers.judge, scorers.reader
    return EvaluationSet(persons, index, gallery, celebrities, known, prompts, *tools)


def evaluate(
    studio: Studio, seed: int = 0, people: int = 20, rows: Sequence[str] = ROWS
) -> dict[str, Any]:
    """Evaluate celebrities by name, then new people trained as each of `rows`; “paper” with few.

    “trained” is the preset best; “unprepared” is the same, without the model's calibration.

    Returns:
        Row -> seconds and the scores of `score_people`; with “trained” also pairs and
        pairs_with_celebrity -> those of `evaluate_pairs`.
    """
    data = load_evaluation_set(studio, seed, people)
    log.info("celebrities by name")
    result: dict[str, Any] = {"celebrities": {**score_people(studio, data), "seconds": 0.0}}
    fitted: dict[str, dict[str, Identity]] = {}
    for row in rows:
        if row == "instant" and studio.calibration is None:
            log.info("instant: left out, there is no calibration")
            continue
        part, used = data, replace(studio, calibration=None) if row == "unprepared" else studio
        config = recipe(row if row in PRESETS else "best", used.calibration)
        if row == "paper":
            part = replace(data, people=data.people[:PAPER_PEOPLE], index=data.index[:PAPER_PEOPLE])
        log.info("%s: %d people", row, len(part.people))
        fitted[row], seconds = fit_each(used, part.people, config)
        result[row] = {**score_people(studio, part, fitted[row]), "seconds": seconds}
    if trained := fitted.get("trained"):
        log.info("pairs")
        result["pairs"] = evaluate_pairs(studio, data, trained)
        result["pairs_with_celebrity"] = evaluate_pairs(studio, data, trained, celebrity=True)
    return result


def evaluate_pairs(
    studio: Studio, data: EvaluationSet, trained: Mapping[str, Identity], celebrity: bool = False
) -> dict[str, float]:
    """Evaluate images of two people, or of each person and a celebrity.

    Returns:
        Shares of the images: found, with two faces; rank1, with both of them nearest to their own
        gallery entries among GALLERY people.
    """
    prompts, galleries = [], []
    for i, first in enumerate(data.index):
        j = (i + 1) % len(data.index)
        others = [one for row, one in enumerate(data.gallery) if row not in (first, data.index[j])]
        name, second = f"<{data.people[j].name}>", data.gallery[data.index[j]]
        if celebrity:
            name, second = data.celebrities[j], data.celebrity_embeddings[j]
        prompts.append(parse_prompt(f"a photo of <{data.people[i].name}> and {name}", trained))
        galleries.append(torch.stack([data.gallery[first], second, *others[: GALLERY - 2]]))
    images = generate_each(prompts, studio.models, studio.basis, SampleConfig(seed=SEED))
    found = right = 0
    for image, gallery in zip(images, galleries, strict=True):
        embeddings = data.judge.embed(image, studio.faces.find(image))
        pairs = match_faces(list(embeddings), list(gallery[:2]))
        found += len(pairs) == 2
        nearest = {i: int((gallery @ embeddings[face]).argmax()) for i, face in pairs.items()}
        right += nearest == {0: 0, 1: 1}
    return {"found": found / len(prompts), "rank1": right / len(prompts)}


def score_people(
    studio: Studio, data: EvaluationSet, identities: Mapping[str, Identity] | None = None
) -> dict[str, float]:
    """Score two portraits and all edit prompts of each person, or celebrity without identities.

    Returns:
        identity, identity_edits: mean cosine by the judge; prompt: share of the expected
        attributes that the reader finds.
    """
    known = identities or {}
    names = data.celebrities if identities is None else [f"<{one.name}>" for one in data.people]
    targets = data.celebrity_embeddings if identities is None else data.gallery[data.index]

    def identity(image: Image.Image, target: Tensor) -> float:
        if not (faces := studio.faces.find(image)):
            return 0.0
        return float(data.judge.embed(image, [largest_face(faces)])[0] @ target)

    twice = [parse_prompt(PORTRAIT.format(name), known) for name in names for _ in (0, 1)]
    images = generate_each(twice, studio.models, studio.basis, SampleConfig(seed=SEED))
    portraits = [identity(image, targets[i // 2]) for i, image in enumerate(images)]
    edits, right = [], []
    for number, edit in enumerate(data.prompts, start=1):
        prompts = [parse_prompt(edit["prompt"].format(name), known) for name in names]
        config = SampleConfig(seed=SEED + 1000 * number)
        images = generate_each(prompts, studio.models, studio.basis, config)
        for image, target in zip(images, targets, strict=True):
            edits.append(identity(image, target))
            labels = data.reader.read(image)
            right += [labels[group] == label for group, label in edit["expects"].items()]
    means = {"identity": portraits, "identity_edits": edits, "prompt": right}
    return {name: float(np.mean(values)) for name, values in means.items()}


def format_table(result: Mapping[str, Any]) -> str:
    """Lay out the result of `evaluate` as text, with ratios to the celebrities' scores."""
    lines = [f"{'':14}{'identity':>16}{'over edits':>16}{'prompt':>9}{'seconds':>9}"]
    base = result["celebrities"]
    for row in filter(result.__contains__, ("celebrities", *ROWS)):
        cells, line = result[row], f"{row:14}"
        for key in ("identity", "identity_edits"):
            line += f"{cells[key]:8.3f} ({cells[key] / max(base[key], 1e-9):4.2f}x)"
        lines.append(f"{line}{cells['prompt']:9.3f}{cells['seconds']:9.2f}")
    for row in filter(result.__contains__, ("pairs", "pairs_with_celebrity")):
        cells = result[row]
        lines.append(f"{row:22} both found {cells['found']:.2f}, each right {cells['rank1']:.2f}")
    return "\n".join(lines)


def fit_each(
    studio: Studio, people: Sequence[Person], config: TrainConfig
) -> tuple[dict[str, Identity], float]:
    """Train each person alone; return them by name and the mean seconds."""
    identities: dict[str, Identity] = {}
    began, made = time.perf_counter(), studio.calibration
    for person in people:
        identities |= fit([person], studio.models, studio.basis, config, calibration=made)
    return identities, (time.perf_counter() - began) / len(people)
