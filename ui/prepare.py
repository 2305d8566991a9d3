"""Preparation of the loaded model: the card that offers it on the Train tab, and its job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from celeb_core.errors import CelebError
from celeb_core.files import check_writable
from celeb_core.formats.calibration_file import save_calibration
from celeb_core.prepare.preparation import LEVELS, planned_cost, prepare_model
from celeb_core.studio import calibration_path, with_calibration
from ui.errors import explain, notice, safe
from ui.jobs import Job
from ui.progress import about, bar, joined, time_left
from ui.studio import PRIVATE, Shared
from ui.widgets import Updates, message

TITLE = '<h2 class="section">This model is not prepared yet</h2>'
WHY = (
    "Preparing it once makes trainings shorter and lets the model find its own settings: portraits "
    "of its celebrities are generated, an initialisation is computed from them (the recipe "
    "Instant), and some of the celebrities check the result. You can train without it, too."
)
OWNER = "Whoever runs this page can prepare it: <code>celeb-basis prepare --model {model}</code>."
LABELS = {
    "quick": "Quick: {names} portraits",
    "full": "Full: {names} portraits, and a search of the training settings",
}


@dataclass(eq=False, kw_only=True)
class PrepareJob(Job):
    """Prepare the model and let the page use the result, without a restart."""

    shared: Shared
    level: str

    def run(self) -> Literal["done", "stopped"]:
        """What is done stays, for the next try."""
        core = self.shared.core
        assert core.cache is not None  # where the card is offered
        path = calibration_path(core.models, core.faces, core.cache)
        for step in prepare_model(core, path.with_suffix(""), self.level):
            self.done, self.total, self.note = step.done, step.total, step.note
            self.seconds_left = step.seconds_left
            if step.result is not None:
                save_calibration(step.result, path)
                self.shared.use(with_calibration(core, step.result))
            elif self.told_to_stop():
                return "stopped"
        return "done"


class PrepareCard:
    """Widgets and what they do, where the page started with a model that is not prepared."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.wanted = shared.core.calibration is None
        own = shared.executor.here and not shared.isolated  # device and page
        self.offered = self.wanted and own and shared.core.cache is not None

    # --- handlers -------------------------------------------------------------------------------

    def job(self) -> PrepareJob | None:
        """Return the preparation under way, or the last one."""
        return self.shared.runner.latest("", PrepareJob)

    def start(self, level: str) -> Updates:
        """Queue the preparation."""
        if not self.shared.core.faces.ready:
            return {self.status: notice("Choose a face pack on the Faces tab first.")}
        job, cache = self.job(), self.shared.core.cache
        try:
            if cache is not None:
                check_writable(cache)
        except CelebError as error:
            return {self.status: notice(explain(error))}
        if job is None or not job.live:
            self.shared.submit(PrepareJob(owner="", shared=self.shared, level=level))
        return {self.timer: gr.Timer(active=True)}

    def stop(self) -> None:
        """Stop after the batch under way; what is done stays for the next try."""
        if job := self.job():
            self.shared.runner.stop(job)

    def refresh(self) -> Updates:
        """Show how far it is; the card goes when the model is prepared."""
        job = self.job()
        live = job is not None and job.live
        return {
            self.card: gr.update(visible=self.shared.core.calibration is None),
            self.levels: gr.update(choices=self._choices(), interactive=not live),
            self.status: bar(job, describe(job), self.shared.runner.place(job)) if job else "",
            self.timer: gr.Timer(active=live),
            self.start_button: gr.update(interactive=not live),
            self.stop_button: gr.update(visible=live),
        }

    def _choices(self) -> list[tuple[str, str]]:
        core, estimates = self.shared.core, self.shared.estimates
        choices = []
        for level, text in LABELS.items():
            seconds = estimates.sampling(planned_cost(LEVELS[level], core))
            time = about(seconds) if seconds is not None else ""
            names = min(LEVELS[level].names, len(core.basis.names))
            choices.append((joined(text.format(names=names), time), level))
        return choices

    # --- widgets --------------------------------------------------------------------------------

    def build(self, tab: gr.Tab) -> None:
        """Lay out the card and wire it; visitors of a shared page only read it."""
        if not self.wanted:
            return
        with gr.Column(elem_id="train-prepare", elem_classes="boxed") as self.card:
            model = safe(self.shared.core.models.id)
            more = "" if self.offered else OWNER.format(model=model)
            gr.HTML(f'{TITLE}<p class="lead">{WHY} {more}</p>')
            if self.offered:
                self._build_controls(tab)

    def _build_controls(self, tab: gr.Tab) -> None:
        self.levels = gr.Radio(
            self._choices(), value="quick", label="How thoroughly", elem_id="train-prepare-level"
        )
        with gr.Row():
            self.start_button = gr.Button("Prepare", min_width=100, elem_id="train-prepare-start")
            self.stop_button = gr.Button(
                "Stop", visible=False, min_width=100, elem_id="train-prepare-stop"
            )
        self.status = message("train-prepare-status")
        self.timer = gr.Timer(self.shared.tick, active=False)
        self.tick: dict[str, Any] = {
            "fn": self.refresh,
            "inputs": None,
            "outputs": [
                self.card, self.levels, self.status, self.timer, self.start_button,
                self.stop_button,
            ],
            "queue": False,
            **PRIVATE,
        }  # fmt: skip
        self.timer.tick(**self.tick)
        tab.select(**self.tick)
        self.start_button.click(self.start, self.levels, [self.status, self.timer], **PRIVATE)
        self.stop_button.click(self.stop, None, None, queue=False, **PRIVATE)


def describe(job: PrepareJob) -> str:
    """Describe what it does and how long it will take."""
    if job.status == "stopped":
        return "Stopped: the next try goes on from here"
    return joined(job.note.capitalize(), time_left(job))
