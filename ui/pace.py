"""How long a training takes on this device: measured, and better known after every training."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from celeb_core import CelebError, SampleConfig, Studio, TrainConfig, generate, parse_prompt
from celeb_core.denoising import JOINT_SHARE
from celeb_core.files import write_atomically
from ui.jobs import Job

# A latent of a training step takes about as long as so many of drawing, by TrainConfig.gradients.
COST = {"exact": 2.0, "way up": 1.5}
LATENTS = 2  # per step of drawing: with and without the prompt
FEWEST = 10  # steps
RESULTS = 2  # pictures per person at the end of a training

log = logging.getLogger(__name__)


class Pace:
    """Seconds per step of drawing, and per step for one person of each preset once it was used."""

    def __init__(self, core: Studio, path: Path) -> None:
        self.core, self._path = core, path
        self._key = f"{core.models.id} on {core.models.device}"
        self._known = self._stored().get(self._key, {})

    @property
    def measured(self) -> bool:
        """Whether anything is known."""
        return "drawing" in self._known

    def estimate(self, config: TrainConfig, people: int) -> float | None:
        """Seconds until the trained people and their pictures are there; None if unmeasured."""
        if not self.measured:
            return None
        drawing = self._known["drawing"]
        step = self._known.get(config.preset) or (
            self._by_size(config) * self._known.get("correction", 1.0)
        )
        pictures = people * RESULTS * self.core.models.steps
        return config.steps * at_once(people) * step + pictures * drawing

    def measure(self) -> None:
        """Draw a little; the difference of two runs leaves out what every run costs."""
        took = []
        prompt = parse_prompt("a photo", {})
        for steps in (1, 1, 4, 1, 4):  # the first one warms up; the best of two leaves out others
            began = time.perf_counter()
            generate(prompt, self.core.models, self.core.basis, SampleConfig(steps=steps))
            took.append(time.perf_counter() - began)
        few, many = min(took[1], took[3]), min(took[2], took[4])
        self._note("drawing", max(1e-4, (many - few) / 3))

    def learn(self, config: TrainConfig, people: int, steps: int, seconds: float) -> None:
        """From a training that ran; a very short one is all preparation."""
        if steps >= FEWEST:
            step = seconds / (steps * at_once(people))
            self._note(config.preset, step)
            if self.measured:  # for the presets that have not been used yet
                self._note("correction", step / self._by_size(config))

    def _by_size(self, config: TrainConfig) -> float:
        """Seconds of a step for one person, by what it computes."""
        return COST[config.gradients] * config.batch_size * self._known["drawing"] / LATENTS

    def _note(self, what: str, seconds: float) -> None:
        self._known[what] = seconds
        try:
            stored = {**self._stored(), self._key: self._known}
            write_atomically(self._path, json.dumps(stored).encode())
        except CelebError as error:  # only an estimate
            log.warning("%s", error)

    def _stored(self) -> dict[str, dict[str, float]]:
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stored if isinstance(stored, dict) else {}


def at_once(people: int) -> float:
    """A step for several people in steps for one: each of them gets a smaller batch."""
    return people * (JOINT_SHARE if people > 1 else 1.0)


@dataclass(eq=False, kw_only=True)
class PaceJob(Job):
    """The first measurement, before anybody waits for the device."""

    pace: Pace

    def run(self) -> Literal["done", "stopped"]:
        """A dozen steps of drawing."""
        self.pace.measure()
        return "done"
