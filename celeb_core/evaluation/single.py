"""One person per image: identity, prompt, detection and seconds, beside celebrities by name.

An image without the wanted face scores zero. Photos that people are trained on are never scored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from celeb_core.evaluation.data import EvaluationSet
from celeb_core.evaluation.images import SEED, Block, score_block, score_edit
from celeb_core.evaluation.run import Record, Run
from celeb_core.faces import largest_face, mean_embedding
from celeb_core.prompt import PORTRAIT, parse_prompt
from celeb_core.scoring import match_faces
from celeb_core.studio import Studio
from celeb_core.training import fit_identities
from celeb_core.types import PRESETS, Identity, Person, TrainConfig, recipe

ROWS = ("instant", "trained", "unprepared", "paper")
PAPER_PEOPLE = 5  # trained by the paper's recipe, which is slow
PORTRAITS = 2  # of each person
GALLERY = 100  # people among whom the right one must be nearest
REFERENCES, REFERENCE_SEED = 4, 1_000  # images by name, of a celebrity whose face is not known


def row_config(studio: Studio, row: str, preset: str) -> tuple[Studio, TrainConfig] | None:
    """Return with what and how the people of a row are trained; None if that takes a calibration.

    “trained” is the preset; “unprepared” is “best” without the model's calibration.
    """
    if row == "unprepared":
        studio = replace(studio, calibration=None)
    preset = {"trained": preset, "unprepared": "best"}.get(row, row)
    if row == "instant" and studio.calibration is None:
        return None
    return studio, recipe(preset if preset in PRESETS else "best", studio.calibration)


def part_of_row(data: EvaluationSet, row: str) -> EvaluationSet:
    """Return the data with the people whom a row is about: few of the slow ones."""
    if row != "paper":
        return data
    return replace(data, people=data.people[:PAPER_PEOPLE], index=data.index[:PAPER_PEOPLE])


def count_images(data: EvaluationSet) -> int:
    """Return how many images `score_people` takes."""
    return len(data.people) * (PORTRAITS + len(data.prompts))


def fit_each(
    studio: Studio,
    people: Sequence[Person],
    config: TrainConfig,
    run: Run | None = None,
    row: str = "",
) -> tuple[dict[str, Identity], float]:
    """Train each person alone, unless the run has them; return them by name, the mean seconds."""
    run, identities, seconds = run or Run(), dict[str, Identity](), list[float]()
    for person in people:
        one = run.load_person(row, person.name, studio.basis)
        if one is None:
            run.begin(f"training {person.name} ({row})")
            made = studio.calibration
            for step in fit_identities(
                [person], studio.models, studio.basis, config,
                calibration=made, recogniser=studio.faces.id,
            ):  # fmt: skip
                run.say(f"step {step.step}/{step.steps}")
            (new,) = step.people
            one = run.keep_person(row, new, step.seconds, studio.basis)
        identities[person.name] = one
        seconds.append(run.records[f"{row}/{person.name}"]["seconds"])
        run.advance()
    return identities, float(np.mean(seconds))


def score_people(
    studio: Studio,
    data: EvaluationSet,
    identities: Mapping[str, Identity] | None = None,
    run: Run | None = None,
    row: str = "celebrities",
) -> dict[str, Any]:
    """Score two portraits and all edit prompts of each person, or celebrity without identities.

    Returns:
        identity, identity_edits: mean cosine by the judge; found: share of the images with a face;
        prompt: share of the expected attributes that a reader finds; clip: mean cosine of edits
        and their prompts. None: there is no reader, or no CLIP.
    """
    run, known = run or Run(), identities or {}
    names = data.celebrities if identities is None else [f"<{one.name}>" for one in data.people]
    targets = data.celebrity_embeddings if identities is None else data.gallery[data.index]

    def identity(image: Image.Image, target: Tensor) -> Record:
        if not (faces := studio.faces.find(image)):
            return {"found": 0, "identity": 0.0}
        one = data.judge.embed(image, [largest_face(faces)])[0]
        return {"found": 1, "identity": float(one @ target)}

    twice = [parse_prompt(PORTRAIT.format(name), known) for name in names for _ in range(PORTRAITS)]
    run.begin(f"portraits ({row})")
    block = Block(f"1/{row}/portraits", twice, SEED)
    portraits = score_block(
        block, studio, run, lambda i, image: identity(image, targets[i // PORTRAITS])
    )
    edits: list[Record] = []
    for number, edit in enumerate(data.prompts, start=1):
        prompts = [parse_prompt(edit.prompt.format(name), known) for name in names]
        run.begin(f"“{edit.prompt}” ({row})")

        def score(i: int, image: Image.Image, edit: Any = edit) -> Record:
            shown = score_edit(image, edit, data.reader, data.clip)
            return identity(image, targets[i]) | shown

        block = Block(f"1/{row}/edit-{number}", prompts, SEED + 1000 * number)
        edits += score_block(block, studio, run, score)
    return {
        "identity": mean_of(portraits, "identity"),
        "identity_edits": mean_of(edits, "identity"),
        **edit_means(edits),
        "found": mean_of(portraits + edits, "found"),
    }


def edit_means(edits: Sequence[Record]) -> dict[str, float | None]:
    """Return the means of what `score_edit` measured: prompt and clip."""
    asked = sum(one["asked"] for one in edits)
    right = sum(one["right"] for one in edits)
    return {"prompt": right / asked if asked else None, "clip": mean_of(edits, "clip")}


def mean_of(records: Sequence[Record], key: str) -> float | None:
    """Return the mean of a number over the records that have it; None if none has."""
    values = [one[key] for one in records if one.get(key) is not None]
    return float(np.mean(values)) if values else None


def find_celebrities(studio: Studio, data: EvaluationSet, run: Run) -> EvaluationSet:
    """Return the data with the judge's embeddings of its celebrities.

    Where they are not known beforehand, each is the mean over images of other seeds than those
    that are scored; zeros, which score zero, for a celebrity without a face in any.
    """
    if len(data.celebrity_embeddings) == len(data.celebrities):
        return data
    prompts = [
        parse_prompt(PORTRAIT.format(name), {})
        for name in data.celebrities
        for _ in range(REFERENCES)
    ]

    def score(i: int, image: Image.Image) -> Record:
        if not (faces := studio.faces.find(image)):
            return {}
        return {"embedding": data.judge.embed(image, [largest_face(faces)])[0].tolist()}

    run.begin("references of the celebrities")
    block = Block("references", prompts, REFERENCE_SEED)
    records, embeddings = score_block(block, studio, run, score), []
    for first in range(0, len(records), REFERENCES):
        found = [one["embedding"] for one in records[first : first + REFERENCES] if one]
        zeros = torch.zeros(data.gallery.shape[1])
        embeddings.append(mean_embedding(torch.tensor(found)) if found else zeros)
    return replace(data, celebrity_embeddings=torch.stack(embeddings))


def evaluate_pairs(
    studio: Studio,
    data: EvaluationSet,
    trained: Mapping[str, Identity],
    celebrity: bool = False,
    run: Run | None = None,
) -> dict[str, float]:
    """Evaluate images of two people, or of each person and a celebrity.

    Returns:
        Shares of the images: found, with two faces; rank1, with both of them nearest to their own
        gallery entries among GALLERY people.
    """
    run, prompts, galleries = run or Run(), [], []
    for i, first in enumerate(data.index):
        j = (i + 1) % len(data.index)
        others = [one for row, one in enumerate(data.gallery) if row not in (first, data.index[j])]
        name, second = f"<{data.people[j].name}>", data.gallery[data.index[j]]
        if celebrity:
            name, second = data.celebrities[j], data.celebrity_embeddings[j]
        prompts.append(parse_prompt(f"a photo of <{data.people[i].name}> and {name}", trained))
        galleries.append(torch.stack([data.gallery[first], second, *others[: GALLERY - 2]]))

    def score(i: int, image: Image.Image) -> Record:
        gallery = galleries[i]
        embeddings = data.judge.embed(image, studio.faces.find(image))
        pairs = match_faces(list(embeddings), list(gallery[:2]))
        nearest = {i: int((gallery @ embeddings[face]).argmax()) for i, face in pairs.items()}
        return {"found": len(pairs) == 2, "rank1": nearest == {0: 0, 1: 1}}

    kind = "pairs_with_celebrity" if celebrity else "pairs"
    run.begin(kind.replace("_", " "))
    records = score_block(Block(f"1/{kind}", prompts, SEED), studio, run, score)
    return {key: float(np.mean([one[key] for one in records])) for key in ("found", "rank1")}
