"""The strip as a film: pictures in between, there and back, to be played and downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from PIL import Image
from torch import Tensor

from celeb_core import CelebError
from ui.drawing_job import DrawJob, Order
from ui.film import save_film
from ui.gallery import Results, Seen
from ui.mixing import MIX, order, submit
from ui.parts import message
from ui.strip import Strip
from ui.studio import PRIVATE, Shared

MAX_FRAMES = 65  # pictures of one way
FORMATS = ("MP4", "WebP", "GIF")


@dataclass(eq=False, kw_only=True)
class AnimationJob(DrawJob):
    """Draw what is missing between the pictures of a strip, then write the film."""

    known: Mapping[float, Path]  # lambda: a picture of the strip
    files: dict[str, Path] = field(default_factory=dict)  # format: film

    def run(self) -> Literal["done", "stopped"]:
        """Pictures, then files."""
        if super().run() == "stopped":
            return "stopped"
        self.note, self.seconds_left = "Writing the film", None
        places = {
            order.settings["lambda"]: drawn.path
            for order, drawn in zip(self.orders, self.pictures, strict=True)
        }
        paths = [path for _, path in sorted({**self.known, **places}.items())]
        pictures = [Image.open(path) for path in paths]
        files = save_film(pictures, paths[0].with_name(f"{self.id[:8]}"), self.told_to_stop)
        if files is None:
            return "stopped"
        self.files = files
        return "done"


class AnimationResults(Results):
    """The pictures while they are drawn, then the film in their place."""

    def poll(self, seen: Seen, order: str, session: str) -> list[Any]:
        """As any results; then the player and the downloads."""
        job = self.job(session)
        shown = super().poll(seen, order, session)
        if not isinstance(job, AnimationJob):
            return shown
        if shown[0] == seen:
            return [*shown, *[gr.skip()] * (1 + len(FORMATS))]
        if job.files:
            shown[self.watched.index(self.gallery)] = gr.update(value=[], visible=False)
            shown[self.watched.index(self.download)] = gr.update(visible=False)
        return [
            *shown,
            film(job.files.get("MP4")),
            *(film(job.files.get(name)) for name in FORMATS),
        ]

    def build_film(self) -> None:
        """The player, a button for each format, and the pictures."""
        self.player = gr.Video(
            label="Animation", visible=False, interactive=False, autoplay=True, loop=True,
            height=300, buttons=[], elem_id="animation-player",
        )  # fmt: skip
        with gr.Row(elem_classes="actions"):
            self.files = [
                gr.DownloadButton(
                    f"Download {name}", visible=False, size="sm",
                    elem_id=f"animation-{name.lower()}",
                )
                for name in FORMATS
            ]  # fmt: skip
        self.build_gallery("small")
        self.watched += [self.player, *self.files]


class Animation:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared, strip: Strip) -> None:
        self.shared, self.strip = shared, strip
        self.results = AnimationResults(shared, AnimationJob, "animation")

    # --- handlers -------------------------------------------------------------------------------

    def start(self, between: int, session: str) -> str:
        """Queue the pictures between those of the strip -> what is wrong, if something is."""
        strip = self.strip.results.job(session)
        pictures = [] if strip is None or strip.live else strip.pictures
        drawn = strip.orders[: len(pictures)] if strip else []

        def orders() -> list[Order]:
            count = len(pictures)
            if count < 2:
                raise CelebError("Draw a strip of two or more pictures first: it is what moves.")
            frames = count + (count - 1) * int(between)
            if frames > MAX_FRAMES:
                raise CelebError(
                    f"{count} pictures with {int(between)} in each gap are {frames}; "
                    f"{MAX_FRAMES} are animated at most. Take fewer in between."
                )
            return [
                middle(left, right, (number + 1) / (int(between) + 1))
                for left, right in zip(drawn, drawn[1:], strict=False)
                for number in range(int(between))
            ]

        known = {
            order.settings["lambda"]: picture.path
            for order, picture in zip(drawn, pictures, strict=True)
        }
        workspace = self.shared.workspace(session)
        return submit(AnimationJob, self.shared, workspace, orders, known=known)

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.BrowserState) -> None:
        """Lay out and wire it."""
        with gr.Accordion("Animate the strip", open=False, elem_id="animation"):
            with gr.Row():
                with gr.Column(scale=4, min_width=320):
                    self.between = gr.Slider(
                        1, 8, 4, step=1, label="Pictures in each gap", elem_id="animation-between",
                        info="Drawn between those of the strip, at its seed. More: smoother, and "
                        "slower.",
                    )  # fmt: skip
                    self.results.build_buttons("Animate")
                    self.problem = message("animation-problem")
                with gr.Column(scale=6, min_width=320):
                    self.results.build_status("The strip there and back, as a film to download.")
                    self.results.build_film()
        self.results.wire(session)
        started = self.results.go.click(
            self.start, [self.between, session], self.problem, **PRIVATE
        )
        started.success(**self.results.tick)


def middle(left: Order, right: Order, share: float) -> Order:
    """The picture between two of a strip; `share` is how much of the way is gone."""

    def between(a: Any, b: Any) -> Any:
        return a + (b - a) * share

    words, more = (side.prompt.identities[MIX] for side in (left, right))
    assert isinstance(words, Tensor) and isinstance(more, Tensor)
    place = round(between(left.settings["lambda"], right.settings["lambda"]), 4)
    settings = {**left.settings, "lambda": place}
    return order(
        between(words, more), settings["prompt"], left.config.seed, f"λ {place:.2f}", settings
    )


def film(file: Path | None) -> Any:
    """A player or a download button of a file that may not be there."""
    return gr.update(value=str(file) if file else None, visible=file is not None)
