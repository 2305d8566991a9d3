"""Four people: a square of pictures between them at one seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import gradio as gr

from celeb_core import CelebError, bilinear, mix
from ui.drawing_job import DrawJob, Order
from ui.errors import safe
from ui.gallery import Results, Seen
from ui.jobs import Drawn
from ui.mixing import check_text, order, percent, somebody, submit
from ui.parts import message
from ui.pictures import save_picture
from ui.sheet import Cell, sheet
from ui.studio import PRIVATE, Shared
from ui.workspace import Workspace

CORNERS = ("Upper left", "Upper right", "Lower left", "Lower right")
MIN_SIDE, MAX_SIDE = 2, 7


class SquareJob(DrawJob):
    """A drawing of a square, row by row; in the end a sheet of it with names at its corners."""

    def run(self) -> Literal["done", "stopped"]:
        """The pictures, then all as one; not if some are missing."""
        if super().run() == "stopped":
            return "stopped"
        side = side_of(self.orders)
        ends = [0, side - 1, side * (side - 1), side * side - 1]
        cells = [
            Cell(image, drawn.caption if place in ends else "")
            for place, (image, drawn) in enumerate(zip(self._images, self.pictures, strict=True))
        ]
        rows = [cells[first : first + side] for first in range(0, side * side, side)]
        path = self.pictures[0].path.with_name(f"{self.id[:8]}-square.png")
        save_picture(sheet([""] * side, [""], [""] * side, rows), path)
        self.sheet = Drawn(path, "All as one picture")
        return "done"


class SquareResults(Results):
    """The gallery as a square, with the people's names at its corners."""

    def poll(self, seen: Seen, order: str, session: str) -> list[Any]:
        """As any results; then the names above and below, and the number of columns."""
        job = self.job(session)
        shown = super().poll(seen, order, session)
        if job is None:
            return shown
        shown[self.watched.index(self.sheet)] = gr.update(visible=False)  # only to be downloaded
        if shown[0] == seen:
            return [*shown, gr.skip(), gr.skip()]
        a, b, c, d = job.orders[0].settings["corners"]
        if job.pictures:
            shown[self.watched.index(self.gallery)]["columns"] = side_of(job.orders)
        return [*shown, *([corners(a, b), corners(c, d)] if job.pictures else ["", ""])]

    def build_square(self) -> None:
        """The gallery between two lines of names."""
        self.above = message("square-above")
        self.build_gallery("small")
        self.gallery.elem_classes = [*self.gallery.elem_classes, "square"]
        self.download.unrender()
        self.below = message("square-below")
        with gr.Row(elem_classes="actions"):
            self.download.render()
        self.watched += [self.above, self.below]


class Square:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

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
        """Queue side x side pictures -> what is wrong, if something is."""
        workspace = self.shared.workspace(session)
        return submit(
            SquareJob,
            self.shared,
            workspace,
            lambda: self._orders(workspace, (a, b, c, d), check_text(text), int(side), seed),
        )

    def _orders(
        self, workspace: Workspace, names: Sequence[str], text: str, side: int, seed: int | None
    ) -> list[Order]:
        core = self.shared.core
        if not all(names):
            raise CelebError("Choose four people, one for each corner.")
        people = [somebody(name, workspace) for name in names]
        orders = []
        for row in range(side):
            for column in range(side):
                weights = bilinear(column / (side - 1), row / (side - 1))
                words = mix(people, weights, core.basis, core.models)
                settings = {
                    "corners": list(names),
                    "weights": [round(weight, 4) for weight in weights],
                }
                orders.append(order(words, text, seed, recipe(names, weights), settings))
        return orders

    # --- widgets --------------------------------------------------------------------------------

    def build(self, prompt: gr.Textbox, seed: gr.Number, session: gr.BrowserState) -> None:
        """Lay out and wire it; prompt and seed are those of the tab."""
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self._build_form()
                self.results.build_buttons("Draw the square")
                self.problem = message("square-problem")
            with gr.Column(scale=6, min_width=320):
                self.results.build_status(
                    "Four people at the corners: the square between them appears here."
                )
                self.results.build_square()
        self.results.wire(session)
        form = [*self.people, prompt, self.side, seed, session]
        started = self.results.go.click(self.start, form, self.problem, **PRIVATE)
        started.success(**self.results.tick)

    def _build_form(self) -> None:
        self.people: list[gr.Dropdown] = []
        for pair in (CORNERS[:2], CORNERS[2:]):
            with gr.Row():
                for label in pair:
                    id = "square-" + label.lower().replace(" ", "-")
                    self.people.append(
                        gr.Dropdown([], label=label, interactive=True, min_width=150, elem_id=id)
                    )
        self.side = gr.Slider(
            MIN_SIDE, MAX_SIDE, 4, step=1, label="Pictures per side", elem_id="square-side",
            info="4 means 4 x 4 pictures. Each mixes all four people, the nearest corner most.",
        )  # fmt: skip


def side_of(orders: Sequence[Order]) -> int:
    """Pictures per side of a whole square."""
    return math.isqrt(len(orders))


def corners(left: str, right: str) -> str:
    """Two names at the ends of a line, as HTML."""
    return f'<p class="corners"><bdi>{safe(left)}</bdi><bdi>{safe(right)}</bdi></p>'


def recipe(names: Sequence[str], weights: Sequence[float]) -> str:
    """Who is in a mixture, the most first; a corner is its name alone."""
    parts: dict[str, float] = {}
    for name, weight in zip(names, weights, strict=True):
        parts[name] = parts.get(name, 0.0) + weight
    there = sorted(((w, name) for name, w in parts.items() if w > 0), key=lambda part: -part[0])
    if len(there) == 1:
        return there[0][1]
    return ", ".join(f"{name} {percent(weight)}" for weight, name in there)
