"""Train: choose people and a recipe, watch the loss fall and the person appear."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import gradio as gr

from celeb_core import PRESETS, CelebError
from ui.curve import COLOURS, curve, legend
from ui.errors import explain, notice, safe
from ui.jobs import Drawn
from ui.parts import colour_key, gallery, message, pictures, signal
from ui.progress import about, bar, duration, joined, time_left
from ui.studio import PRIVATE, TICK, Shared
from ui.training_job import TrainJob, interrupted, likeness
from ui.workspace import Trainee

RECIPES = {
    "instant": "Instant: no training, a first likeness",
    "fast": "Fast: {steps} steps",
    "best": "Best: {steps} steps",
    "paper": "Paper: the published recipe, {steps} steps",
}
NOBODY = '<div class="empty">Nobody to train yet.<br>Choose a face on the Faces tab first.</div>'
PREVIEWS = 12  # that are shown
Seen = tuple[str, str, int, int, int]  # what a page has of a job: id, status and three counts
WORTH = 1.02  # times as many points as the plot has: a longer curve is drawn less often
NOTHING_SEEN: Seen = ("", "", -1, -1, -1)


@dataclass(frozen=True)
class Result:
    """A trained person: the photo's owner, the pictures, the file."""

    trainee: Trainee
    drawn: list[Drawn]
    file: Path


