"""Train: choose people and a recipe, watch the loss fall and the person appear."""

from __future__ import annotations

from dataclasses import replace
from statistics import mean
from typing import Any

import gradio as gr

from celeb_core import PRESETS, CelebError
from ui.cards import Cards
from ui.curve import COLOURS, curve, legend
from ui.errors import explain, notice, safe
from ui.parts import colour_key, gallery, message, pictures
from ui.progress import bar, duration, joined, time_left
from ui.studio import PRIVATE, TICK, Shared
from ui.training_job import TrainJob, interrupted
from ui.whom import Whom

EMPTY = (
    '<div class="empty"><p>No training yet.<br>Here you will see the loss fall and the person '
    "appear.</p></div>"
)
PREVIEWS = 12  # that are shown
Seen = tuple[str, str, int, int, int]  # what a page has of a job: id, status and three counts
WORTH = 1.02  # times as many points as the plot has: a longer curve is drawn less often
NOTHING_SEEN: Seen = ("", "", -1, -1, -1)


class TrainTab:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.whom, self.cards = Whom(shared), Cards(shared, self.job)

    # --- handlers -------------------------------------------------------------------------------

    def start(self, chosen: list[str], preset: str, steps: int, seed: int, session: str) -> str:
        """Queue a training -> what is wrong, if something is."""
        workspace = self.shared.workspace(session)
        trainees = [workspace.trainees[id] for id in chosen or [] if id in workspace.trainees]
        if not trainees:
            return notice("Choose at least one person. New faces come from the Faces tab.")
        config = replace(PRESETS[preset], seed=int(seed or 0))
        if steps and config.steps:
            config = replace(config, steps=int(steps))
        job = TrainJob(
            owner=workspace.id,
            core=self.shared.core,
            workspace=workspace,
            trainees=trainees,
            config=config,
            pace=self.shared.pace,
            total=config.steps,
        )
        self.shared.runner.submit(job)
        return ""

    def stop(self, session: str) -> None:
        """Stop after the step under way; the state is kept."""
        if job := self.job(session):
            self.shared.runner.stop(job)

    def resume(self, session: str) -> str:
        """Go on where a stopped or interrupted training was."""
        job = self.cut_short(session)
        if job is None:
            return notice("There is no stopped training to go on with.")
        self.shared.runner.submit(job.again())
        return ""

    def keep(self, session: str) -> str:
        """Take the people as they are at this step."""
        job = self.job(session)
        if job is None or not job.keepable:
            return notice("There is no stopped training to take people from.")
        try:
            job.finish()
        except CelebError as error:
            return notice(explain(error))
        return notice(f"Saved as after step {job.step}: {', '.join(job.names)}.", kind="good")

    def job(self, session: str) -> TrainJob | None:
        """The training of this workspace: under way, or the last one, or one cut short."""
        workspace = self.shared.workspace(session)
        job = self.shared.runner.latest(workspace.id, TrainJob)
        return job or interrupted(self.shared.core, workspace, self.shared.pace)

    def cut_short(self, session: str) -> TrainJob | None:
        """A training to go on with: the last one if it was stopped, or an older one."""
        job = self.job(session)
        if job is None or job.live or job.resumable:
            return job if job and job.resumable else None
        workspace = self.shared.workspace(session)
        return interrupted(self.shared.core, workspace, self.shared.pace)

    def poll(self, seen: Seen, session: str) -> list[Any]:
        """What changed since the page last looked, in the order of `watched`."""
        job = self.job(session)
        if job is None:
            return [NOTHING_SEEN, *[gr.skip()] * (len(self.watched) - 1)]
        live = job.live  # read first, so that the last look is complete
        count = len(job.losses)
        if live and job.id == seen[0] and not worth_drawing(count, seen[2]):
            count = seen[2]
        now: Seen = (job.id, job.status, count, len(job.previews), len(job.results))
        same = [new == old for new, old in zip(now, seen, strict=True)]
        anew = not same[0]
        older = None if live else self.cut_short(session)
        ahead = self.shared.runner.ahead(job)
        return [
            now,
            bar(job, describe(job), ahead) + notice(job.warning, kind="hint"),
            in_short(job) if live else "",
            self._plot(job) if anew or not same[2] else gr.skip(),
            legend_of(job) if anew or not same[2] else gr.skip(),
            gr.skip() if same[3] and not anew else pictures(job.previews[-PREVIEWS:]),
            # Once, when all are there: cards that are drawn twice at a time stay twice.
            "" if live else job.id,
            gr.Timer(active=live),
            gr.update(interactive=not live),
            gr.update(interactive=live),
            gr.update(visible=older is not None, value=resume_label(older)),
            gr.update(visible=job.keepable),
            gr.update(visible=job.saved and not live),
        ]

    def _plot(self, job: TrainJob) -> Any:
        return gr.update(value=curve(job.losses), visible=drawable(job))

    # --- widgets --------------------------------------------------------------------------------

    def build_outside(self) -> None:
        """What is there whichever tab is open: a line about the training under way, a signal."""
        self.running = gr.HTML(elem_id="train-running")
        self.cards.build_signal()

    def build(self, session: gr.BrowserState) -> None:
        """Lay out the tab and wire what stays inside it."""
        self.seen = gr.State(NOTHING_SEEN)
        self.timer = gr.Timer(TICK, active=False)
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self.whom.build()
                self._build_buttons()
            with gr.Column(scale=6, min_width=320):
                self._build_view(session)
        self._wire(session)

    def _build_buttons(self) -> None:
        with gr.Row():
            self.go = gr.Button(
                "Start training", variant="primary", min_width=100, elem_id="train-start"
            )
            self.halt = gr.Button("Stop", interactive=False, min_width=100, elem_id="train-stop")
        with gr.Row():
            self.again = gr.Button("Resume", visible=False, elem_id="train-resume")
            self.take = gr.Button("Keep as it is", visible=False, elem_id="train-keep")
        self.problem = message("train-problem")

    def _build_view(self, session: gr.BrowserState) -> None:
        self.status = message("train-status", EMPTY)
        self.plot = gr.LinePlot(
            curve([]), x="step", y="loss", color="series", color_map=COLOURS, height=260,
            x_title="step", y_title="loss", label="Loss", buttons=[], visible=False,
            elem_id="train-plot",
        )  # fmt: skip
        self.legend = gr.HTML(elem_id="train-legend")
        self.previews = gallery("train-previews", "On the way", opens=True)
        self.cards.build(session)
        self.carry_on = gr.Button(
            "Use in Compose", variant="primary", visible=False, elem_id="train-compose"
        )
        self.watched = [
            self.seen, self.status, self.running, self.plot, self.legend, self.previews,
            self.cards.finished, self.timer, self.go, self.halt, self.again, self.take,
            self.carry_on,
        ]  # fmt: skip

    def _wire(self, session: gr.BrowserState) -> None:
        self.whom.wire(session)
        self.tick: dict[str, Any] = {
            "fn": self.poll,
            "inputs": [self.seen, session],
            "outputs": self.watched,
            "queue": False,
            **PRIVATE,
        }
        self.timer.tick(**self.tick)
        whom = self.whom
        form = [whom.chosen, whom.preset, whom.steps, whom.seed, session]
        self.go.click(self.start, form, self.problem, **PRIVATE).success(**self.tick)
        self.halt.click(self.stop, session, None, queue=False, **PRIVATE).success(**self.tick)
        self.again.click(self.resume, session, self.problem, **PRIVATE).success(**self.tick)
        self.take.click(self.keep, session, self.problem, **PRIVATE).success(**self.tick)
        # How long it took is what the next one will take.
        known = self.cards.finished.change
        known(whom.recipes, whom.chosen, whom.preset, queue=False, **PRIVATE)


