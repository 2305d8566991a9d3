"""Train: choose people and a recipe, watch the loss fall and the person appear."""

from __future__ import annotations

from statistics import mean
from typing import Any, Literal

import gradio as gr

from celeb_core import CelebError
from ui.cards import Cards
from ui.curve import COLOURS, curve, legend
from ui.errors import explain, notice, safe
from ui.gpu_costs import priced
from ui.prepare import PrepareCard
from ui.price import TRAIN, wire_training
from ui.progress import bar, duration, joined, time_left
from ui.studio import PRIVATE, Shared
from ui.train_form import TrainForm
from ui.training_job import TrainJob, interrupted
from ui.training_start import start_training
from ui.welcome import Welcome
from ui.widgets import Updates, colour_key, gallery, gallery_of, message

EMPTY = (
    '<div class="empty"><p>No training yet.<br>Here you will see the loss fall and the person '
    "appear: the photo beside images of them, each with its identity score.</p></div>"
)
PREVIEWS = 12  # that are shown
Shown = tuple[str, str, int, int, int]
"""What a page shows of a job: id, status, number of losses, of previews and of results."""
NOTHING: Shown = ("", "", -1, -1, -1)
WORTH = 1.02  # times as many steps as the plot has: a longer curve is drawn less often


class TrainTab:
    """Widgets and what they do. Handlers take plain values and return component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.form, self.cards = TrainForm(shared), Cards(shared, self.job)
        self.prepare = PrepareCard(shared)

    # --- handlers -------------------------------------------------------------------------------

    def start(self, chosen: list[str], preset: str, steps: int, seed: int, session: str) -> Updates:
        """Queue a training, or say what is wrong."""
        workspace = self.shared.workspace(session)
        try:
            start_training(self.shared, workspace, chosen, preset, steps, seed)
        except CelebError as error:
            return {self.problem: notice(explain(error))}
        return {self.problem: ""}

    def stop(self, session: str) -> None:
        """Stop after the step under way; the state is stored."""
        if job := self.job(session):
            self.shared.runner.stop(job)

    def resume(self, session: str) -> Updates:
        """Go on where a stopped or interrupted training was."""
        job = self.cut_short(session)
        if job is None:
            return {self.problem: notice("There is no stopped training to go on with.")}
        try:
            self.shared.submit(job.again())
        except CelebError as error:
            return {self.problem: notice(explain(error))}
        return {self.problem: ""}

    def save(self, session: str) -> Updates:
        """Save the people as they are at this step."""
        job = self.job(session)
        if job is None or not job.savable:
            return {self.problem: notice("There is no stopped training to take people from.")}
        try:
            job.finish()
        except CelebError as error:
            return {self.problem: notice(explain(error))}
        text = f"Saved as after step {job.step}: {', '.join(job.names)}."
        return {self.problem: notice(text, kind="good")}

    def job(self, session: str) -> TrainJob | None:
        """Return the training of this workspace: under way, or the last one, or one cut short."""
        workspace = self.shared.workspace(session)
        job = self.shared.runner.latest(workspace.id, TrainJob)
        return job or self._interrupted(session)

    def cut_short(self, session: str) -> TrainJob | None:
        """Return a training to go on with: the last one if it was stopped, or an older one."""
        job = self.job(session)
        if job is None or job.live or job.resumable:
            return job if job and job.resumable else None
        return self._interrupted(session)

    def _interrupted(self, session: str) -> TrainJob | None:
        shared, workspace = self.shared, self.shared.workspace(session)
        return interrupted(shared.core, workspace, shared.estimates, shared.executor)

    def poll(self, shown: Shown, session: str) -> Updates:
        """Update what changed since the page was last updated."""
        job = self.job(session)
        if job is None:
            return {self.shown: NOTHING}
        live = job.live  # read first, so that the last poll is complete
        new = job.id != shown[0]
        steps = len(job.losses)
        if live and not new and not worth_drawing(steps, shown[2]):
            steps = shown[2]
        now: Shown = (job.id, job.status, steps, len(job.previews), len(job.results))
        older = None if live else self.cut_short(session)
        status = bar(job, describe(job), self.shared.runner.place(job))
        updates: Updates = {
            self.shown: now,
            self.status: status + notice(job.warning, kind="hint"),
            self.running: in_short(job) if live else "",
            # Once, when all are there: cards that are rendered twice at a time stay twice.
            self.cards.finished: "" if live else job.id,
            self.timer: gr.Timer(active=live),
            self.start_button: gr.update(interactive=not live),
            self.stop_button: gr.update(interactive=live),
            self.resume_button: gr.update(visible=older is not None, value=resume_label(older)),
            self.save_button: gr.update(visible=job.savable),
            self.compose_button: gr.update(visible=job.saved and not live),
            self.first: gr.update(visible=False),
        }
        if new or steps != shown[2]:
            # Not False: without its element the plot raises errors in the browser.
            visible: bool | Literal["hidden"] = True if drawable(job) else "hidden"
            updates[self.plot] = gr.update(value=curve(job.losses), visible=visible)
            updates[self.legend] = legend_of(job)
        if new or now[3] != shown[3]:
            updates[self.previews] = gallery_of(job.previews[-PREVIEWS:])
        return updates

    # --- widgets --------------------------------------------------------------------------------

    def build_outside(self) -> None:
        """Lay out what works on every tab: the line about the training under way, its timer."""
        self.running = gr.HTML(elem_id="train-running")
        self.timer = gr.Timer(self.shared.tick, active=False)
        self.cards.build_signal()

    def build(self, session: gr.Textbox, tab: gr.Tab) -> None:
        """Lay out the tab and wire what stays inside it."""
        self.shown = gr.State(NOTHING)
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self.prepare.build(tab)
                self.form.build(session)
                self._build_buttons()
            with gr.Column(scale=6, min_width=320):
                self._build_view(session)
        self.outputs = [
            self.shown, self.status, self.running, self.plot, self.legend, self.previews,
            self.cards.finished, self.timer, self.start_button, self.stop_button,
            self.resume_button, self.save_button, self.compose_button, self.first,
        ]  # fmt: skip
        self._wire(session, tab)

    def _build_buttons(self) -> None:
        with gr.Row():
            self.start_button = gr.Button(
                TRAIN, variant="primary", min_width=100, elem_id="train-start"
            )
            self.stop_button = gr.Button(
                "Stop", interactive=False, min_width=100, elem_id="train-stop"
            )
        with gr.Row():
            self.resume_button = gr.Button("Resume", visible=False, elem_id="train-resume")
            self.save_button = gr.Button("Save as it is", visible=False, elem_id="train-keep")
        self.problem = message("train-problem")

    def _build_view(self, session: gr.Textbox) -> None:
        self.status = message("train-status", EMPTY)
        with gr.Column() as self.first:  # while there is no training
            Welcome(self.shared).people("train-people")
        self.plot = gr.LinePlot(
            curve([]), x="step", y="loss", color="series", color_map=COLOURS, height=260,
            x_title="step", y_title="loss", label="Loss", buttons=[], visible=False,
            elem_id="train-plot",
        )  # fmt: skip
        self.legend = gr.HTML(elem_id="train-legend")
        self.previews = gallery("train-previews", "Previews", opens=True)
        self.cards.build(session)
        self.compose_button = gr.Button(
            "Use in Compose", variant="primary", visible=False, elem_id="train-compose"
        )

    def _wire(self, session: gr.Textbox, tab: gr.Tab) -> None:
        self.tick: dict[str, Any] = {
            "fn": self.poll,
            "inputs": [self.shown, session],
            "outputs": self.outputs,
            "queue": False,
            **PRIVATE,
        }
        self.timer.tick(**self.tick)
        form = self.form
        settings = [form.chosen, form.preset, form.steps, form.seed, session]
        for started in (
            self.start_button.click(self.start, settings, self.problem, **PRIVATE),
            self.resume_button.click(self.resume, session, self.problem, **PRIVATE),
            self.save_button.click(self.save, session, self.problem, **PRIVATE),
            self.stop_button.click(self.stop, session, None, queue=False, **PRIVATE),
        ):
            started.success(**self.tick)
        # How long it took is what the next one will take.
        finished = self.cards.finished.change
        finished(form.estimate, form.chosen, form.preset, queue=False, **PRIVATE)
        inputs = [form.chosen, form.preset, form.steps]
        wire_training(self.shared, self.start_button, inputs, [tab.select, finished])


def worth_drawing(steps: int, drawn: int) -> bool:
    """Return whether a curve of so many steps would look different from the one of `drawn`."""
    return steps >= WORTH * drawn


def drawable(job: TrainJob) -> bool:
    """Return whether there is a line to be drawn; one point is none."""
    return len(job.losses) > 1


def legend_of(job: TrainJob) -> str:
    """Format which line is which, as HTML."""
    if not drawable(job):
        return ""
    return colour_key(legend(job.names))


def resume_label(job: TrainJob | None) -> str:
    """Return the text of the button that goes on with a training."""
    if job is None:
        return "Resume"
    label, costs = f"Resume {', '.join(job.names)} at step {job.step}", job.executor.costs
    if costs is None:
        return label
    return priced(label, costs.training(job.config, len(job.trainees), job.step))


def in_short(job: TrainJob) -> str:
    """Format what every tab tells of a training that is not over, as HTML."""
    names = ", ".join(job.names)
    if job.status == "queued":
        return f"<p>{safe(names)}: waiting for the device</p>"
    return f"<p>{safe(joined(f'Training {names}', _steps(job), time_left(job)))}</p>"


def describe(job: TrainJob) -> str:
    """Describe step, loss and time."""
    names = ", ".join(job.names)
    loss = f"loss {mean(job.losses[-1][1]):.4f}" if job.losses else ""
    facts = (f"preset {job.config.preset}", _steps(job), loss)
    if job.status == "done":
        ready = "ready, without any training"
        how = f"trained in {duration(job.trained)}" if job.config.steps else ready
        return joined(f"{names}: {how}", *facts)
    if job.status == "stopped":
        how = "saved" if job.saved else "stopped, can be resumed" if job.resumable else "stopped"
        return joined(f"{names}: {how}", *facts)
    elapsed = f"{job.seconds:.1f} s"  # with a decimal, so that one sees it live
    return joined(f"{job.note}: {names}", *facts, elapsed, time_left(job))


def _steps(job: TrainJob) -> str:
    return f"step {job.step} of {job.config.steps}" if job.config.steps else ""
