"""What Compose and Interpolate have in common: a job and the gallery that it fills."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio.blocks import Block
from PIL import Image

from celeb_core.files import write_atomically
from celeb_core.marks.provenance import Marker
from celeb_core.safety import REASON
from ui.generation_job import GenerateJob
from ui.gpu_costs import priced
from ui.image_scores import counted
from ui.jobs import SavedImage
from ui.progress import bar, duration, joined, time_left
from ui.studio import PRIVATE, Shared
from ui.widgets import Updates, gallery, gallery_of, message

AS_GENERATED, BY_IDENTITY, BY_PROMPT = "As generated", "Identity score first", "Prompt score first"
BEST, BY_VERDICT = "Best of each prompt", "Right ones first"
PREVIEW_SIDE = 256  # longer side of an image under way, in pixels


@dataclass(frozen=True)
class Displayed:
    """What a page displays of a job."""

    id: str = ""
    live: bool = False
    count: int = -1  # of the images
    revision: int = 0  # of the images: late scores and further attempts change some
    order: str = ""


NOTHING = Displayed()


class Results:
    """Progress, gallery, download and the buttons that start and cancel, for one kind of job."""

    def __init__(
        self, shared: Shared, kind: type[GenerateJob], name: str, sortable: bool = False
    ) -> None:
        self.shared, self.kind, self.name, self.sortable = shared, kind, name, sortable
        self.outputs: list[Block] = []  # of `poll`

    # --- handlers -------------------------------------------------------------------------------

    def job(self, session: str) -> GenerateJob | None:
        """Return this workspace's job: under way, or the last one."""
        return self.shared.runner.latest(self.shared.workspace(session).id, self.kind)

    def cancel(self, session: str) -> None:
        """Stop after the denoising step under way; finished images stay."""
        if job := self.job(session):
            self.shared.runner.stop(job)

    def poll(self, displayed: Displayed, order: str, session: str) -> Updates:
        """Update what changed since the page last asked."""
        job = self.job(session)
        if job is None:
            return {self.displayed: NOTHING}
        # In this order: the last update is complete.
        live, revision, images = job.live, job.revision, list(job.images)
        now = Displayed(job.id, live, len(images), revision, order)
        updates: Updates = {
            self.displayed: now,
            self.status: bar(job, describe(job), self.shared.runner.place(job)),
            self.timer: gr.Timer(active=live),
            self.go: gr.update(interactive=not live),
            self.halt: gr.update(interactive=live),
            self.previews: previews_html(job.previews, self.shared.marks) if live else "",
        }
        if replace(now, live=False) != replace(displayed, live=False):
            updates[self.gallery] = arranged(images, order)
        if now != displayed:
            updates[self.order] = gr.update(visible=self.sortable and len(images) > 1)
            updates[self.empty] = gr.update(visible=not images and not live)
        if replace(now, order="") != replace(displayed, order=""):
            files = [*images, job.sheet] if job.sheet else images
            updates[self.download] = (
                gr.update(visible=False)
                if live or not images
                else gr.update(value=str(bundle(job.id, files)), visible=True)
            )
            updates[self.sheet] = gallery_of([job.sheet] if job.sheet else [])
        return updates

    # --- widgets --------------------------------------------------------------------------------

    def build_buttons(self, label: str) -> None:
        """Start, with what an image costs where GPU time is counted, and cancel."""
        costs = self.shared.executor.costs
        if costs is not None:
            label = f"{priced(label, costs.default_images(1))} an image"
        with gr.Row():
            self.go = gr.Button(
                label, variant="primary", min_width=100, elem_id=f"{self.name}-start"
            )
            self.halt = gr.Button(
                "Cancel", interactive=False, min_width=100, elem_id=f"{self.name}-cancel"
            )
        self.outputs += [self.go, self.halt]

    def build_status(self, empty: str, first: Callable[[], object] = lambda: None) -> None:
        """How far it is, or what will be here; `first` lays out more of that."""
        self.displayed = gr.State(NOTHING)
        self.timer = gr.Timer(self.shared.tick, active=False)
        self.status = message(f"{self.name}-status")
        with gr.Column() as self.empty:
            gr.HTML(f'<div class="empty">{empty}</div>')
            first()
        self.outputs += [self.displayed, self.timer, self.status, self.empty]

    def build_gallery(self, size: Literal["small", "medium", "large"]) -> None:
        """Images and their order."""
        self.order = gr.Radio(
            [AS_GENERATED, BY_VERDICT, BY_IDENTITY, BY_PROMPT, BEST], value=AS_GENERATED,
            label="Sort by",
            visible=False, container=False, elem_id=f"{self.name}-order",
        )  # fmt: skip
        self.previews = gr.HTML(elem_id=f"{self.name}-drafts")
        self.sheet = gallery(f"{self.name}-sheet", "Grid", size="whole", opens=True)
        self.gallery = gallery(f"{self.name}-gallery", "Images", size=size, opens=True)
        self.outputs += [self.order, self.previews, self.sheet, self.gallery]

    def build_download(self) -> None:
        """The button that downloads all images."""
        with gr.Row(elem_classes="actions"):
            self.download = gr.DownloadButton(
                "Download all", visible=False, size="sm", elem_id=f"{self.name}-download"
            )
        self.outputs.append(self.download)

    def wire(self, session: gr.Textbox) -> None:
        """Poll and cancel; starting is the tab's business."""
        self.tick: dict[str, Any] = {
            "fn": self.poll,
            "inputs": [self.displayed, self.order, session],
            "outputs": self.outputs,
            "queue": False,
            **PRIVATE,
        }
        self.timer.tick(**self.tick)
        self.order.input(**self.tick)
        cancelled = self.halt.click(self.cancel, session, None, queue=False, **PRIVATE)
        cancelled.success(**self.tick)


