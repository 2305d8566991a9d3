"""Portraits of the people in the library who have none yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from celeb_core import SampleConfig, Studio, generate, parse_prompt
from celeb_core.prompt import PORTRAIT
from celeb_core.safety import checked, is_blocked
from ui.jobs import Job
from ui.training_job import RESULT_SEED
from ui.workspace import Workspace


@dataclass(eq=False, kw_only=True)
class PortraitJob(Job):
    """Generate the missing portraits."""

    core: Studio
    workspace: Workspace

    def run(self) -> Literal["done", "stopped"]:
        """One after the other."""
        workspace, models, basis = self.workspace, self.core.models, self.core.basis
        missing = [name for name in workspace.people() if not workspace.portrait(name)]
        self.total = len(missing)
        config = SampleConfig(seed=RESULT_SEED)
        for name in missing:
            self.note = f"Generating {name}"
            prompt = parse_prompt(PORTRAIT.format(f"<{name}>"), workspace.people())
            images = generate(prompt, models, basis, config, should_stop=self.told_to_stop)
            if not images:
                return "stopped"
            settings = {"prompt": prompt.text, "seed": RESULT_SEED, "model": models.id}
            if not is_blocked(image := checked(images, self.core.safety)[0]):
                workspace.save_portrait(name, image, settings)
            self.done += 1
        return "done"
