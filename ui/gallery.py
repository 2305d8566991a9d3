"""What Compose and Interpolate have in common: a drawing job and the gallery that it fills."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from PIL import Image

from ui.drawing_job import DrawJob
from ui.jobs import Drawn
from ui.parts import gallery, message, pictures
from ui.progress import bar, duration, joined, time_left
from ui.studio import PRIVATE, TICK, Shared

Seen = tuple[str, str, int, str, str]  # id, status, number of pictures, last caption, order
NOTHING_SEEN: Seen = ("", "", -1, "", "")
AS_DRAWN, BY_LIKENESS, BY_PROMPT = "As drawn", "Likeness first", "Prompt first"
BEST = "Best of each prompt"
DRAFT = 256  # longer side of a picture under way, in pixels


class Results:
    """Progress, gallery, download and the buttons that start and cancel, for one kind of job."""

    def __init__(
        self, shared: Shared, kind: type[DrawJob], name: str, sortable: bool = False
    ) -> None:
        self.shared, self.kind, self.name, self.sortable = shared, kind, name, sortable

    # --- handlers -------------------------------------------------------------------------------

    def job(self, session: str) -> DrawJob | None:
        """The drawing of this workspace: under way, or the last one."""
        return self.shared.runner.latest(self.shared.workspace(session).id, self.kind)

    def cancel(self, session: str) -> None:
        """Stop after the denoising step under way; finished pictures stay."""
        if job := self.job(session):
            self.shared.runner.stop(job)

    def poll(self, seen: Seen, order: str, session: str) -> list[Any]:
        """What changed since the page last looked, in the order of `watched`."""
        job = self.job(session)
        if job is None:
            return [NOTHING_SEEN, *[gr.skip()] * (len(self.watched) - 1)]
        live = job.live  # read first, so that the last look is complete
        drawn = list(job.pictures)
        # Late scores change the captions, the last one last.
        now: Seen = (job.id, job.status, len(drawn), drawn[-1].caption if drawn else "", order)
        ready = bool(drawn) and not live
        return [
            now,
            bar(job, describe(job), self.shared.runner.ahead(job)),
            gr.skip() if (now[0], *now[2:]) == (seen[0], *seen[2:]) else arranged(drawn, order),
            gr.skip() if now == seen else gr.update(visible=self.sortable and len(drawn) > 1),
            gr.skip() if now == seen else gr.update(visible=not drawn and not live),
            gr.skip() if now[:-1] == seen[:-1] else self._download(job, drawn, ready),
            gr.Timer(active=live),
            gr.update(interactive=not live),
            gr.update(interactive=live),
            drafts(job.drafts) if live else "",
            gr.skip() if now[:-1] == seen[:-1] else pictures([job.sheet] if job.sheet else []),
        ]

    def _download(self, job: DrawJob, drawn: list[Drawn], ready: bool) -> Any:
        if not ready:
            return gr.update(visible=False)
        files = [*drawn, job.sheet] if job.sheet else drawn
        return gr.update(value=str(bundle(job.id, files)), visible=True)

    # --- widgets --------------------------------------------------------------------------------

    def build_buttons(self, label: str) -> None:
        """Start and cancel."""
        with gr.Row():
            self.go = gr.Button(
                label, variant="primary", min_width=100, elem_id=f"{self.name}-start"
            )
            self.halt = gr.Button(
                "Cancel", interactive=False, min_width=100, elem_id=f"{self.name}-cancel"
            )

    def build_status(self, empty: str) -> None:
        """How far it is, or what will be here."""
        self.seen = gr.State(NOTHING_SEEN)
        self.timer = gr.Timer(TICK, active=False)
        self.status = message(f"{self.name}-status")
        self.empty = gr.HTML(f'<div class="empty">{empty}</div>')

    def build_gallery(self, size: Literal["small", "medium", "large"]) -> None:
        """Pictures, their order and the button that downloads them all."""
        self.order = gr.Radio(
            [AS_DRAWN, BY_LIKENESS, BY_PROMPT, BEST], value=AS_DRAWN, label="Sort by",
            visible=False, container=False, elem_id=f"{self.name}-order",
        )  # fmt: skip
        self.drafts = gr.HTML(elem_id=f"{self.name}-drafts")
        self.sheet = gallery(f"{self.name}-sheet", "Grid", size="whole", opens=True)
        self.gallery = gallery(f"{self.name}-gallery", "Pictures", size=size, opens=True)
        with gr.Row(elem_classes="actions"):
            self.download = gr.DownloadButton(
                "Download all", visible=False, size="sm", elem_id=f"{self.name}-download"
            )
        self.watched = [
            self.seen, self.status, self.gallery, self.order, self.empty, self.download, self.timer,
            self.go, self.halt, self.drafts, self.sheet,
        ]  # fmt: skip

    def wire(self, session: gr.BrowserState) -> None:
        """Polling and cancelling; starting is the tab's business."""
        self.tick: dict[str, Any] = {
            "fn": self.poll,
            "inputs": [self.seen, self.order, session],
            "outputs": self.watched,
            "queue": False,
            **PRIVATE,
        }
        self.timer.tick(**self.tick)
        self.order.input(**self.tick)
        halted = self.halt.click(self.cancel, session, None, queue=False, **PRIVATE)
        halted.success(**self.tick)


def drafts(images: Sequence[Image.Image]) -> str:
    """HTML: pictures that are being drawn, within the page itself, because they soon are gone."""
    shown = []
    for image in images:
        small, file = image.copy(), io.BytesIO()
        small.thumbnail((DRAFT, DRAFT))
        small.save(file, "JPEG", quality=80)
        data = base64.b64encode(file.getvalue()).decode()
        shown.append(f'<img alt="A picture being drawn" src="data:image/jpeg;base64,{data}">')
    return f'<div class="drafts">{"".join(shown)}</div>' if shown else ""


def arranged(drawn: list[Drawn], order: str) -> Any:
    """The pictures as drawn, the best first, or only the best one of each prompt."""
    if order == BEST:
        ranked = sorted(drawn, key=lambda picture: (_likeness(picture), _fit(picture)))
        best = {picture.settings["prompt"]: picture for picture in ranked}
        drawn = [picture for picture in drawn if best[picture.settings["prompt"]] is picture]
    elif order == BY_LIKENESS:
        drawn = sorted(drawn, key=_likeness, reverse=True)
    elif order == BY_PROMPT:
        drawn = sorted(drawn, key=_fit, reverse=True)
    return pictures(drawn)


def _likeness(drawn: Drawn) -> float:
    """Mean over the people; pictures without anybody to score come last."""
    people = drawn.settings["scores"]["people"].values()
    return sum(people) / len(people) if people else -1.0


def _fit(drawn: Drawn) -> float:
    score = drawn.settings["scores"]["prompt"]
    return -1.0 if score is None else float(score)


def bundle(id: str, drawn: list[Drawn]) -> Path:
    """One file with all pictures: the picture itself, or a ZIP beside the first."""
    paths = [picture.path for picture in drawn]
    if len(paths) == 1:
        return paths[0]
    archive = paths[0].with_name(f"{id[:8]}.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:  # PNG is compressed
        for path in paths:
            file.write(path, path.name)
    return archive


def describe(job: DrawJob) -> str:
    """Pictures and time in words."""
    count = f"{len(job.pictures)} of {len(job.orders)} pictures"
    if job.status == "done":
        return joined(count, duration(job.seconds))
    if job.status == "stopped":
        return joined("Cancelled", count)
    return joined(job.note, count, time_left(job))
