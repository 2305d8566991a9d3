"""A training in the background: what it remembers, and how it is stopped and taken up again."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from celeb_core import (
    CelebError,
    Identity,
    SampleConfig,
    Studio,
    TrainConfig,
    TrainStep,
    fit_identities,
    generate,
    parse_prompt,
    save_checkpoint,
    score_picture,
)
from celeb_core.errors import SaveFailed
from celeb_core.files import write_atomically
from ui.errors import explain
from ui.jobs import Drawn, Job
from ui.pace import RESULTS, Pace
from ui.pictures import read_settings, save_picture
from ui.workspace import Trainee, Workspace

PORTRAIT = "a photo of <{}>"
CHECKPOINT_EVERY = 5.0  # seconds
PREVIEW_SHARE = 0.12  # of the time at most
RESULT_SEED = 1


@dataclass(eq=False, kw_only=True)
class TrainJob(Job):
    """Fit the trainees, keep the people, draw each a few times."""

    core: Studio
    workspace: Workspace
    trainees: list[Trainee]
    config: TrainConfig
    pace: Pace
    step: int = 0
    losses: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)  # step, of each
    people: tuple[Identity, ...] = ()  # as they are now
    previews: list[Drawn] = field(default_factory=list)
    results: list[Drawn] = field(default_factory=list)
    trained: float = 0.0  # seconds
    warning: str = ""  # what did not work on the way, but stopped nothing
    saved: bool = False  # the people are in the library

    @property
    def folder(self) -> Path:
        """Its record and checkpoint; there while the training can be taken up again."""
        return self.workspace.private / "jobs" / self.id

    @property
    def resumable(self) -> bool:
        """Whether it was cut short and its state is on the disk."""
        return not self.live and not self.saved and (self.folder / "state.safetensors").is_file()

    @property
    def keepable(self) -> bool:
        """Whether there are people who are not in the library yet, for whatever reason."""
        return not self.live and not self.saved and bool(self.people)

    @property
    def names(self) -> list[str]:
        """Who is trained."""
        return [trainee.name for trainee in self.trainees]

    def again(self) -> TrainJob:
        """A job that goes on where this one stopped."""
        fresh = type(self)(
            owner=self.owner,
            id=self.id,
            core=self.core,
            workspace=self.workspace,
            trainees=self.trainees,
            config=self.config,
            pace=self.pace,
            step=self.step,
            losses=list(self.losses),
            people=self.people,
            previews=list(self.previews),
        )
        fresh.done, fresh.total = self.step, self.config.steps
        return fresh

    # --- on the worker thread -------------------------------------------------------------------

    def run(self) -> Literal["done", "stopped"]:
        """Train, save, draw; stopped in the training, the state stays on the disk."""
        self.total, self.note = self.config.steps, "Getting ready"
        if not self._train():
            return "stopped"
        self.pace.learn(self.config, len(self.people), self.step, self.trained)
        self.finish()
        self.note = "Drawing the results"
        for person in self.people:
            for number in range(RESULTS):
                self._result(person, number)
        self.note = ""
        return "done"

    def finish(self) -> None:
        """Keep the people as they are; there is nothing to take up again after that."""
        for person in self.people:
            self.workspace.keep(person)
        self.saved = True
        shutil.rmtree(self.folder, ignore_errors=True)

    def _train(self) -> bool:
        checkpoint = self.folder / "state.safetensors"
        steps = fit_identities(
            [trainee.person() for trainee in self.trainees],
            self.core.models,
            self.core.basis,
            self.config,
            calibration=self.core.calibration,
            recogniser=self.core.faces.id,
            resume=checkpoint if checkpoint.is_file() else None,
        )
        stored, looked, cost = time.monotonic(), -math.inf, 0.0
        for step in steps:
            self._note_step(step)
            stopping = self.told_to_stop() and step.step < step.steps
            now = time.monotonic()
            if stopping or (now - stored > CHECKPOINT_EVERY and step.step < step.steps):
                self._attempt(self._store, step)
                stored = time.monotonic()
            if stopping:
                return False
            if step.steps and now - looked > cost / PREVIEW_SHARE:
                self._attempt(self._preview, step)
                looked = time.monotonic()
                cost = looked - now
        return True

    def _attempt(self, save: Callable[[TrainStep], None], step: TrainStep) -> None:
        """What is nice to have on the disk must not cost the training."""
        try:
            save(step)
        except SaveFailed as error:
            self.warning = explain(error)

    def _note_step(self, step: TrainStep) -> None:
        self.step = self.done = step.step
        self.seconds_left = step.seconds_left
        self.people, self.trained = step.people, step.seconds
        self.note = "Training"
        if step.losses:
            self.losses.append((step.step, tuple(step.losses.values())))
        else:  # what came after the last stored state is trained again
            self.losses = [known for known in self.losses if known[0] <= step.step]

    def _store(self, step: TrainStep) -> None:
        """The state, and what a restarted app must know to go on with it."""
        save_checkpoint(step, self.folder / "state.safetensors")
        record: dict[str, Any] = {
            "trainees": [trainee.id for trainee in self.trainees],
            "config": asdict(self.config),
            "losses": self.losses,
        }
        write_atomically(self.folder / "job.json", json.dumps(record).encode())

    def _preview(self, step: TrainStep) -> None:
        """One person after the other, so that many do not cost more than one."""
        person = step.people[len(self.previews) % len(step.people)]
        self.note = "Drawing a preview"
        steps = max(1, self.core.models.steps // 2)
        drawn = self._draw(person, RESULT_SEED, f"preview-{step.step:04}", steps)
        if drawn:
            path, score, _ = drawn
            who = f"{person.name} · " if len(step.people) > 1 else ""
            self.previews.append(Drawn(path, f"{who}step {step.step} · {likeness(score)}"))

    def _result(self, person: Identity, number: int) -> None:
        drawn = self._draw(person, RESULT_SEED + number, f"result-{number + 1}")
        if drawn:
            path, score, picture = drawn
            caption = f"{person.name} · {likeness(score)}"
            self.results.append(Drawn(path, caption, person.name, {"identity": score}))
            if number == 0:
                self.workspace.keep_portrait(person.name, picture, read_settings(path))

    def _draw(
        self, person: Identity, seed: int, label: str, steps: int | None = None
    ) -> tuple[Path, float | None, Image.Image] | None:
        """A portrait on the disk with its identity score; None when told to stop."""
        text = PORTRAIT.format(person.name)
        drawn = generate(
            parse_prompt(text, {person.name: person}),
            self.core.models,
            self.core.basis,
            SampleConfig(seed=seed, steps=steps),
            should_stop=self.told_to_stop,
        )
        if not drawn:
            return None
        wanted = {person.name: self._references()[person.name]}
        score = score_picture(drawn[0], text, wanted, self.core).identity
        settings = {"prompt": text, "seed": seed, "model": self.core.models.id, "identity": score}
        number = [trainee.name for trainee in self.trainees].index(person.name)
        folder = self.workspace.pictures / "training" / self.id
        path = save_picture(drawn[0], folder / f"{label}-{number + 1}.png", settings)
        return path, score, drawn[0]

    def _references(self) -> Mapping[str, Any]:
        return {trainee.name: trainee.reference() for trainee in self.trainees}


def likeness(score: float | None) -> str:
    """An identity score in words and a number."""
    return "not scored" if score is None else f"likeness\u00a0{score:.2f}"


def interrupted(core: Studio, workspace: Workspace, pace: Pace) -> TrainJob | None:
    """The newest training that was under way when the app ended, ready to be taken up again."""
    records = sorted(
        (workspace.private / "jobs").glob("*/job.json"), key=lambda path: path.stat().st_mtime
    )
    for path in reversed(records):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            trainees = [workspace.trainees[id] for id in record["trainees"]]
            config = TrainConfig(**record["config"])
            losses = [(int(step), tuple(map(float, each))) for step, each in record["losses"]]
        except (CelebError, ValueError, KeyError, TypeError):  # its people were removed
            continue
        job = TrainJob(
            owner=workspace.id,
            id=path.parent.name,
            core=core,
            workspace=workspace,
            trainees=trainees,
            config=config,
            pace=pace,
            losses=losses,
            step=losses[-1][0] if losses else 0,
        )
        job.status = "stopped"
        return job
    return None
