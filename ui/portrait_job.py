"""Portraits of the people in the library who have none yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from celeb_core import Identity, SampleConfig, Studio, parse_prompt
from celeb_core.prompt import PORTRAIT
from celeb_core.safety import is_blocked
from ui.executor import Executor, Watch
from ui.gpu_tasks import Batch
from ui.jobs import Job
from ui.training_job import RESULT_SEED
from ui.workspace import Workspace


@dataclass(eq=False, kw_only=True)
class PortraitJob(Job):
    """Generate the missing portraits."""

    core: Studio
    workspace: Workspace
    executor: Executor

    def run(self) -> Literal["done", "stopped"]:
        """One after the other."""
        workspace, model = self.workspace, self.core.models.id
        missing = [name for name in workspace.people() if not workspace.portraits.find(name)]
        people: list[Identity] = []  # whose images were asked for
        self.total = len(missing)
        watch = Watch(should_stop=self.told_to_stop)
        portraits = self.executor.generate(self.core, self._batches(missing, people), watch)
        for name, images in zip(missing, portraits, strict=False):
            if not images:
                return "stopped"
            text = PORTRAIT.format(f"<{name}>")
            settings = {"prompt": text, "seed": RESULT_SEED, "model": model}
            if not is_blocked(images[0]):
                workspace.save_portrait(people[self.done], images[0], settings)
            self.done += 1
        return "done"

    def _batches(self, names: list[str], people: list[Identity]) -> Iterator[Batch]:
        """One image each, of people as they are when it is their turn: those are noted."""
        for name in names:
            self.note = f"Generating {name}"
            known = self.workspace.people()
            prompt = parse_prompt(PORTRAIT.format(f"<{name}>"), known)
            people.append(known[name])
            yield (prompt,), SampleConfig(seed=RESULT_SEED)
