"""The first measurement of a device, as a job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from celeb_core import SampleConfig
from ui.executor import Executor, InProcess
from ui.jobs import Job
from ui.time_estimate import MEASURED, TimeEstimates


@dataclass(eq=False, kw_only=True)
class EstimateJob(Job):
    """The first measurement, before anybody waits for the device."""

    estimates: TimeEstimates
    executor: Executor = field(default_factory=InProcess)

    def run(self) -> Literal["done", "stopped"]:
        """Make a dozen sampling steps, wherever the GPU work of jobs is done."""
        self.estimates.measure(self._generate)
        return "done"

    def _generate(self, config: SampleConfig) -> None:
        for _ in self.executor.generate(self.estimates.core, [((MEASURED,), config)]):
            pass
