"""What a training has made of each person: before and after, the score, the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import gradio as gr

from celeb_core import CelebError
from ui.errors import safe
from ui.jobs import Drawn
from ui.parts import gallery, signal
from ui.progress import joined
from ui.studio import Shared
from ui.training_job import TrainJob, likeness
from ui.workspace import Trainee


@dataclass(frozen=True)
class Result:
    """A trained person: the photo's owner, the pictures, the file."""

    trainee: Trainee
    drawn: list[Drawn]
    file: Path


class Cards:
    """One card per person of the last training; `job` finds it by the session."""

    def __init__(self, shared: Shared, job: Callable[[str], TrainJob | None]) -> None:
        self.shared, self.job = shared, job

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

    def build_signal(self) -> None:
        """What starts the drawing of the cards; outside of the tabs, so that it is always there."""
        self.finished = signal("train-finished")

    def build(self, session: gr.BrowserState) -> None:
        """The place where the cards appear."""
        with gr.Column(elem_id="train-results"):
            gr.render(inputs=session, triggers=[self.finished.change])(self._draw)

    def _draw(self, session: str) -> None:
        """Before and after, for every person."""
        for number, result in enumerate(self.results(session)):
            before = (result.trainee.faces[0].image, "the photo")
            after = [(str(d.path), likeness(d.settings["identity"])) for d in result.drawn]
            with gr.Column(elem_classes="boxed"):
                pictures_of = f"train-card-{number}", result.trainee.name, [before, *after]
                gallery(*pictures_of, size="medium", opens=True)
                with gr.Row(elem_classes="actions"):
                    gr.HTML(f'<p class="lead">{safe(summary(result))}</p>')
                    gr.DownloadButton(
                        "Download", value=str(result.file), size="sm", min_width=90,
                        elem_id=f"train-download-{number}",
                    )  # fmt: skip


def summary(result: Result) -> str:
    """Likeness over the pictures, and the size of the file."""
    scores = [d.settings["identity"] for d in result.drawn]
    known = [score for score in scores if score is not None]
    size = f"{result.file.stat().st_size / 1000:.1f} KB"
    return joined(likeness(mean(known) if known else None), f"identity file of {size}")
