"""Forgetting a person: all that a workspace has of them is deleted for good, and counted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from celeb_core.errors import CelebError, PhotoUnreadable
from celeb_core.files import changing, read_json
from celeb_core.prompt import placeholders
from ui.generation_job import GenerateJob
from ui.images import read_settings
from ui.jobs import Job, Runner, SavedImage
from ui.mixtures import MIX
from ui.portrait_job import PortraitJob
from ui.training_job import TrainJob
from ui.workspace import Workspace

NUMBERED = re.compile(r"([0-9a-f]{8})-\d{3}(?:-\d)?\.png")  # an image of a job, of an attempt
BESIDE = ("-grid.png", "-square.png", ".zip", ".mp4", ".webp", ".gif")  # made of those of a job
MIXED = ("from", "to", "corners", "person")  # settings with the people of a mixture
SAME = 0.999  # cosine of two embeddings of one face in one photo


@dataclass(frozen=True)
class Forgotten:
    """How much was deleted."""

    files: int = 0  # of the person, copies in the bin included
    photos: int = 0
    trainings: int = 0  # states of trainings that were cut short
    images: int = 0  # the portrait, grids and animations included
    shared: int = 0  # of the images, those that name others as well
    unnamed: int = 0  # images that stay, because no settings say whom they show

    @property
    def sentences(self) -> list[str]:
        """What is gone, and what is not, in words."""
        gone = [
            _count(self.files, "person file"),
            _count(self.photos, "photo"),
            _count(self.trainings, "unfinished training"),
            _count(self.images, "generated image"),
        ]
        lines = [f"Deleted for good: {', '.join(filter(None, gone)) or 'nothing'}."]
        if self.shared:
            lines.append(f"{_count(self.shared, 'image')} of them named others, too.")
        if self.unnamed:
            lines.append(
                f"{_count(self.unnamed, 'generated image')} without settings stayed: whom they "
                "show is not written into them. Look through the folder of images."
            )
        return lines


def warning(name: str) -> str:
    """Say what will be deleted, before it is."""
    return (
        f"This deletes for good what the page has of {name}: the photos, the person's file and its "
        "copies in the bin, unfinished trainings, the portrait, and all generated images whose "
        f"settings name {name}, also those with other people. Nothing of it can be brought back. "
        "What was downloaded before, or made under another name, stays."
    )


def forget(workspace: Workspace, runner: Runner, name: str) -> Forgotten:
    """Delete all that a workspace has of a person.

    Args:
        workspace: Of the session.
        runner: Of its jobs.
        name: Of the person, as in prompts.

    Returns:
        What is gone.

    Raises:
        CelebError: A job with the person is waiting or under way.
        SaveFailed: A file cannot be deleted.
    """
    jobs = [job for job in runner.jobs(workspace.id) if _uses(job, name)]
    if any(job.live for job in jobs):
        raise CelebError(
            f"A job with {name} is waiting or under way. Wait until it is over, or cancel it; then "
            "forget."
        )
    count = _forget_images(workspace, runner, name)
    for job in jobs:
        runner.discard(job)
    photos, trainings = _forget_photos(workspace, name)
    files = workspace.files.copies(name)
    _delete(workspace, files)
    workspace.forget_person(name)
    return replace(count, photos=photos, trainings=trainings, files=len(files))


def is_named(name: str, settings: Mapping[str, Any]) -> bool:
    """Return whether the settings of an image name a person."""
    return name in _people(settings)


def _people(settings: Mapping[str, Any]) -> set[str]:
    """Return the people of the library whom the settings of an image name."""
    mixed = [key for key in MIXED if key in settings]
    values = [settings[key] for key in mixed] or [settings.get("people"), settings.get("prompt")]
    texts = [one for value in values for one in (value if isinstance(value, list) else [value])]
    found = {name for text in texts if isinstance(text, str) for name in placeholders(text)}
    people = settings.get("people")
    if not mixed and isinstance(people, list):
        found |= {one for one in people if isinstance(one, str)}
    return found - {MIX} if mixed else found


def _uses(job: Job, name: str) -> bool:
    if isinstance(job, TrainJob):
        return name in job.names
    if isinstance(job, GenerateJob):
        bound = any(name in request.prompt.identities for request in job.requests)
        return bound or any(is_named(name, request.settings) for request in job.requests)
    return isinstance(job, PortraitJob) and job.live


def _forget_images(workspace: Workspace, runner: Runner, name: str) -> Forgotten:
    """Delete the generated images that name a person, with what was made of them."""
    known = {
        image.path: image.settings
        for job in runner.jobs(workspace.id)
        if isinstance(job, GenerateJob)
        for image in _images_of(job)
    }
    stored = {path: _settings(path) for path in workspace.images.rglob("*.png")}
    people = {path: _people(known.get(path) or settings or {}) for path, settings in stored.items()}
    named = {path for path, names in people.items() if name in names}
    gone = {*named, *(path for image in named for path in _made_of(image))}
    portrait = workspace.files.portrait_path(name)
    gone |= {portrait} if portrait.is_file() else set()
    _delete(workspace, gone)
    return Forgotten(
        images=len(gone),
        shared=sum(len(people[path]) > 1 for path in named),
        unnamed=sum(
            settings is None and path not in known and path not in gone
            for path, settings in stored.items()
        ),
    )


def _images_of(job: GenerateJob) -> list[SavedImage]:
    return [image for image in job.images if image.settings]


def _settings(path: Path) -> dict[str, Any] | None:
    try:
        return read_settings(path)
    except PhotoUnreadable:
        return None


def _made_of(image: Path) -> Iterator[Path]:
    """Yield the grid, the animations and the ZIP of the job that an image is of."""
    if found := NUMBERED.fullmatch(image.name):
        for end in BESIDE:
            if (path := image.with_name(f"{found[1]}{end}")).is_file():
                yield path


def _forget_photos(workspace: Workspace, name: str) -> tuple[int, int]:
    """Delete the photos of a person; return how many, and of how many trainings the states."""
    trainee = workspace.trainee(name)
    if trainee is None:
        return 0, 0
    own = [face.embedding for face in trainee.faces]
    shown = [
        photo.id
        for photo in workspace.photos.values()
        if any(float(face.embedding @ one) > SAME for face in photo.faces for one in own)
    ]
    for id in shown:  # they show others, too
        workspace.discard_photo(id)
    records = [read_json(path).get("trainees") for path in workspace.listed.interrupted()]
    workspace.dismiss(trainee.id)
    trainings = sum(isinstance(ids, list) and trainee.id in ids for ids in records)
    return len(own) + len(shown), trainings


def _delete(workspace: Workspace, files: Iterable[Path]) -> None:
    """Delete files, and the copies of them that the page serves."""
    for path in files:
        workspace.shown.forget_copies(path)
        with changing(path):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty yet
            path.parent.rmdir()


def _count(number: int, what: str) -> str:
    return f"{number} {what if number == 1 else what + 's'}" if number else ""