def worth_drawing(count: int, shown: int) -> bool:
    """Whether a curve of so many steps would look different from the one that is shown."""
    return count >= WORTH * shown


def drawable(job: TrainJob) -> bool:
    """Whether there is a line to be seen; one point is none."""
    return len(job.losses) > 1


def legend_of(job: TrainJob) -> str:
    """Which line is which, as HTML."""
    if not drawable(job):
        return ""
    return colour_key(legend(job.names))


def resume_label(job: TrainJob | None) -> str:
    """Whom the button goes on with."""
    return f"Resume {', '.join(job.names)} at step {job.step}" if job else "Resume"


def in_short(job: TrainJob) -> str:
    """What is known on every tab of a training that is not over, as HTML."""
    who = ", ".join(job.names)
    if job.status == "queued":
        return f"<p>{safe(who)}: waiting for the device</p>"
    steps = f"step {job.step} of {job.config.steps}" if job.config.steps else ""
    return f"<p>{safe(joined(f'Training {who}', steps, time_left(job)))}</p>"


def describe(job: TrainJob) -> str:
    """Step, loss and time in words."""
    who = ", ".join(job.names)
    recipe = f"recipe {job.config.preset}"
    steps = f"step {job.step} of {job.config.steps}" if job.config.steps else ""
    loss = f"loss {mean(job.losses[-1][1]):.4f}" if job.losses else ""
    if job.status == "done":
        how = f"trained in {duration(job.trained)}" if steps else "ready, without any training"
        return joined(f"{who}: {how}", recipe, steps, loss)
    if job.status == "stopped":
        how = "saved" if job.saved else "stopped, can be resumed" if job.resumable else "stopped"
        return joined(f"{who}: {how}", recipe, steps, loss)
    elapsed = f"{job.seconds:.1f} s"  # with a decimal, so that one sees it live
    return joined(f"{job.note}: {who}", recipe, steps, loss, elapsed, time_left(job))
