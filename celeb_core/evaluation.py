"""How good are new people, beside celebrities whom the model knows by name?

On a model folder with `evaluation/` (held-out people, their galleries, edit prompts), a judge and
an attribute reader. The judge was never trained on, nothing is left out: a picture without the
wanted face scores zero (METHOD.md §4).
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from celeb_core.basis import interpolate
from celeb_core.calibration import PORTRAIT, largest
from celeb_core.errors import FeatureMissing
from celeb_core.faces import find_face
from celeb_core.presets import PRESETS
from celeb_core.prompt import parse_prompt
from celeb_core.sampling import generate_each
from celeb_core.scoring import Judge, Reader, match_faces
from celeb_core.training import fit
from celeb_core.types import Identity, Person, Prompt, SampleConfig, TrainConfig

if TYPE_CHECKING:
    from celeb_core.models import Studio

PER_ROW = 20  # pictures per row of people.png
SIDE = 128
PAPER_PEOPLE = 5  # whom the paper's recipe gets: it is far off, and as slow as all the others
GALLERY = 100  # people among whom rank-1 is asked
PAIR = "a photo of {} and {}"
ROWS = ("instant", "trained", "paper")
SEED = 7_000  # of the pictures, so that no calibration picture is drawn again

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Bench:
    """What a model folder has to be measured with."""

    people: list[Person]  # held-out, one photo each
    gallery: Tensor  # (M, 128) the judge's view of other pictures of them
    index: list[int]  # of `people` in the gallery
    celebrities: list[str]
    celebrity_gallery: Tensor  # (C, 128) in the order of the model's names
    prompts: list[dict[str, Any]]
    judge: Judge
    reader: Reader


def load_bench(studio: Studio, seed: int, people: int) -> Bench:
    """Draw `people` held-out people and as many celebrities. Raises FeatureMissing."""
    folder, examiners = studio.models.folder, studio.examiners
    files = (folder or Path()) / "evaluation"
    if folder is None or not files.is_dir() or not examiners.judge or not examiners.reader:
        raise FeatureMissing(
            f"{studio.models.title} has no evaluation set (evaluation/, judge.onnx, reader.onnx). "
            "Use the bundled model: --model toonville."
        )
    stored = load_file(files / "people.safetensors")
    tensors = {name: numbers.float() for name, numbers in stored.items()}
    grid = Image.open(files / "people.png").convert("RGB")
    draw = random.Random(seed)
    order = list(range(len(tensors["judge_embedding"])))
    draw.shuffle(order)
    chosen = order[:people]
    persons = []
    for index in chosen:
        x, y = index % PER_ROW * SIDE, index // PER_ROW * SIDE
        photo = grid.crop((x, y, x + SIDE, y + SIDE))
        persons.append(Person(f"p{index}", (find_face(photo, studio.faces, choose=1),)))
    return Bench(
        people=persons,
        gallery=tensors["judge_embedding"],
        index=chosen,
        celebrities=draw.sample(list(studio.models.names), people),
        celebrity_gallery=tensors["celebrity_judge_embedding"],
        prompts=json.loads((files / "prompts.json").read_text(encoding="utf-8")),
        judge=examiners.judge,
        reader=examiners.reader,
    )


def evaluate_quick(
    studio: Studio,
    seed: int = 0,
    people: int = 20,
    report: Report = lambda line: None,
    rows: Sequence[str] = ROWS,
) -> dict[str, Any]:
    """Celebrities by name, then new people: instant, trained, and by the paper's recipe.

    -> {celebrities, instant, trained, paper: {identity, identity_edits, prompt, seconds},
    pairs, pairs_with_celebrity: {found, rank1}}, of `rows` only; pairs go with `trained`. The
    paper's recipe gets the first PAPER_PEOPLE and the seconds that `trained` took, and its last
    coefficients are taken: its biased moving average would still be noise by then (METHOD.md §2).
    """
    bench = load_bench(studio, seed, people)
    few = replace(bench, people=bench.people[:PAPER_PEOPLE], index=bench.index[:PAPER_PEOPLE])
    result: dict[str, Any] = {}
    at = {name: i for i, name in enumerate(studio.models.names)}
    targets = bench.celebrity_gallery[[at[name] for name in bench.celebrities]]
    known: dict[str, Identity] = {}
    report("celebrities by name")
    result["celebrities"] = {**_score(studio, bench, bench.celebrities, known, targets)}
    result["celebrities"]["seconds"] = 0.0
    trained: dict[str, Identity] = {}
    for row in rows:
        asked = few if row == "paper" else bench
        report(f"{row}: {len(asked.people)} people")
        config = PRESETS["best" if row == "trained" else row]
        if row == "paper":
            limit = result["trained"]["seconds"] if trained else None
            config = replace(config, ema=0.0, ema_from_noise=False, max_seconds=limit)
        identities, seconds = _fit_each(studio, asked, config)
        names = [f"<{person.name}>" for person in asked.people]
        result[row] = _score(studio, asked, names, identities, asked.gallery[asked.index])
        result[row]["seconds"] = seconds
        trained = identities if row == "trained" else trained
    if not trained:
        return result
    report("pairs")
    result["pairs"] = evaluate_pairs(studio, bench, trained)
    result["pairs_with_celebrity"] = evaluate_pairs(studio, bench, trained, celebrity=True)
    return result


def evaluate_pairs(
    studio: Studio, bench: Bench, trained: Mapping[str, Identity], celebrity: bool = False
) -> dict[str, float]:
    """Two people in one picture -> share of pictures with both found, and with each the right
    one: nearest to its own gallery entry among GALLERY people."""
    at = {name: i for i, name in enumerate(studio.models.names)}
    prompts, galleries = [], []
    for place, index in enumerate(bench.index):
        other = (place + 1) % len(bench.index)
        others = [i for i in range(len(bench.gallery)) if i not in (index, bench.index[other])]
        rest = bench.gallery[others[: GALLERY - 2]]
        if celebrity:
            name = bench.celebrities[other]
            second = bench.celebrity_gallery[at[name]]
        else:
            name, second = f"<{bench.people[other].name}>", bench.gallery[bench.index[other]]
        text = PAIR.format(f"<{bench.people[place].name}>", name)
        prompts.append(parse_prompt(text, trained))
        galleries.append(torch.cat([bench.gallery[[index]], second[None], rest]))
    found = right = 0
    for picture, gallery in zip(_draw(studio, prompts, SEED), galleries, strict=True):
        seen = bench.judge.embed(picture, studio.faces.find(picture))
        pairs = match_faces(list(seen), list(gallery[:2]))
        found += len(pairs) == 2
        nearest = {wanted: int((gallery @ seen[face]).argmax()) for wanted, face in pairs.items()}
        right += nearest == {0: 0, 1: 1}
    return {"found": found / len(prompts), "rank1": right / len(prompts)}


def evaluate_joint(studio: Studio, seed: int = 0, people: int = 10) -> dict[str, float]:
    """People trained jointly beside the same people trained one by one."""
    bench = load_bench(studio, seed, people)
    names = [f"<{person.name}>" for person in bench.people]
    single, seconds = _fit_each(studio, bench, PRESETS["best"])
    began = time.perf_counter()
    joint = fit(
        bench.people,
        studio.models,
        studio.basis,
        PRESETS["best"],
        calibration=studio.calibration,
    )
    joint_seconds = time.perf_counter() - began
    targets = bench.gallery[bench.index]
    alone = _score(studio, bench, names, single, targets)
    together = _score(studio, bench, names, joint, targets)
    return {
        "identity_single": alone["identity"],
        "identity_joint": together["identity"],
        "identity_edits_single": alone["identity_edits"],
        "identity_edits_joint": together["identity_edits"],
        "seconds_single": seconds,
        "seconds_joint": joint_seconds,
        "times_one": joint_seconds / seconds,
    }


def evaluate_interpolation(
    studio: Studio, seed: int = 0, pairs: int = 5, steps: int = 9
) -> dict[str, float]:
    """lambda from 0 to 1 between two celebrities, at one seed.

    -> share of pictures with a face; mean rank correlation of lambda with where the judge's
    traits lie between those of the two ends.
    """
    from scipy.stats import spearmanr

    bench = load_bench(studio, seed, pairs * 2)
    lambdas = np.linspace(0, 1, steps)
    faces, correlations = 0, []
    for pair in range(pairs):
        a, b = bench.celebrities[2 * pair : 2 * pair + 2]
        mixtures = [interpolate(b, a, lam, studio.basis, studio.models) for lam in lambdas]
        prompts = [parse_prompt(PORTRAIT.format("<mix>"), {"mix": words}) for words in mixtures]
        pictures = _draw(studio, prompts, SEED + pair, same_seed=True)
        traits, places = [], []
        for lam, picture in zip(lambdas, pictures, strict=True):
            if found := studio.faces.find(picture):
                traits.append(bench.judge.look(picture, [largest(found).landmarks])["traits"][0])
                places.append(lam)
        faces += len(traits)
        along = torch.stack(traits) @ (traits[-1] - traits[0])
        correlations.append(float(spearmanr(places, along.numpy()).statistic))
    return {"faces": faces / (pairs * steps), "rank_correlation": float(np.mean(correlations))}


def as_table(result: Mapping[str, Any]) -> str:
    """The numbers of `evaluate_quick` as text, shares of the celebrities' beside them."""
    lines = [f"{'':14}{'identity':>16}{'over edits':>16}{'prompt':>9}{'seconds':>9}"]
    base = result["celebrities"]
    for row in filter(result.__contains__, ("celebrities", *ROWS)):
        cells = result[row]
        shares = [
            f"{cells[key]:.3f} ({cells[key] / max(base[key], 1e-9):4.2f}x)"
            for key in ("identity", "identity_edits")
        ]
        lines.append(
            f"{row:14}{shares[0]:>16}{shares[1]:>16}{cells['prompt']:9.3f}{cells['seconds']:9.2f}"
        )
    for row in filter(result.__contains__, ("pairs", "pairs_with_celebrity")):
        cells = result[row]
        lines.append(f"{row:22} both found {cells['found']:.2f}, each right {cells['rank1']:.2f}")
    return "\n".join(lines)


