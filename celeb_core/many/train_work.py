"""Train people of a manifest: photos -> identity file, portrait, record."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from celeb_core.device import fitting_images
from celeb_core.errors import BadName, CelebError, IdentityError, PhotoError, SaveFailed
from celeb_core.faces import find_face, mean_embedding, quality_notes
from celeb_core.formats.image_file import MAX_BYTES
from celeb_core.identity import file_name, identity_bytes
from celeb_core.many.manifest import Entry
from celeb_core.many.records import DONE, FAILED, Outcome, Record, key_of
from celeb_core.many.store import read_url
from celeb_core.many.work import StudioOptions, labels_of, thumbnail
from celeb_core.marks.provenance import Marker
from celeb_core.prompt import PORTRAIT, parse_prompt
from celeb_core.sampling import generate_each
from celeb_core.scoring import score_image
from celeb_core.studio import Studio
from celeb_core.training_group import fit_each
from celeb_core.types import Face, Identity, Person, SampleConfig, TrainConfig, recipe

IDENTITIES, PORTRAITS = "identities", "portraits"  # folders
PORTRAIT_SEED = 0
MOST_PEOPLE = 64  # in one batch: what a killed worker loses is one batch


@dataclass(frozen=True)
class TrainItem:
    """A person, with the content of photos that the worker may not be able to read."""

    entry: Entry
    contents: Mapping[str, bytes] = field(default_factory=dict)  # by path


@dataclass(frozen=True)
class TrainWork:
    """How all people are trained."""

    studio: StudioOptions
    marker: Marker  # of generated images
    preset: str = "best"
    changes: Mapping[str, Any] = field(default_factory=dict)  # of the preset's config
    seed: int = 0
    portraits: int = 1  # images of each, for the identity score; 0: no score
    people_at_once: int | None = None  # None: what the device takes

    def load(self, device: str | None) -> "TrainWorker":
        """Load the studio."""
        return TrainWorker(self, self.studio.load(device))

    def lost(self, item: TrainItem, reason: str) -> Outcome:
        """Return the record of a person whose workers died."""
        return _failed(item.entry, reason)


@dataclass(frozen=True, eq=False)
class TrainWorker:
    """A loaded `TrainWork`."""

    work: TrainWork
    studio: Studio

    @property
    def config(self) -> TrainConfig:
        """The training of everybody, but for the seed."""
        return recipe(self.work.preset, self.studio.calibration).changed(**self.work.changes)

    @property
    def made_by(self) -> dict[str, Any]:
        """What decides the identities besides the photos and names."""
        config = {name: str(value) for name, value in self.config.flat().items() if name != "seed"}
        return {**labels_of(self.studio), "config": config}

    @property
    def at_once(self) -> int:
        """People in one batch: on a CPU one after the other, on a GPU what fills it."""
        if self.work.people_at_once is not None:
            return self.work.people_at_once
        models = self.studio.models
        if models.device.type == "cpu":
            return 1
        fitting = fitting_images(models.pipeline, models.device, models.unet.dtype)
        return max(1, min(MOST_PEOPLE, fitting // self.config.batch_size))

    def do(self, items: Sequence[TrainItem]) -> list[Outcome]:
        """Train the people, all at the same time; whatever is wrong with one stops no other."""
        began = time.perf_counter()
        found = [_find_person(item, self.studio) for item in items]
        good = [one for one in found if one.person is not None]
        results = iter(self._train([one.person for one in good if one.person]))
        each = [next(results) if one.person else one.error for one in found]
        images = self._portraits([one for one in each if isinstance(one, Identity)])
        seconds = (time.perf_counter() - began) / max(1, len(items))
        return [
            self._outcome(item.entry, one, result, images, seconds)
            for item, one, result in zip(items, found, each, strict=True)
        ]

    def _train(self, people: Sequence[Person]) -> list[Identity | CelebError]:
        studio, config = self.studio, self.config
        configs = [replace(config, seed=person_seed(one.name, self.work.seed)) for one in people]
        return [
            *fit_each(
                people,
                studio.models,
                studio.basis,
                configs,
                calibration=studio.calibration,
                recogniser=studio.faces.id,
            )
        ]

    def _portraits(self, people: Sequence[Identity]) -> dict[str, list[Image.Image]]:
        """Generate images of each person, from the same seeds."""
        count = self.work.portraits
        if not count:
            return {}
        prompts = [
            parse_prompt(PORTRAIT.format(f"<{one.name}>"), {one.name: one}) for one in people
        ]
        every = [prompt for prompt in prompts for _ in range(count)]
        seeds = [PORTRAIT_SEED + number for _ in prompts for number in range(count)]
        config = SampleConfig(batch_size=1 if self.at_once == 1 else SampleConfig.batch_size)
        images = generate_each(every, self.studio.models, self.studio.basis, config, seeds=seeds)
        return {one.name: images[i * count : (i + 1) * count] for i, one in enumerate(people)}

    def _outcome(
        self,
        entry: Entry,
        found: "_Found",
        result: Identity | CelebError | None,
        images: Mapping[str, Sequence[Image.Image]],
        seconds: float,
    ) -> Outcome:
        if not isinstance(result, Identity) or found.person is None:
            return _failed(entry, str(result), found.notes)
        path, files = f"{IDENTITIES}/{file_name(entry.name)}", dict[str, bytes]()
        try:
            files[path] = identity_bytes(result)
        except (SaveFailed, IdentityError) as error:
            return _failed(entry, str(error), found.notes)
        record = _record(entry, DONE, "; ".join(found.left_out), found.notes)
        record |= {
            "file": path,
            "photos_used": len(found.person.faces),
            "seconds": round(seconds, 3),
        }
        record |= {"recipe": json.dumps(dict(result.settings)), "photo_digests": found.digests}
        if own := images.get(entry.name):
            record["identity_score"] = self._score(found.person.faces, own)
            record["portrait"] = f"{PORTRAITS}/{file_name(entry.name, '.jpg')}"
            files[record["portrait"]] = thumbnail(own[0], self.work.marker)
        return Outcome(record, files)

    def _score(self, faces: Sequence[Face], images: Sequence[Image.Image]) -> float:
        """Return the mean cosine of the photos' face and the images'; without a face it is 0."""
        reference = {"x": mean_embedding([face.embedding for face in faces])}
        scorers = replace(self.studio.scorers, clip=None)
        scores = [score_image(image, "", reference, scorers).identity or 0.0 for image in images]
        return round(sum(scores) / len(scores), 4)


def person_seed(name: str, seed: int) -> int:
    """Return the seed of one person's training: of the name, not of the place in a manifest."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") // 2


