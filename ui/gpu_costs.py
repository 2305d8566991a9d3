"""How long work will need the GPU where its seconds are declared, and counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from celeb_core import Prompt, SampleConfig, TrainConfig
from celeb_core.cli.doctor import LATENTS
from celeb_core.sampling import image_size
from ui.time_estimate import RESULTS, TimeEstimates

MOST = 40  # seconds that are declared for one call
OVERHEAD = 8.0  # seconds of a call for moving the model, encoding views, returning results
MARGIN = 1.25  # on what is estimated
WORK = (MOST - OVERHEAD) / MARGIN  # estimated seconds that fit one call
IMAGE = 0.5  # seconds of an image beside its denoising steps


class GpuCosts:
    """Estimates in seconds of GPU time; they get better with every task that was done.

    Args:
        estimates: Measured, or assumed.
        factor: Of counted seconds to real ones.
    """

    def __init__(self, estimates: TimeEstimates, factor: float = 1.0) -> None:
        self.estimates, self.factor = estimates, factor

    def images(self, prompts: Sequence[Prompt], config: SampleConfig) -> float:
        """Return the seconds of one image of each prompt."""
        work = self.estimates.sampling(self.latents(prompts, config)) or 0.0
        return work + IMAGE * len(prompts)

    def latents(self, prompts: Iterable[Prompt], config: SampleConfig) -> float:
        """Return what the UNet predicts for the images, in latents of the model's own size."""
        core = self.estimates.core
        models = core.models
        steps = models.steps if config.steps is None else config.steps
        sizes = [image_size(prompt, models, core.basis.names, config) for prompt in prompts]
        areas = [width * height / (models.width * models.height) for width, height in sizes]
        return LATENTS * steps * sum(areas)

    def regression(self, config: TrainConfig, people: int) -> float:
        """Return the seconds of the regression over the names; 0 with a calibration."""
        return self.estimates.training(config, people, 0) or 0.0

    def step(self, config: TrainConfig, people: int) -> float:
        """Return the seconds of one training step."""
        one = self.estimates.training(config, people, 1) or 0.0
        return one - self.regression(config, people)

    def training(self, config: TrainConfig, people: int, done: int = 0) -> int:
        """Return the counted seconds of a training and its images; 0 steps need no GPU.

        Args:
            config: Of the training.
            people: How many are trained together.
            done: Steps that have been made.
        """
        if not config.steps:
            return 0
        trained = self.estimates.training(config, people, config.steps) or 0.0
        if done:
            trained -= self.estimates.training(config, people, done) or 0.0
        sampling = self.estimates.sampling(LATENTS * people * RESULTS * self._steps()) or 0.0
        calls = math.ceil(trained / WORK) + 1
        return self.counted(trained + sampling + IMAGE * people * RESULTS, calls)

    def default_images(self, count: int) -> int:
        """Return the counted seconds of images as the model generates them by default."""
        work = (self.estimates.sampling(LATENTS * self._steps()) or 0.0) + IMAGE
        return self.counted(count * work, math.ceil(count * work / WORK))

    def counted(self, work: float, calls: int) -> int:
        """Return the seconds that are counted for so many calls with this much work in all."""
        return math.ceil(self.factor * (work + calls * OVERHEAD / 2))

    def _steps(self) -> int:
        return self.estimates.core.models.steps


def declared(work: float) -> int:
    """Return the seconds to declare for a call with this much estimated work."""
    return min(MOST, math.ceil(OVERHEAD + MARGIN * work))


def cost_text(seconds: int) -> str:
    """Format what something costs a visitor whose GPU seconds are counted."""
    return f"about {seconds} s of GPU quota" if seconds else "no GPU quota"


def priced(label: str, seconds: int) -> str:
    """Return the label of a button with what it costs."""
    return f"{label} · {cost_text(seconds)}"
