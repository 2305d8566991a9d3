"""Two people: a strip of pictures from one to the other at one seed."""

from __future__ import annotations

from typing import Any

import gradio as gr

from celeb_core import CelebError, interpolate
from ui.drawing_job import DrawJob, Order
from ui.gallery import Results
from ui.mixing import check_text, order, somebody, submit
from ui.parts import message
from ui.studio import PRIVATE, Shared
from ui.workspace import Workspace

MAX_PICTURES = 17


class StripJob(DrawJob):
    """A drawing of a strip."""


class Strip:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.results = Results(shared, StripJob, "interpolate")

    # --- handlers -------------------------------------------------------------------------------

    def start(
        self, a: str, b: str, lam: float, text: str, count: int, seed: int | None, session: str
    ) -> str:
        """Queue the strip -> what is wrong, if something is."""
        workspace = self.shared.workspace(session)
        return submit(
            StripJob,
            self.shared,
            workspace,
            lambda: self._orders(workspace, a, b, lam, check_text(text), int(count), seed),
        )

    def nearest(self, lam: float, session: str) -> Any:
        """The picture of the strip that is nearest to the slider, large."""
        job = self.results.job(session)
        if job is None or not job.pictures:
            return gr.skip()
        places = [order.settings["lambda"] for order in job.orders[: len(job.pictures)]]
        index = min(range(len(places)), key=lambda place: abs(places[place] - lam))
        return gr.update(value=str(job.pictures[index].path), visible=True)

    def _orders(
        self,
        workspace: Workspace,
        a: str,
        b: str,
        lam: float,
        text: str,
        count: int,
        seed: int | None,
    ) -> list[Order]:
        core = self.shared.core
        if not a or not b:
            raise CelebError("Choose two people.")
        one, two = (somebody(name, workspace) for name in (a, b))
        places = [lam] if count == 1 else [index / (count - 1) for index in range(count)]
        orders = []
        for place in places:
            words = interpolate(two, one, place, core.basis, core.models)
            settings = {"from": a, "to": b, "lambda": round(place, 4)}
            orders.append(order(words, text, seed, f"λ {place:.2f}", settings))
        return orders

    # --- widgets --------------------------------------------------------------------------------

    def build(self, prompt: gr.Textbox, seed: gr.Number, session: gr.BrowserState) -> None:
        """Lay out and wire it; prompt and seed are those of the tab."""
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self._build_form()
                self.results.build_buttons("Draw the strip")
                self.problem = message("interpolate-problem")
            with gr.Column(scale=6, min_width=320):
                self.results.build_status(
                    "Two people, one seed: the strip between them appears here."
                )
                self.large = gr.Image(
                    label="At the slider", interactive=False, visible=False, height=300,
                    buttons=["fullscreen", "download"], elem_id="interpolate-large",
                    alt_text="The mixture of both people at the slider's place",
                )  # fmt: skip
                self.results.build_gallery("small")
        self.results.wire(session)
        form = [self.a, self.b, self.lam, prompt, self.count, seed, session]
        started = self.results.go.click(self.start, form, self.problem, **PRIVATE)
        started.success(**self.results.tick)
        look: dict[str, Any] = {
            "fn": self.nearest,
            "inputs": [self.lam, session],
            "outputs": self.large,
            **PRIVATE,
        }
        self.lam.change(queue=False, trigger_mode="always_last", **look)
        self.results.gallery.change(queue=False, **look)

    def _build_form(self) -> None:
        with gr.Row():
            self.a = gr.Dropdown([], label="From", interactive=True, min_width=180,
                                 elem_id="interpolate-a")  # fmt: skip
            self.b = gr.Dropdown([], label="To", interactive=True, min_width=180,
                                 elem_id="interpolate-b")  # fmt: skip
        self.lam = gr.Slider(
            0, 1, 0.5, step=0.01, label="Mixture λ", elem_id="interpolate-lambda",
            info="0 is From, 1 is To. Move it to see the strip go by.",
        )  # fmt: skip
        self.count = gr.Slider(
            1, MAX_PICTURES, 5, step=1, label="Pictures", info="1: only the one at λ.",
            elem_id="interpolate-count",
        )  # fmt: skip
