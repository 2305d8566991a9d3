"""Who and what a model is evaluated with: its own evaluation set, or a folder of photos.

A model folder may bring `evaluation/` (held-out people, their gallery, edit prompts), a judge and
an attribute reader. Photos of one's own need none of them: the edit prompts are then those below.
"""

import json
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from celeb_core.errors import CelebError, FeatureMissing, SeveralFaces, UsageError
from celeb_core.evaluation.judges import FaceJudge
from celeb_core.faces import examine_photo, find_face, mean_embedding, quality_notes
from celeb_core.files import matching, sha256
from celeb_core.identity import check_name
from celeb_core.scoring import AttributeReader, ClipScorer
from celeb_core.studio import Studio
from celeb_core.types import Face, Person

PER_ROW = 20  # photos in a row of people.webp
COUNT = 20  # people, of a model's own evaluation set

EDITS = (
    "a photo of {} smiling", "a photo of {} wearing sunglasses", "a photo of {} wearing a red hat",
    "a photo of {} on the beach", "a photo of {} in a snowy forest",
    "a photo of {} in front of a city at night", "{} playing the guitar",
    "{} reading a book in a library", "an oil painting of {}", "a pencil sketch of {}",
)  # fmt: skip
"""Edit prompts of one person, for models whose folder has none."""
GROUP_EDITS = (
    "a photo of {} on the beach", "a photo of {} in a snowy forest", "{} at a dinner table",
    "{} on a stage", "{} in front of a city at night", "an oil painting of {}",
)  # fmt: skip
"""Edit prompts of several people, for models whose folder has none."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EditPrompt:
    """A prompt with {} for whoever is in it, and what a reader of attributes should find."""

    prompt: str
    expects: Mapping[str, str]  # attribute group -> label


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """What people are evaluated with; the judge's embeddings have d numbers."""

    people: list[Person]  # who are trained
    index: list[int]  # of these people in the gallery
    gallery: Tensor  # (m, d) of other images of them and of more people, see `load_photo_set`
    celebrities: list[str]
    celebrity_embeddings: Tensor  # (c, d) of these celebrities; (0, d) until `find_celebrities`
    prompts: list[EditPrompt]
    group_prompts: list[EditPrompt]
    judge: FaceJudge
    reader: AttributeReader | None = None
    clip: ClipScorer | None = None
    notes: tuple[str, ...] = ()  # what whoever reads the tables must know
    digests: Mapping[str, str] | None = None  # person -> checksum of the photos, if from files


def load_evaluation_set(studio: Studio, seed: int, count: int) -> EvaluationSet:
    """Load random held-out people and as many celebrities; FeatureMissing if the model has none."""
    folder, scorers = studio.models.folder, studio.scorers
    files = (folder or Path()) / "evaluation"
    if folder is None or not files.is_dir() or not scorers.judge or not scorers.reader:
        raise FeatureMissing(
            f"{studio.models.title} has no evaluation set (evaluation/, judge.onnx, reader.onnx). "
            "Use photos of your own or the bundled model.",
            option="--photos FOLDER, or --model toonville",
        )
    tensors = {name: t.float() for name, t in load_file(files / "people.safetensors").items()}
    gallery, names = tensors["judge_embedding"], studio.models.names
    if count > (most := min(len(names), len(gallery))):
        raise UsageError(f"There are {most} people and celebrities, not {count}. Evaluate fewer.")
    photos = held_out_photos(files / "people.webp")
    rng, index = random.Random(seed), list(range(len(gallery)))
    rng.shuffle(index)
    del index[count:]
    persons = []
    for number in index:
        face = find_face(photos[number], studio.faces, choose=1)
        persons.append(Person(f"p{number}", (face,)))
    celebrities = rng.sample(list(names), count)
    known = tensors["celebrity_judge_embedding"][[names.index(name) for name in celebrities]]
    own, of_groups = _edit_prompts(studio)
    return EvaluationSet(
        persons, index, gallery, celebrities, known, own, of_groups,
        scorers.judge, scorers.reader, scorers.clip,
    )  # fmt: skip


