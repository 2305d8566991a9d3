"""The demo as the page shows it: a button, four steps with real progress, what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from celeb_core import CelebError
from celeb_core.types import recipe
from ui import gallery as images_of
from ui.demo import PRESET, DemoTraining, start_demo
from ui.errors import explain, notice, safe
from ui.gpu_costs import priced
from ui.jobs import SavedImage
from ui.progress import about, bar
from ui.studio import PRIVATE, Shared
from ui.train import describe
from ui.widgets import Updates, gallery, gallery_of, message, reveal

LABEL = "Show me with an example face"
LEAD = (
    "Trains the next of these faces for {steps} steps and generates images of it, while you watch. "
    "Nothing has to be uploaded."
)
TITLES = ("Photo", "Training", "Prompt", "Image")
CURRENT = ' aria-current="step"'


@dataclass(frozen=True)
class Displayed:
    """What a page displays of a demo: its id, and how many images."""

    id: str = ""
    images: int = -1


class DemoPanel:
    """Widgets and what they do.

    Args:
        shared: What the tabs share.
    """

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    # --- handlers -------------------------------------------------------------------------------

    def start(self, session: str) -> str:
        """Begin a demo; return what is wrong as HTML, or ""."""
        try:
            start_demo(self.shared, self.shared.workspace(session))
        except CelebError as error:
            return notice(explain(error))
        return ""

    def cancel(self, session: str) -> None:
        """Stop the step under way; what is finished stays."""
        if job := self.job(session):
            self.shared.runner.stop(job.images or job)

    def job(self, session: str) -> DemoTraining | None:
        """Return the last demo of this workspace."""
        workspace = self.shared.workspace(session)
        return self.shared.runner.latest(workspace.id, DemoTraining)

    def person(self, session: str) -> list[str]:
        """Return who was trained, if that is over."""
        job = self.job(session)
        return job.names if job and job.saved else []

    def poll(self, displayed: Displayed, session: str) -> Updates:
        """Show where the demo is, and the images that there are."""
        job = self.job(session)
        if job is None:
            return {self.displayed: Displayed()}
        live = is_live(job)  # read first, so that the last poll is complete
        rows = self._rows(job)
        now = Displayed(job.id, len(rows))
        updates: Updates = {
            self.displayed: now,
            self.panel: gr.update(visible=True),
            self.steps: self._steps(job),
            self.timer: gr.Timer(active=live),
            self.button: gr.update(interactive=not live),
            self.halt: gr.update(visible=live),
            self.use: gr.update(visible=job.saved and not live),
        }
        if now != displayed:
            updates[self.gallery] = gallery_of(rows)
        return updates

    def _rows(self, job: DemoTraining) -> list[SavedImage]:
        """Return all that was generated of the person."""
        images = list(job.images.images) if job.images else []
        return [*job.results, *images]

    def _steps(self, job: DemoTraining) -> str:
        place, name = self.shared.runner.place, job.names[0]
        photo = f"{name}: one photo, one face, 512 numbers of it (the face embedding)."
        trained = f"{name} is in the library: 1,024 numbers. {describe(job)}."
        over = job.saved and not job.live
        training = _text(trained) if over else bar(job, describe(job), place(job))
        texts = [_text(photo), training, _text(job.prompt), notice(job.warning, kind="hint")]
        if not over:
            return steps_html(texts, 1)
        if job.images is None:
            return steps_html(texts, 3)
        texts[3] += bar(job.images, images_of.describe(job.images), place(job.images))
        return steps_html(texts, len(TITLES) if job.images.status == "done" else 3)

    # --- widgets --------------------------------------------------------------------------------

    def label(self) -> str:
        """Return the button's text, with what it costs where that is counted."""
        executor, core = self.shared.executor, self.shared.core
        costs, config = executor.costs, recipe(PRESET, core.calibration)
        if costs is None:
            seconds = self.shared.estimates.estimate(config, 1)
            return LABEL if seconds is None else f"{LABEL} · {about(seconds)}"
        training = costs.training(executor.fitting(config, 1), 1)
        return priced(LABEL, training + costs.default_images(1))

    def build_button(self) -> None:
        """What starts it, below the example faces."""
        steps = recipe(PRESET, self.shared.core.calibration).steps
        self.button = gr.Button(self.label(), variant="primary", elem_id="demo-start")
        gr.HTML(f'<p class="lead small">{LEAD.format(steps=steps)}</p>')
        self.problem = message("demo-problem")

    def build(self) -> None:
        """The steps, hidden until there is a demo."""
        self.displayed = gr.State(Displayed())
        self.timer = gr.Timer(self.shared.tick, active=False)
        with gr.Column(visible=False, elem_id="demo", elem_classes="boxed") as self.panel:
            gr.HTML('<h2 class="section">From one photo to an image</h2>')
            self.steps = message("demo-steps")
            self.gallery = gallery("demo-images", "Generated images", size="medium", opens=True)
            with gr.Row(elem_classes="actions"):
                self.halt = gr.Button("Cancel", size="sm", elem_id="demo-cancel")
                self.use = gr.Button(
                    "Write a prompt of your own", size="sm", visible=False, elem_id="demo-use"
                )
        self.outputs: list[Block] = [
            self.displayed, self.panel, self.steps, self.gallery, self.timer, self.button,
            self.halt, self.use,
        ]  # fmt: skip

    def wire(self, session: gr.Textbox) -> Any:
        """Wire it; return the event after which a demo may be under way."""
        self.tick: dict[str, Any] = {
            "fn": self.poll,
            "inputs": [self.displayed, session],
            "outputs": self.outputs,
            "queue": False,
            **PRIVATE,
        }
        self.timer.tick(**self.tick)
        self.halt.click(self.cancel, session, None, queue=False, **PRIVATE).success(**self.tick)
        started = self.button.click(self.start, session, self.problem, **PRIVATE)
        started.success(**self.tick).success(None, None, None, js=reveal("demo"))
        return started


def is_live(job: DemoTraining) -> bool:
    """Return whether a demo goes on."""
    return job.live or (job.images is not None and job.images.live)


def steps_html(texts: list[str], at: int) -> str:
    """Format the steps as HTML.

    Args:
        texts: Of each, as HTML.
        at: Index of the step under way; the ones before it are done.
    """
    states = ["done" if index < at else "now" if index == at else "" for index in range(len(texts))]
    rows = zip(TITLES, texts, states, strict=True)
    items = "".join(
        f'<li class="{state}"{CURRENT if state == "now" else ""}><b>{title}</b>{text}</li>'
        for title, text, state in rows
    )
    return f'<ol class="demo">{items}</ol>'


def _text(text: str) -> str:
    return f"<p>{safe(text)}</p>" if text else ""
