"""The whole way with an example face: photo, training, prompt, image, each step as it happens.

It is nothing else than what the tabs do: a training that the Train tab shows, and images that the
Compose tab shows, one job after the other, with the same limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from celeb_core import CelebError
from celeb_core.prompt import placeholders
from ui.compose_job import ComposeJob, start_images
from ui.errors import explain
from ui.example_faces import enlist_example
from ui.form import Form, chosen_seed
from ui.ideas import IDEAS
from ui.studio import Shared
from ui.training_job import TrainJob
from ui.training_start import start_training
from ui.workspace import Workspace

PRESET = "fast"


@dataclass(eq=False, kw_only=True)
class DemoTraining(TrainJob):
    """A training after which an image of the person is queued."""

    shared_state: Shared
    prompt: str
    images: ComposeJob | None = None  # the next job, once it is queued

    def run(self) -> Literal["done", "stopped"]:
        """Train, then queue the image; the page need not be there."""
        status = super().run()
        if status == "done" and not self.told_to_stop():
            models = self.core.models
            form = Form(steps=models.steps, guidance_scale=models.guidance_scale)
            try:
                self.images = start_images(
                    self.shared_state,
                    self.workspace,
                    self.prompt,
                    form,
                    seed=chosen_seed(None, True),
                )
            except CelebError as error:  # too many jobs, a full disk: the person is there
                self.warning = explain(error)
        return status

    def further(self) -> dict[str, Any]:
        """Return what leads on to the image, also after a stop."""
        return {"shared_state": self.shared_state, "prompt": self.prompt}


def start_demo(shared: Shared, workspace: Workspace) -> TrainJob:
    """Queue a short training of an example face, after which an image of it is generated.

    Raises:
        CelebError: There is no face left, or the session has too much already.
    """
    trainee = enlist_example(shared, workspace)
    return start_training(
        shared,
        workspace,
        [trainee.id],
        PRESET,
        None,
        None,
        DemoTraining,
        shared_state=shared,
        prompt=first_prompt(shared, trainee.name),
    )


def first_prompt(shared: Shared, name: str) -> str:
    """Return the first example prompt, about this person."""
    prompt = shared.shown_first.prompt or IDEAS["Action"][0].format(one="<x>")
    return prompt.replace(f"<{placeholders(prompt)[0]}>", f"<{name}>")
