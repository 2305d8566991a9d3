"""How long a training takes on this device: measured, and better known after every training."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

from celeb_core import CelebError, SampleConfig, Studio, TrainConfig, generate, parse_prompt
from celeb_core.augmentation import JOINT_SHARE
from celeb_core.cli.doctor import COST, LATENTS
from celeb_core.files import read_json, write_atomically
from celeb_core.name_regression import NAMES

FEWEST = 10  # steps
RESULTS = 2  # images per person at the end of a training
MEASURED = parse_prompt("a photo", {})

log = logging.getLogger(__name__)


class TimeEstimates:
    """Seconds per sampling step, and per training step for one person of each preset once used.

    Args:
        core: The loaded models.
        path: Of the file that remembers what was measured.
    """

    def __init__(self, core: Studio, path: Path) -> None:
        self.core, self._path = core, path
        self._key = f"{core.models.id} on {core.models.device}"
        self._known = self._stored().get(self._key, {})
        self._lock = threading.Lock()  # jobs learn at the same time

    @property
    def measured(self) -> bool:
        """Whether anything is known."""
        return "sampling" in self._known

    def estimate(self, config: TrainConfig, people: int) -> float | None:
        """Return the seconds until the people and their images are there; None if unmeasured."""
        training = self.training(config, people, config.steps)
        if training is None:
            return None
        sampling_steps = people * RESULTS * self.core.models.steps
        return training + sampling_steps * self._known["sampling"]

    def training(self, config: TrainConfig, people: int, steps: int) -> float | None:
        """Return the seconds of some steps, with what comes before them; None if unmeasured."""
        if not self.measured:
            return None
        step = self._known.get(config.preset) or (
            self._by_size(config) * self._known.get("correction", 1.0)
        )
        return self._steps(config, people, steps) * step

    def sampling(self, latents: float) -> float | None:
        """Return the seconds that the UNet needs for so many latents; None if unmeasured."""
        return latents / LATENTS * self._known["sampling"] if self.measured else None

    def measure(self, run: Callable[[SampleConfig], object] | None = None) -> None:
        """Generate a little; the difference of two runs leaves out what every run costs.

        Args:
            run: Generates an image of MEASURED; None: on the models of this process.
        """
        took = []
        for steps in (1, 1, 4, 1, 4):  # the first one warms up; the best of two leaves out others
            began = time.perf_counter()
            if run is None:
                generate(MEASURED, self.core.models, self.core.basis, SampleConfig(steps=steps))
            else:
                run(SampleConfig(steps=steps))
            took.append(time.perf_counter() - began)
        few, many = min(took[1], took[3]), min(took[2], took[4])
        self._note("sampling", max(1e-4, (many - few) / 3))

    def assume(self, device: str, sampling: float | None = None) -> None:
        """Estimate for a device other than that of the loaded models.

        Args:
            device: Under which name what is learned is kept.
            sampling: Seconds of a sampling step, until it is learned; None: it is to be measured.
        """
        self._key = f"{self.core.models.id} on {device}"
        self._known = dict(self._stored().get(self._key, {}))
        if sampling is not None:
            self._known.setdefault("sampling", sampling)

    def learn_sampling(self, latents: float, seconds: float) -> None:
        """Take over, by half, what the UNet needed for so many latents."""
        if latents and seconds > 0:
            step = seconds * LATENTS / latents
            self._note("sampling", (self._known.get("sampling", step) + step) / 2)

    def learn(self, config: TrainConfig, people: int, steps: int, seconds: float) -> None:
        """Take over what a training took; a very short one is all preparation."""
        if steps >= FEWEST:
            step = seconds / self._steps(config, people, steps)
            self._note(config.preset, step)
            if self.measured:  # for the presets that have not been used yet
                self._note("correction", step / self._by_size(config))

    def _steps(self, config: TrainConfig, people: int, steps: int) -> float:
        """Return what a training costs, the regression over the names too, in steps for one."""
        share = joint_cost(people)
        size = config.batch_size * share
        names = min(NAMES, len(self.core.basis.names))
        compared = names * min(people * config.mapper.regression_batch, size)
        return steps * share + compared / (COST[config.loss.gradients] * config.batch_size)

    def _by_size(self, config: TrainConfig) -> float:
        """Return the seconds of a step for one person, by what it computes."""
        latents = COST[config.loss.gradients] * config.batch_size
        return latents * self._known["sampling"] / LATENTS

    def _note(self, key: str, seconds: float) -> None:
        with self._lock:
            self._known[key] = seconds
            try:
                stored = {**self._stored(), self._key: self._known}
                write_atomically(self._path, json.dumps(stored).encode())
            except CelebError as error:  # only an estimate
                log.warning("%s", error)

    def _stored(self) -> dict[str, dict[str, float]]:
        return {
            device: {what: float(seconds) for what, seconds in known.items()}
            for device, known in read_json(self._path).items()
            if isinstance(known, dict)
            and all(isinstance(s, int | float) and 0 < s < math.inf for s in known.values())
        }


def joint_cost(people: int) -> float:
    """Return what a step for several people costs in steps for one: their batches are smaller."""
    return people * (JOINT_SHARE if people > 1 else 1.0)