def _fit_each(
    studio: Studio, bench: Bench, config: TrainConfig
) -> tuple[dict[str, Identity], float]:
    """Each person trained alone -> identities, mean seconds."""
    identities: dict[str, Identity] = {}
    began = time.perf_counter()
    for person in bench.people:
        identities |= fit(
            [person], studio.models, studio.basis, config, calibration=studio.calibration
        )
    return identities, (time.perf_counter() - began) / len(bench.people)


def _score(
    studio: Studio,
    bench: Bench,
    names: Sequence[str],
    identities: Mapping[str, Identity],
    targets: Tensor,
) -> dict[str, float]:
    """Portraits and edits of each name, judged: identity, identity_edits, prompt (attributes)."""
    portraits = [parse_prompt(PORTRAIT.format(name), identities) for name in names for _ in (0, 1)]
    pictures = _draw(studio, portraits, SEED)
    identity = [_likeness(studio, bench, p, targets[i // 2]) for i, p in enumerate(pictures)]
    edits, right = [], []
    for number, edit in enumerate(bench.prompts):
        asked = [parse_prompt(edit["prompt"].format(name), identities) for name in names]
        for i, picture in enumerate(_draw(studio, asked, SEED + 1000 * (number + 1))):
            edits.append(_likeness(studio, bench, picture, targets[i]))
            shown = bench.reader.read(picture)
            right += [float(shown[group] == label) for group, label in edit["expects"].items()]
    return {
        "identity": float(np.mean(identity)),
        "identity_edits": float(np.mean(edits)),
        "prompt": float(np.mean(right)),
    }


def _likeness(studio: Studio, bench: Bench, picture: Image.Image, target: Tensor) -> float:
    """Judge's cosine of the largest face; 0 without a face."""
    faces = studio.faces.find(picture)
    return float(bench.judge.embed(picture, [largest(faces)])[0] @ target) if faces else 0.0


def _draw(
    studio: Studio, prompts: Sequence[Prompt], seed: int, same_seed: bool = False
) -> list[Image.Image]:
    if same_seed:
        config = SampleConfig(seed=seed)
        return [
            generate_each([prompt], studio.models, studio.basis, config)[0] for prompt in prompts
        ]
    return generate_each(prompts, studio.models, studio.basis, SampleConfig(seed=seed))