def train_key(name: str) -> str:
    """Return the key of a person's record."""
    return key_of("train", name)


def _record(entry: Entry, status: str, error: str, notes: Sequence[str] = ()) -> Record:
    return {
        "key": train_key(entry.name),
        "name": entry.name,
        "status": status,
        "error": error,
        "identity_score": None,
        "seconds": None,
        "recipe": "",
        "photos": list(entry.photos),
        "photos_used": 0,
        "notes": list(notes),
        "file": "",
        "portrait": "",
    }


def _failed(entry: Entry, reason: str, notes: Sequence[str] = ()) -> Outcome:
    return Outcome(_record(entry, FAILED, reason, notes))


@dataclass(frozen=True, eq=False)
class _Found:
    """The person of an entry; None and an error, if there is no photo of them."""

    person: Person | None
    error: CelebError | None
    left_out: list[str]  # photos that cannot be used, and why
    notes: list[str]
    digests: list[str]  # of the photos that are used


def _find_person(item: TrainItem, studio: Studio) -> _Found:
    """Find the face of each photo of a person, which must be the only one there."""
    entry, faces, left_out = item.entry, list[Face](), list[str]()
    notes, digests = list[str](), list[str]()
    if entry.error:
        return _Found(None, BadName(entry.error), left_out, notes, digests)
    several = len(entry.photos) > 1
    for photo in entry.photos:
        label = photo.rpartition("/")[2]
        try:
            content = _content(photo, item)
            face = find_face(content, studio.faces)
        except PhotoError as error:
            left_out.append(f"{label}: {error}")
            continue
        faces.append(face)
        digests.append(hashlib.sha256(content).hexdigest()[:16])
        found = quality_notes(face, studio.models.width)
        notes += [f"{label}: {note}" if several else note for note in found]
    if not faces:
        return _Found(None, PhotoError("; ".join(left_out)), left_out, notes, digests)
    return _Found(Person(entry.name, tuple(faces), entry.consent), None, left_out, notes, digests)


def _content(photo: str, item: TrainItem) -> bytes:
    """Read a photo; PhotoError, whatever is wrong."""
    if photo in item.contents:
        return item.contents[photo]
    try:
        return read_url(photo, MAX_BYTES)
    except FileNotFoundError as error:
        raise PhotoError("There is no such file.") from error
    except (CelebError, OSError, ValueError) as error:
        raise PhotoError(f"It cannot be read ({error}).") from error
