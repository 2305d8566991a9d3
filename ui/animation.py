"""The strip as an animation: images in between, there and back, to be played and downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from PIL import Image
from torch import Tensor

from celeb_core import CelebError
from celeb_core.checks import number
from celeb_core.safety import REASON
from ui.animation_files import save_animation
from ui.gallery import Displayed, Results
from ui.generation_job import GenerateJob
from ui.image_requests import ImageRequest
from ui.mixtures import MIX, request_mixture, submit
from ui.strip import Strip
from ui.studio import PRIVATE, Shared
from ui.widgets import Slider, Updates, message

MAX_BETWEEN = 8
MAX_FRAMES = 65  # images from one end to the other
FORMATS = ("MP4", "WebP", "GIF")


@dataclass(eq=False, kw_only=True)
class AnimationJob(GenerateJob):
    """Generates what is missing between the images of a strip, then writes the animation."""

    known: Mapping[float, Path]  # λ -> an image of the strip
    files: dict[str, Path] = field(default_factory=dict)  # format -> animation

    def run(self) -> Literal["done", "stopped"]:
        """Images, then files."""
        if super().run() == "stopped":
            return "stopped"
        self.note, self.seconds_left = "Writing the animation", None
        generated = {
            request.settings["lambda"]: image.path
            for request, image in zip(self.requests, self.images, strict=True)
            if not image.blocked
        }
        paths = [path for _, path in sorted({**self.known, **generated}.items())]
        if len(paths) < 2:
            raise CelebError(f"There is nothing to animate: the images were {REASON}.")
        frames = [Image.open(path) for path in paths]
        path, marker = paths[0].with_name(self.id[:8]), self.workspace.marker
        files = save_animation(frames, path, self.told_to_stop, marker)
        if files is None:
            return "stopped"
        self.files = files
        return "done"


class AnimationResults(Results):
    """The images while they are generated, then the animation instead."""

    def poll(self, displayed: Displayed, order: str, session: str) -> Updates:
        """Update also the player and the downloads."""
        job = self.job(session)
        updates = super().poll(displayed, order, session)
        if not isinstance(job, AnimationJob) or updates[self.displayed] == displayed:
            return updates
        if job.files:
            updates[self.gallery] = gr.update(value=[], visible=False)
            updates[self.download] = gr.update(visible=False)
        updates[self.player] = file_update(job.files.get("MP4"))
        for name, button in self.buttons.items():
            updates[button] = file_update(job.files.get(name))
        return updates

    def build_film(self) -> None:
        """The player, a button for each format, and the images."""
        self.player = gr.Video(
            label="Animation", visible=False, interactive=False, autoplay=True, loop=True,
            height=300, buttons=[], elem_id="animation-player",
        )  # fmt: skip
        with gr.Row(elem_classes="actions"):
            self.buttons = {
                name: gr.DownloadButton(
                    f"Download {name}", visible=False, size="sm",
                    elem_id=f"animation-{name.lower()}",
                )
                for name in FORMATS
            }  # fmt: skip
        self.build_gallery("small")
        self.build_download()
        self.outputs += [self.player, *self.buttons.values()]


class Animation:
    """Widgets and what they do."""

    def __init__(self, shared: Shared, strip: Strip) -> None:
        self.shared, self.strip = shared, strip
        self.results = AnimationResults(shared, AnimationJob, "animation")

    # --- handlers -------------------------------------------------------------------------------

    def start(self, between: int, session: str) -> str:
        """Queue the images between those of the strip; return what is wrong, or ""."""
        strip = self.strip.results.job(session)
        images = [] if strip is None or strip.live else strip.images
        ends = strip.requests[: len(images)] if strip else []
        known = {
            request.settings["lambda"]: image.path
            for request, image in zip(ends, images, strict=True)
            if not image.blocked
        }

        def make_requests() -> list[ImageRequest]:
            count, extra = len(ends), number(between, "Images in each gap", 1, MAX_BETWEEN)
            if count < 2:
                raise CelebError("Generate a strip of two or more images first, to animate it.")
            frames = count + (count - 1) * extra
            if frames > MAX_FRAMES:
                raise CelebError(
                    f"{count} images with {extra} in each gap are {frames}; {MAX_FRAMES} are "
                    "animated at most. Take fewer in between."
                )
            return [
                request_between(left, right, (number + 1) / (extra + 1))
                for left, right in zip(ends, ends[1:], strict=False)
                for number in range(extra)
            ]

        workspace = self.shared.workspace(session)
        return submit(AnimationJob, self.shared, workspace, make_requests, known=known)

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.Textbox) -> None:
        """Lay out and wire it."""
        with gr.Accordion("Animate the strip", open=False, elem_id="animation"):
            with gr.Row():
                with gr.Column(scale=4, min_width=320):
                    self.between = Slider(
                        1, MAX_BETWEEN, 4, step=1, label="Images in each gap",
                        elem_id="animation-between",
                        info="Generated between those of the strip, at its seed. More: smoother, "
                        "and slower.",
                    )  # fmt: skip
                    self.results.build_buttons("Animate")
                    self.problem = message("animation-problem")
                with gr.Column(scale=6, min_width=320):
                    self.results.build_status(
                        "The strip there and back, as an animation to download."
                    )
                    self.results.build_film()
        self.results.wire(session)
        started = self.results.go.click(
            self.start, [self.between, session], self.problem, **PRIVATE
        )
        started.success(**self.results.tick)


def request_between(left: ImageRequest, right: ImageRequest, share: float) -> ImageRequest:
    """Request the image between two of a strip; a share of 0 is the left one, 1 the right one."""
    one, two = (side.prompt.identities[MIX] for side in (left, right))
    assert isinstance(one, Tensor) and isinstance(two, Tensor)
    first, last = left.settings["lambda"], right.settings["lambda"]
    lam = round(first + (last - first) * share, 4)
    settings = {**left.settings, "lambda": lam}
    embeddings = one + (two - one) * share
    label = f"λ {lam:.2f}"
    return request_mixture(embeddings, settings["prompt"], left.config.seed, label, settings)


def file_update(file: Path | None) -> Any:
    """Update a player or a download button of a file that may not be there."""
    return gr.update(value=str(file) if file else None, visible=file is not None)