def held_out_photos(path: Path) -> list[Image.Image]:
    """Cut a model's people.webp into its square photos."""
    grid = Image.open(path).convert("RGB")
    side = grid.width // PER_ROW
    corners = [(x, y) for y in range(0, grid.height, side) for x in range(0, grid.width, side)]
    return [grid.crop((x, y, x + side, y + side)) for x, y in corners]


def load_photo_set(
    studio: Studio, folder: Path, judge: FaceJudge, seed: int, count: int | None = None
) -> EvaluationSet:
    """Load people from a folder: one photo of each, or a sub-folder of photos of each.

    Of several photos of a person the first by name is trained on, and the judge compares images
    with the others; a single photo has to serve for both. Photos with no face or with several are
    left out with a warning. `count` people, and as many celebrities, are chosen by the seed.

    Raises:
        UsageError: Nobody is left, fewer than `count` are, or two have the same name.
    """
    photos: dict[str, list[tuple[Path, Image.Image, Face]]] = {}
    for name, paths in _photos_of_people(folder).items():
        found = [(path, *one) for path in paths if (one := _face(path, studio))]
        photos |= {name: found} if found else {}
    if not photos or len(photos) < (count or 0):
        raise UsageError(
            f"{folder} has {len(photos)} people whose photos can be used, {count or 1} are wanted. "
            "Put one photo of each into it, with one face, or a sub-folder of photos of each."
        )
    rng, names = random.Random(seed), sorted(photos)
    if count is not None:
        rng.shuffle(names)
        del names[count:]
    people, embeddings, single = list[Person](), list[Tensor](), 0
    for name in names:
        (_, _, face), *others = photos[name]
        single += not others
        people.append(Person(name, (face,)))
        seen = [judge.embed(photo, [one])[0] for _, photo, one in others or photos[name]]
        embeddings.append(mean_embedding(seen))
    known = [name for name in studio.basis.names if name not in photos]
    celebrities = rng.sample(known, min(len(names), len(known)))
    note = f"Of {single} of {len(names)} people there is one photo: it is trained on, and is the "
    note += "reference, too. Give each a sub-folder of several for references of their own."
    gallery, (own, of_groups) = torch.stack(embeddings), _edit_prompts(studio)
    return EvaluationSet(
        people, list(range(len(names))), gallery, celebrities, gallery[:0], own, of_groups,
        judge, studio.scorers.reader, studio.scorers.clip,
        (note,) if single else (),
        {name: " ".join(sha256(path)[:16] for path, *_ in photos[name]) for name in names},
    )  # fmt: skip


def _edit_prompts(studio: Studio) -> tuple[list[EditPrompt], list[EditPrompt]]:
    """Return the edit prompts of one person and of several, of the model's folder or the above."""
    path = (studio.models.folder or Path()) / "evaluation" / "prompts.json"
    if studio.models.folder is None or not path.is_file():
        own, of_groups = ([EditPrompt(text, {}) for text in each] for each in (EDITS, GROUP_EDITS))
        return own, of_groups
    stored: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    own = [EditPrompt(one["prompt"], one["expects"]) for one in stored]
    # What is said of one person's face or hands would be said of nobody in particular.
    scenes = [one for one in own if set(one.expects) == {"scene"}]
    return own, scenes or own


def _photos_of_people(folder: Path) -> dict[str, list[Path]]:
    """Return the photos of each person of a folder, in the order of their names."""
    people: dict[str, list[Path]] = {}
    for path in sorted(matching(folder, "*")):
        name = check_name((path.name if path.is_dir() else path.stem).strip("<>"))
        if name in people:
            raise UsageError(f"Two people of {folder} are called “{name}”. Rename one of them.")
        inside = sorted(matching(path, "*")) if path.is_dir() else [path]
        people[name] = [one for one in inside if one.is_file()]
    return people


def _face(path: Path, studio: Studio) -> tuple[Image.Image, Face] | None:
    """Return a photo and its only face; None, with a warning, for one that cannot be used."""
    try:
        found = examine_photo(path, studio.faces)
        if len(found.faces) > 1:
            raise SeveralFaces(found.faces)
    except CelebError as error:
        log.warning("left out: %s: %s", path.name, error)
        return None
    for note in quality_notes(found.faces[0], studio.models.width):
        log.warning("%s: %s", path.name, note)
    return found.photo, found.faces[0]
