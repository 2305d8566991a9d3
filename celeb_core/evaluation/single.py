"""One person per image: identity, prompt, detection and seconds, beside celebrities by name.

An image without the wanted face scores zero. Photos that people are trained on are never scored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from celeb_core.evaluation.data import EvaluationSet
from celeb_core.evaluation.images import SEED, Block, Seen, score_blocks
from celeb_core.evaluation.run import Record, Run
from celeb_core.evaluation.work import Executor, Here, Tools, here
from celeb_core.faces import mean_embedding
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


@dataclass(frozen=True, eq=False)
class Training:
    """The training of one person, as an item of an executor."""

    note: str
    person: Person
    config: TrainConfig
    calibrated: bool  # whether the model's calibration is used

    def do(self, tools: Tools, say: Callable[[str], None]) -> tuple[Identity, float]:
        """Train the person, and return them and the seconds that it took."""
        studio = tools.studio
        for step in fit_identities(
            [self.person], studio.models, studio.basis, self.config,
            calibration=studio.calibration if self.calibrated else None,
            recogniser=studio.faces.id,
        ):  # fmt: skip
            say(f"step {step.step}/{step.steps}")
        (new,) = step.people
        return new, step.seconds


def fit_each(
    studio: Studio,
    people: Sequence[Person],
    config: TrainConfig,
    run: Run | None = None,
    row: str = "",
    executor: Executor | None = None,
) -> tuple[dict[str, Identity], float]:
    """Train each person alone, unless the run has them; return them by name, the mean seconds.

    A studio without calibration trains without it, whatever the executor has; without an executor
    this process trains.
    """
    run, executor = run or Run(), executor or Here(Tools(studio))
    calibrated, found = studio.calibration is not None, dict[str, Identity]()
    items = list[Training]()
    for person in people:
        if (one := run.load_person(row, person.name, studio.basis)) is not None:
            found[person.name] = one
            run.advance()
        else:
            note = f"training {person.name} ({row})"
            items.append(Training(note, person, config, calibrated))
    for number, (new, taken) in executor.do(items, run):
        name = items[number].person.name
        found[name] = run.keep_person(row, new, taken, studio.basis)
        run.advance()
    names = [person.name for person in people]
    seconds = [run.records[f"{row}/{name}"]["seconds"] for name in names]
    return {name: found[name] for name in names}, float(np.mean(seconds))


def score_people(
    studio: Studio,
    data: EvaluationSet,
    identities: Mapping[str, Identity] | None = None,
    run: Run | None = None,
    row: str = "celebrities",
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Score two portraits and all edit prompts of each person, or celebrity without identities.

    Returns:
        identity, identity_edits: mean cosine by the judge; found: share of the images with a face;
        prompt: share of the expected attributes that a reader finds; clip: mean cosine of edits
        and their prompts. None: there is no reader, or no CLIP.
    """
    run, known, executor = run or Run(), identities or {}, executor or here(studio, data)
    names = data.celebrities if identities is None else [f"<{one.name}>" for one in data.people]
    targets = data.celebrity_embeddings if identities is None else data.gallery[data.index]

    def score_portrait(i: int, seen: Seen) -> Record:
        return _identity(seen, targets[i // PORTRAITS])

    def score_edited(i: int, seen: Seen) -> Record:
        return _identity(seen, targets[i])

    twice = [parse_prompt(PORTRAIT.format(name), known) for name in names for _ in range(PORTRAITS)]
    key, note = f"1/{row}/portraits", f"portraits ({row})"
    blocks = [Block(key, note, twice, SEED, score_portrait, largest=True)]
    for number, edit in enumerate(data.prompts, start=1):
        prompts = [parse_prompt(edit.prompt.format(name), known) for name in names]
        key, note, seed = f"1/{row}/edit-{number}", f"“{edit.prompt}” ({row})", SEED + 1000 * number
        asked = [edit] * len(prompts)
        blocks.append(Block(key, note, prompts, seed, score_edited, asked, largest=True))
    portraits, *each = score_blocks(blocks, executor, run)
    edits = [record for records in each for record in records]
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


def find_celebrities(
    studio: Studio, data: EvaluationSet, run: Run, executor: Executor | None = None
) -> EvaluationSet:
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

    def score(i: int, seen: Seen) -> Record:
        return {"embedding": seen.embeddings[0].tolist()} if seen.boxes else {}

    note = "references of the celebrities"
    block = Block("references", note, prompts, REFERENCE_SEED, score, largest=True)
    (records,), embeddings = score_blocks([block], executor or here(studio, data), run), []
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
    executor: Executor | None = None,
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

    def score(i: int, seen: Seen) -> Record:
        gallery, embeddings = galleries[i], seen.embeddings
        pairs = match_faces(list(embeddings), list(gallery[:2]))
        nearest = {i: int((gallery @ embeddings[face]).argmax()) for i, face in pairs.items()}
        return {"found": len(pairs) == 2, "rank1": nearest == {0: 0, 1: 1}}

    kind = "pairs_with_celebrity" if celebrity else "pairs"
    block = Block(f"1/{kind}", kind.replace("_", " "), prompts, SEED, score)
    (records,) = score_blocks([block], executor or here(studio, data), run)
    return {key: float(np.mean([one[key] for one in records])) for key in ("found", "rank1")}


def _identity(seen: Seen, target: Tensor) -> Record:
    """Score the largest face of an image, which is all that was embedded."""
    if not seen.boxes:
        return {"found": 0, "identity": 0.0}
    return {"found": 1, "identity": float(seen.embeddings[0] @ target)}
