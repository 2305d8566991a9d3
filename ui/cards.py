"""What a training has made of each person: before and after, the score, the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import gradio as gr

from celeb_core import CelebError
from ui.errors import safe
from ui.jobs import SavedImage
from ui.progress import joined
from ui.studio import Shared
from ui.trainee_files import Trainee
from ui.training_job import TrainJob, score_text
from ui.widgets import gallery, signal

SCORE = (
    "Identity score: the face recogniser's cosine similarity between the generated face and the "
    "photo. 1 is the same face, 0 an unrelated one."
)


@dataclass(frozen=True)
class Result:
    """A trained person: the photo, the generated images, the file."""

    trainee: Trainee
    images: list[SavedImage]
    file: Path


class Cards:
    """One card per person of the last training.

    Args:
        shared: By all tabs.
        job: Finds the training of a session.
    """

    def __init__(self, shared: Shared, job: Callable[[str], TrainJob | None]) -> None:
        self.shared, self.job = shared, job

    def results(self, session: str) -> list[Result]:
        """Return each person of the last training, with what came out."""
        job = self.job(session)
        if job is None or job.live or not job.results:
            return []
        files = self.shared.workspace(session).files
        found = []
        for trainee in job.trainees:
            images = [image for image in job.results if image.person == trainee.name]
            try:
                file = files.file(trainee.name)
            except CelebError:  # deleted or renamed since
                continue
            found.append(Result(trainee, images, file))
        return found

    def build_signal(self) -> None:
        """Make what starts the rendering of the cards; outside of the tabs: always there."""
        self.finished = signal("train-finished")

    def build(self, session: gr.Textbox) -> None:
        """Lay out where the cards appear."""
        with gr.Column(elem_id="train-results"):
            gr.render(inputs=session, triggers=[self.finished.change])(self._render)

    def _render(self, session: str) -> None:
        results, workspace = self.results(session), self.shared.workspace(session)
        for number, result in enumerate(results):
            before = (workspace.face_file(result.trainee), "the photo")
            after = [(str(i.path), score_text(i.settings["identity"])) for i in result.images]
            with gr.Column(elem_classes="boxed"):
                name, rows = result.trainee.name, [before, *after]
                gallery(f"train-card-{number}", name, rows, size="medium", opens=True)
                with gr.Row(elem_classes="actions"):
                    gr.HTML(f'<p class="lead">{safe(summary(result))}</p>')
                    gr.DownloadButton(
                        "Download", value=str(result.file), size="sm", min_width=90,
                        elem_id=f"train-download-{number}",
                    )  # fmt: skip
        if results:
            gr.HTML(f'<p class="lead small">{SCORE}</p>')


def summary(result: Result) -> str:
    """Return the mean identity score of the images, and the size of the file."""
    scores = [image.settings["identity"] for image in result.images]
    known = [score for score in scores if score is not None]
    size = f"{result.file.stat().st_size / 1000:.1f} KB"
    return joined(score_text(mean(known) if known else None), f"identity file of {size}")
