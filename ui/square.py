"""Four people: a square of images between them at one seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import gradio as gr

from celeb_core import CelebError, mix
from celeb_core.checks import number
from ui.errors import safe
from ui.gallery import Displayed, Results
from ui.generation_job import GenerateJob
from ui.image_requests import ImageRequest
from ui.images import save_generated
from ui.jobs import SavedImage
from ui.mixtures import check_prompt, find_person, percent, request_mixture, submit
from ui.sheet import Cell, sheet
from ui.studio import PRIVATE, Shared
from ui.welcome import Welcome
from ui.widgets import Slider, Updates, message
from ui.workspace import Workspace

CORNERS = ("Upper left", "Upper right", "Lower left", "Lower right")
MIN_SIDE, MAX_SIDE = 2, 7


class SquareJob(GenerateJob):
    """Generates a square, row by row; in the end a sheet of it with names at its corners."""

    def run(self) -> Literal["done", "stopped"]:
        """The images, then all as one; not if some are missing."""
        if super().run() == "stopped":
            return "stopped"
        side = side_of(self.requests)
        ends = [0, side - 1, side * (side - 1), side * side - 1]
        cells = [
            Cell(image, saved.caption if index in ends else "")
            for index, (image, saved) in enumerate(zip(self.pixels, self.images, strict=True))
        ]
        rows = [cells[first : first + side] for first in range(0, side * side, side)]
        path = self.images[0].path.with_name(f"{self.id[:8]}-square.png")
        whole, corners = sheet([""] * side, [""], [""] * side, rows), self.requests[0].settings
        save_generated(whole, path, {"corners": corners["corners"]}, self.workspace.marker)
        self.sheet = SavedImage(path, "All as one image")
        return "done"


class SquareResults(Results):
    """The gallery as a square, with the people's names at its corners."""

    def poll(self, displayed: Displayed, order: str, session: str) -> Updates:
        """Update also the names above and below, and the number of columns."""
        job = self.job(session)
        updates = super().poll(displayed, order, session)
        if job is None or updates[self.displayed] == displayed:
            return updates
        updates[self.sheet] = gr.update(visible=False)  # only to be downloaded
        if not job.images:
            return {**updates, self.above: "", self.below: ""}
        if self.gallery in updates:
            updates[self.gallery]["columns"] = side_of(job.requests)
        a, b, c, d = job.requests[0].settings["corners"]
        return {**updates, self.above: corners(a, b), self.below: corners(c, d)}

    def build_square(self) -> None:
        """The gallery between two lines of names."""
        self.above = message("square-above")
        self.build_gallery("small")
        self.gallery.elem_classes = [*self.gallery.elem_classes, "square"]
        self.below = message("square-below")
        self.build_download()
        self.outputs += [self.above, self.below]


class Square:
    """Widgets and what they do."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.results = SquareResults(shared, SquareJob, "square")

    # --- handlers -------------------------------------------------------------------------------

    def start(
        self,
        a: str,
        b: str,
        c: str,
        d: str,
        text: str,
        side: int,
        seed: int | None,
        session: str,
    ) -> str:
        """Queue side x side images; return what is wrong, or ""."""
        workspace = self.shared.workspace(session)

        def make_requests() -> list[ImageRequest]:
            images = number(side, "Images per side", MIN_SIDE, MAX_SIDE)
            return self._requests(workspace, (a, b, c, d), check_prompt(text), images, seed)

        return submit(SquareJob, self.shared, workspace, make_requests)

    def _requests(
        self, workspace: Workspace, names: Sequence[str], text: str, side: int, seed: int | None
    ) -> list[ImageRequest]:
        core = self.shared.core
        if not all(names):
            raise CelebError("Choose four people, one for each corner.")
        people = [find_person(name, workspace) for name in names]
        requests = []
        for row in range(side):
            for column in range(side):
                weights = bilinear_weights(column / (side - 1), row / (side - 1))
                embeddings = mix(people, weights, core.basis, core.models)
                label = mixture_label(names, weights)
                settings = {
                    "corners": list(names),
                    "weights": [round(weight, 4) for weight in weights],
                }
                requests.append(request_mixture(embeddings, text, seed, label, settings))
        return requests

    # --- widgets --------------------------------------------------------------------------------

    def build(self, prompt: gr.Textbox, seed: gr.Number, session: gr.Textbox) -> None:
        """Lay out and wire it; prompt and seed are those of the tab."""
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self._build_form()
                self.results.build_buttons("Generate square")
                self.problem = message("square-problem")
            with gr.Column(scale=6, min_width=320):
                self.results.build_status(
                    "Four people at the corners: the square between them appears here.",
                    self._build_first,
                )
                self.results.build_square()
        self.results.wire(session)
        form = [*self.people, prompt, self.side, seed, session]
        started = self.results.go.click(self.start, form, self.problem, **PRIVATE)
        started.success(**self.results.tick)

    def _build_first(self) -> None:
        """An example, while there is no square."""
        label = "Example: four celebrities at the corners"
        Welcome(self.shared).mixture("square", "square-example", label)

    def _build_form(self) -> None:
        self.people: list[gr.Dropdown] = []
        for pair in (CORNERS[:2], CORNERS[2:]):
            with gr.Row():
                for label in pair:
                    id = "square-" + label.lower().replace(" ", "-")
                    self.people.append(
                        gr.Dropdown([], label=label, interactive=True, min_width=150, elem_id=id)
                    )
        self.side = Slider(
            MIN_SIDE, MAX_SIDE, 4, step=1, label="Images per side", elem_id="square-side",
            info="4 means 4 x 4 images. Each mixes all four people, the nearest corner most.",
        )  # fmt: skip


def bilinear_weights(x: float, y: float) -> tuple[float, float, float, float]:
    """Weights of the unit square's corners, row by row, at x to the right, y down."""
    return ((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y)


def side_of(requests: Sequence[ImageRequest]) -> int:
    """Images per side of a whole square."""
    return math.isqrt(len(requests))


def corners(left: str, right: str) -> str:
    """HTML: two names at the ends of a line."""
    return f'<p class="corners"><bdi>{safe(left)}</bdi><bdi>{safe(right)}</bdi></p>'


def mixture_label(names: Sequence[str], weights: Sequence[float]) -> str:
    """Who is in a mixture, the most first; a corner is its name alone."""
    parts: dict[str, float] = {}
    for name, weight in zip(names, weights, strict=True):
        parts[name] = parts.get(name, 0.0) + weight
    there = sorted(((w, name) for name, w in parts.items() if w > 0), key=lambda part: -part[0])
    if len(there) == 1:
        return there[0][1]
    return ", ".join(f"{name} {percent(weight)}" for weight, name in there)
