"""A training in the background: its state, and how it is stopped and resumed."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from celeb_core import (
    Identity,
    SampleConfig,
    Studio,
    TrainConfig,
    TrainStep,
    parse_prompt,
    save_checkpoint,
    score_image,
)
from celeb_core.errors import SaveFailed
from celeb_core.files import read_json, write_atomically
from celeb_core.formats.saved_config import config_from_dict
from celeb_core.prompt import PORTRAIT
from celeb_core.safety import REASON, is_blocked
from celeb_core.temporary_files import is_alive, this_process
from ui.errors import explain
from ui.executor import Executor, GpuUnavailable, InProcess, Watch
from ui.gpu_tasks import Batch
from ui.images import read_settings, save_generated
from ui.jobs import Job, SavedImage
from ui.time_estimate import RESULTS, TimeEstimates
from ui.trainee_files import Trainee
from ui.workspace import Workspace

CHECKPOINT_EVERY = 5.0  # seconds
PREVIEW_SHARE = 0.12  # of the time at most
RESULT_SEED = 1


@dataclass(eq=False, kw_only=True)
class TrainJob(Job):
    """Fit the trainees, save the people, generate a few images of each."""

    core: Studio
    workspace: Workspace
    trainees: list[Trainee]
    config: TrainConfig
    estimates: TimeEstimates
    executor: Executor
    step: int = 0
    losses: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)  # step, of each
    people: tuple[Identity, ...] = ()  # as they are now
    previews: list[SavedImage] = field(default_factory=list)
    results: list[SavedImage] = field(default_factory=list)
    trained: float = 0.0  # seconds
    warning: str = ""  # a failure that stopped nothing
    saved: bool = False  # the people are in the library

    @property
    def folder(self) -> Path:
        """Its record and checkpoint, there while the training can be resumed."""
        return self.workspace.listed.job(self.id)

    @property
    def resumable(self) -> bool:
        """Whether it was cut short and its state is on the disk."""
        return not self.live and not self.saved and (self.folder / "state.safetensors").is_file()

    @property
    def savable(self) -> bool:
        """Whether there are people who are not in the library yet, for whatever reason."""
        return not self.live and not self.saved and bool(self.people)

    @property
    def names(self) -> list[str]:
        """Of the people."""
        return [trainee.name for trainee in self.trainees]

    def further(self) -> dict[str, Any]:
        """Return the fields that a kind of training has besides."""
        return {}

    def again(self) -> TrainJob:
        """Return a job that goes on where this one stopped."""
        fresh = type(self)(
            owner=self.owner,
            id=self.id,
            core=self.core,
            workspace=self.workspace,
            trainees=self.trainees,
            config=self.config,
            estimates=self.estimates,
            executor=self.executor,
            step=self.step,
            losses=list(self.losses),
            people=self.people,
            previews=list(self.previews),
            **self.further(),
        )
        fresh.done, fresh.total = self.step, self.config.steps
        return fresh

    # --- on the worker thread -------------------------------------------------------------------

    def run(self) -> Literal["done", "stopped"]:
        """Train, save, generate; a training that is stopped leaves its state on the disk."""
        self.total, self.note = self.config.steps, "Getting ready"
        if not self._train():
            return "stopped"
        self.estimates.learn(self.config, len(self.people), self.step, self.trained)
        self.finish()
        self.note = "Generating the results"
        try:
            self._generate_results()
        except GpuUnavailable as error:  # the people are saved
            self.warning = explain(error)
        self.note = ""
        return "done"

    def finish(self) -> None:
        """Save the people as they are now; after that the training cannot be resumed."""
        for person in self.people:
            self.workspace.save_person(person)
        self.saved = True
        shutil.rmtree(self.folder, ignore_errors=True)

    def _train(self) -> bool:
        """Return whether it came to its end."""
        stored, previewed, cost = time.monotonic(), -math.inf, 0.0
        counted, here = self.executor.costs is not None, self.executor.here
        for step in self._steps():
            self._note_step(step)
            stopping = self.told_to_stop() and step.step < step.steps
            now = time.monotonic()
            if step.checkpoint is None:  # nothing to store, show or save yet
                if stopping and not step.people:
                    return False
                continue
            due = not here or now - stored > CHECKPOINT_EVERY
            if stopping or (due and step.step < step.steps):
                self._attempt(self._store, step)
                stored = time.monotonic()
            if stopping:
                return False
            if step.steps and not counted and now - previewed > cost / PREVIEW_SHARE:
                self._attempt(self._preview, step)
                previewed = time.monotonic()
                cost = previewed - now
        return True

    def _steps(self) -> Iterator[TrainStep]:
        """Begin, or go on from what is stored; without steps nothing needs the GPU."""
        checkpoint = self.folder / "state.safetensors"
        resume = checkpoint if checkpoint.is_file() else None
        executor = self.executor if self.config.steps else InProcess()
        if resume is None:
            self.config = executor.fitting(self.config, len(self.trainees))
        people = [trainee.person() for trainee in self.trainees]
        return executor.train(self.core, people, self.config, resume)

    def _attempt(self, save: Callable[[TrainStep], None], step: TrainStep) -> None:
        """Save what is nice to have: a failure must not cost the training."""
        try:
            save(step)
        except SaveFailed as error:
            self.warning = explain(error)

    def _note_step(self, step: TrainStep) -> None:
        self.step = self.done = step.step
        self.seconds_left = step.seconds_left
        self.people, self.trained = step.people, step.seconds
        self.note = "Training" if step.checkpoint else "Comparing the photo with the names"
        if step.losses:
            self.losses.append((step.step, tuple(step.losses.values())))
        else:  # what came after the last stored state is trained again
            self.losses = [known for known in self.losses if known[0] <= step.step]

    def _store(self, step: TrainStep) -> None:
        """Store the state, and what a restarted app must know to resume."""
        save_checkpoint(step, self.folder / "state.safetensors")
        record: dict[str, Any] = {
            "trainees": [trainee.id for trainee in self.trainees],
            "config": self.config.flat(),
            "losses": self.losses,
            "process": this_process(),
        }
        write_atomically(self.folder / "job.json", json.dumps(record).encode())

    def _preview(self, step: TrainStep) -> None:
        """Preview one person after the other, so that many do not cost more than one."""
        person = step.people[len(self.previews) % len(step.people)]
        self.note = "Generating a preview"
        steps = max(1, self.core.models.steps // 2)
        batch = self._portraits(person, SampleConfig(seed=RESULT_SEED, steps=steps))
        for (image,) in filter(None, self.executor.generate(self.core, [batch], self._watch)):
            if self._blocked(image, person):
                continue
            path, score = self._save(image, person, RESULT_SEED, f"preview-{step.step:04}")
            name = f"{person.name} · " if len(step.people) > 1 else ""
            self.previews.append(SavedImage(path, f"{name}step {step.step} · {score_text(score)}"))

    def _generate_results(self) -> None:
        """One image after the other; together where GPU time is counted, or none for no steps."""
        seeds, together = range(RESULT_SEED, RESULT_SEED + RESULTS), 1
        if self.executor.costs is not None:
            if not self.config.steps:
                return
            together = RESULTS
        wanted = [(person, seed) for person in self.people for seed in seeds]
        batches = (
            self._portraits(person, SampleConfig(seed=seed), together)
            for person, seed in wanted[::together]
        )
        done = iter(wanted)
        for images in self.executor.generate(self.core, batches, self._watch):
            for image, (person, seed) in zip(images, done, strict=False):
                self._show_result(image, person, seed)

    @property
    def _watch(self) -> Watch:
        return Watch(should_stop=self.told_to_stop)

    def _portraits(self, person: Identity, config: SampleConfig, count: int = 1) -> Batch:
        prompt = parse_prompt(PORTRAIT.format(f"<{person.name}>"), {person.name: person})
        return (prompt,) * count, config

    def _show_result(self, image: Image.Image, person: Identity, seed: int) -> None:
        if self._blocked(image, person):
            return
        number = seed - RESULT_SEED
        path, score = self._save(image, person, seed, f"result-{number + 1}")
        caption = f"{person.name} · {score_text(score)}"
        self.results.append(SavedImage(path, caption, person.name, {"identity": score}))
        if number == 0:
            self.workspace.save_portrait(person, image, read_settings(path))

    def _blocked(self, image: Image.Image, person: Identity) -> bool:
        """Return whether there is no image to be saved, and warn."""
        if blocked := is_blocked(image):
            self.warning = f"An image of {person.name} was {REASON}."
        return blocked

    def _save(
        self, image: Image.Image, person: Identity, seed: int, label: str
    ) -> tuple[Path, float | None]:
        """Save a portrait; return it with its identity score."""
        text, number = PORTRAIT.format(f"<{person.name}>"), self.people.index(person)
        wanted = {person.name: self.trainees[number].reference()}
        score = score_image(image, text, wanted, self.core.scorers).identity
        settings = {"prompt": text, "seed": seed, "model": self.core.models.id, "identity": score}
        folder = self.workspace.images / "training" / self.id
        path = folder / f"{label}-{number + 1}.png"
        save_generated(image, path, settings, self.workspace.marker)
        return path, score


def score_text(score: float | None) -> str:
    """Format an identity score."""
    return "not scored" if score is None else f"identity score\u00a0{score:.2f}"


def interrupted(
    core: Studio, workspace: Workspace, estimates: TimeEstimates, executor: Executor
) -> TrainJob | None:
    """Return the newest training that was under way when the app ended, ready to be resumed.

    Records of the version before this one are read, too.
    """
    for path in reversed(workspace.listed.interrupted()):
        record = read_json(path)
        try:
            trainees = [workspace.trainees[id] for id in record["trainees"]]
            config = config_from_dict(record["config"])
            losses = [(int(step), tuple(map(float, each))) for step, each in record["losses"]]
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # damaged, or its people were removed
        other = str(record.get("process"))
        if other != this_process() and is_alive(other):
            continue  # another app on the same folder is at it
        job = TrainJob(
            owner=workspace.id,
            id=path.parent.name,
            core=core,
            workspace=workspace,
            trainees=trainees,
            config=config,
            estimates=estimates,
            executor=executor,
            losses=losses,
            step=losses[-1][0] if losses else 0,
        )
        job.status = "stopped"
        return job
    return None