class TrainTab:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    # --- handlers -------------------------------------------------------------------------------

    def refresh(self, chosen: list[str], session: str) -> list[Any]:
        """The people who can be trained; newcomers are chosen, known ones stay as they are."""
        workspace = self.shared.workspace(session)
        choices = [(t.name, t.id) for t in workspace.trainees.values()]
        trained = workspace.people()
        fresh = [t.id for t in workspace.trainees.values() if t.name not in trained]
        kept = [id for id in chosen or [] if id in workspace.trainees]
        value = list(dict.fromkeys([*kept, *fresh]))
        rows = [(t.faces[0].image, t.name) for t in workspace.trainees.values()]
        return [
            gr.update(value=rows, visible=bool(rows), selected_index=None),
            gr.update(choices=choices, value=value, visible=bool(choices)),
            gr.update(visible=not choices),
            self.recipes(value),
        ]

    def recipes(self, chosen: list[str]) -> Any:
        """The presets, each with the time that it will take for the chosen people."""
        calibrated = self.shared.core.calibration is not None
        choices = []
        for key, text in RECIPES.items():
            if key == "instant" and not calibrated:  # there would be nothing to guess from
                continue
            seconds = self.shared.pace.estimate(PRESETS[key], max(1, len(chosen or [])))
            time = about(seconds) if seconds is not None else ""
            choices.append((joined(text.format(steps=PRESETS[key].steps), time), key))
        return gr.update(choices=choices)

    def toggle(self, chosen: list[str], session: str, event: gr.SelectData) -> list[Any]:
        """A click on a face chooses that person, or not any more."""
        ids = dict(enumerate(self.shared.workspace(session).trainees))
        id = ids.get(int(event.index))
        rest = [other for other in chosen or [] if other != id]
        known = id is None or id in (chosen or [])
        return [gr.update(selected_index=None), rest if known else [*rest, id]]

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
        return [
            now,
            bar(job, describe(job), self.shared.runner.ahead(job))
            + notice(job.warning, kind="hint"),
            self._plot(job) if anew or not same[2] else gr.skip(),
            legend_of(job) if anew else gr.skip(),
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
        return gr.update(value=curve(job.losses), visible=job.config.steps > 0)

    def results(self, session: str) -> list[Result]:
        """Each person of the last training, with what came out."""
        job = self.job(session)
        if job is None or job.live or not job.results:
            return []
        shelf = self.shared.workspace(session).shelf
        found = []
        for trainee in job.trainees:
            drawn = [picture for picture in job.results if picture.about == trainee.name]
            try:
                file = shelf.file(trainee.name)
            except CelebError:  # deleted or renamed since
                continue
            found.append(Result(trainee, drawn, file))
        return found

    # --- widgets --------------------------------------------------------------------------------

    def build_signal(self) -> None:
        """What starts the drawing of the cards; outside of the tabs, so that it is always there."""
        self.finished = signal("train-finished")

    def build(self, session: gr.BrowserState) -> None:
        """Lay out the tab and wire what stays inside it."""
        self.seen = gr.State(NOTHING_SEEN)
        self.timer = gr.Timer(TICK, active=False)
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self._build_choices()
            with gr.Column(scale=6, min_width=320):
                self._build_view(session)
        self._wire(session)

    def _build_choices(self) -> None:
        self.nobody = gr.HTML(NOBODY)
        self.faces = gallery("train-faces", "People")
        self.who = gr.CheckboxGroup(
            [], label="Whom to train", show_label=False, visible=False, elem_id="train-who"
        )
        self.preset = gr.Radio(
            self.recipes([])["choices"], value="best", label="Recipe", elem_id="train-preset",
            info="More steps: a better likeness.",
        )  # fmt: skip
        self.people = [self.faces, self.who, self.nobody, self.preset]
        with gr.Accordion("Advanced", open=False):
            self.steps = gr.Number(
                None, label="Steps", info="Empty: as many as the recipe says.", precision=0,
                minimum=1, maximum=5000, elem_id="train-steps",
            )  # fmt: skip
            self.seed = gr.Number(0, label="Seed", precision=0, minimum=0)
        with gr.Row():
            self.go = gr.Button(
                "Start training", variant="primary", min_width=100, elem_id="train-start"
            )
            self.halt = gr.Button("Stop", interactive=False, min_width=100, elem_id="train-stop")
        with gr.Row():
            self.again = gr.Button("Resume", visible=False, elem_id="train-resume")
            self.take = gr.Button("Keep as it is", visible=False, elem_id="train-keep")
        self.problem = message("train-problem")

    def _cards(self, session: str) -> None:
        """Before and after, for every person."""
        for number, result in enumerate(self.results(session)):
            before = (result.trainee.faces[0].image, "the photo")
            after = [(str(d.path), likeness(d.settings["identity"])) for d in result.drawn]
            with gr.Column(elem_classes="panel"):
                pictures_of = f"train-card-{number}", result.trainee.name, [before, *after]
                gallery(*pictures_of, size="medium", opens=True)
                with gr.Row(elem_classes="actions"):
                    gr.HTML(f'<p class="lead">{safe(summary(result))}</p>')
                    gr.DownloadButton(
                        "Download", value=str(result.file), size="sm", min_width=90,
                        elem_id=f"train-download-{number}",
                    )  # fmt: skip

    def _build_view(self, session: gr.BrowserState) -> None:
        self.status = message("train-status", '<p class="lead">No training yet.</p>')
        self.plot = gr.LinePlot(
            curve([]), x="step", y="loss", color="series", color_map=COLOURS, height=260,
            x_title="step", y_title="loss", label="Loss", buttons=[], visible=False,
            elem_id="train-plot",
        )  # fmt: skip
        self.legend = gr.HTML(elem_id="train-legend")
        self.previews = gallery("train-previews", "On the way", opens=True)
        with gr.Column(elem_id="train-results"):
            gr.render(inputs=session, triggers=[self.finished.change])(self._cards)
        self.carry_on = gr.Button(
            "Use in Compose", variant="primary", visible=False, elem_id="train-compose"
        )
        self.watched = [
            self.seen, self.status, self.plot, self.legend, self.previews, self.finished,
            self.timer, self.go, self.halt, self.again, self.take, self.carry_on,
        ]  # fmt: skip

    def _wire(self, session: gr.BrowserState) -> None:
        self.tick: dict[str, Any] = {
            "fn": self.poll,
            "inputs": [self.seen, session],
            "outputs": self.watched,
            "queue": False,
            **PRIVATE,
        }
        self.timer.tick(**self.tick)
        form = [self.who, self.preset, self.steps, self.seed, session]
        self.go.click(self.start, form, self.problem, **PRIVATE).success(**self.tick)
        self.faces.select(self.toggle, [self.who, session], [self.faces, self.who], **PRIVATE)
        self.who.change(self.recipes, self.who, self.preset, queue=False, **PRIVATE)
        self.halt.click(self.stop, session, None, queue=False, **PRIVATE).success(**self.tick)
        self.again.click(self.resume, session, self.problem, **PRIVATE).success(**self.tick)
        self.take.click(self.keep, session, self.problem, **PRIVATE).success(**self.tick)


def worth_drawing(count: int, shown: int) -> bool:
    """Whether a curve of so many steps would look different from the one that is shown."""
    return count >= WORTH * shown


def legend_of(job: TrainJob) -> str:
    """Which line is which, as HTML."""
    if not job.config.steps:
        return ""
    return colour_key(legend(job.names))


def summary(result: Result) -> str:
    """Likeness over the pictures, and the size of the file."""
    scores = [d.settings["identity"] for d in result.drawn]
    known = [score for score in scores if score is not None]
    size = f"{result.file.stat().st_size / 1000:.1f} KB"
    return joined(likeness(mean(known) if known else None), f"identity file of {size}")


def resume_label(job: TrainJob | None) -> str:
    """Whom the button goes on with."""
    return f"Resume {', '.join(job.names)} at step {job.step}" if job else "Resume"


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
