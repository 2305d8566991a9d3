"""Portraits of the people in the library whom nobody has drawn yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from celeb_core import SampleConfig, Studio, generate, parse_prompt
from ui.jobs import Job
from ui.training_job import PORTRAIT, RESULT_SEED
from ui.workspace import Workspace


@dataclass(eq=False, kw_only=True)
class PortraitJob(Job):
    """Draw everybody who has no picture yet."""

    core: Studio
    workspace: Workspace

    def run(self) -> Literal["done", "stopped"]:
        """One after the other."""
        missing = [who for who in self.workspace.people() if not self.workspace.portrait(who)]
        self.total = len(missing)
        for name in missing:
            self.note = f"Drawing {name}"
            prompt = parse_prompt(PORTRAIT.format(name), self.workspace.people())
            config = SampleConfig(seed=RESULT_SEED)
            models, basis = self.core.models, self.core.basis
            drawn = generate(prompt, models, basis, config, should_stop=self.told_to_stop)
            if not drawn:
                return "stopped"
            settings = {"prompt": prompt.text, "seed": RESULT_SEED, "model": models.id}
            self.workspace.keep_portrait(name, drawn[0], settings)
            self.done += 1
        return "done"