def previews_html(images: Sequence[Image.Image], marker: Marker) -> str:
    """Images under way, within the page itself, because they soon are gone."""
    tags = []
    for image in images:
        small = image.copy()
        small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        file = marker.encode(small, "JPEG", sign=False, quality=80)
        data = base64.b64encode(file).decode()
        tags.append(f'<img alt="An image under way" src="data:image/jpeg;base64,{data}">')
    return f'<div class="drafts">{"".join(tags)}</div>' if tags else ""


def arranged(images: list[SavedImage], order: str) -> Any:
    """Update a gallery: the images as generated, by a score, or only the best of each prompt."""
    if order == BEST:
        ranked = sorted(images, key=lambda one: (_verdict(one), _identity(one), _prompt(one)))
        best = {image.settings["prompt"]: image for image in ranked}
        images = [image for image in images if best[image.settings["prompt"]] is image]
    elif order == BY_VERDICT:
        images = sorted(images, key=lambda one: (_verdict(one), _identity(one)), reverse=True)
    elif order == BY_IDENTITY:
        images = sorted(images, key=_identity, reverse=True)
    elif order == BY_PROMPT:
        images = sorted(images, key=_prompt, reverse=True)
    return gallery_of(images)


def _verdict(image: SavedImage) -> float:
    """How right an image is: 1 if it is, else less than that; those without a verdict come last."""
    if (verdict := image.settings.get("verdict")) is None:
        return -1.0
    right = [person["in_place"] for person in verdict["people"]]
    return 1.0 if verdict["kind"] == "right" else 0.9 * sum(right) / len(right)


def _identity(image: SavedImage) -> float:
    """Mean identity score; images without people to score come last."""
    people = image.settings["scores"]["people"].values()
    return sum(people) / len(people) if people else -1.0


def _prompt(image: SavedImage) -> float:
    score = image.settings["scores"]["prompt"]
    return -1.0 if score is None else float(score)


def bundle(id: str, images: list[SavedImage]) -> Path:
    """Return one file with all images: the image itself, or a ZIP beside the first."""
    paths = [image.path for image in images]
    if len(paths) == 1:
        return paths[0]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:  # PNG is compressed
        for path in paths:
            file.write(path, path.name)
    return write_atomically(paths[0].with_name(f"{id[:8]}.zip"), buffer.getvalue())


def describe(job: GenerateJob) -> str:
    """Images and time in words."""
    images = list(job.images)
    count = f"{len(images)} of {len(job.requests)} images"
    if blocked := sum(image.blocked for image in images):
        count = f"{count}, {blocked} {REASON}"
    count = joined(count, counted([image.settings for image in images]))
    if job.status == "done":
        return joined(count, duration(job.seconds))
    if job.status == "stopped":
        return joined("Cancelled", count)
    return joined(job.note, count, time_left(job))
