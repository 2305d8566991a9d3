"""Around a person: steps along the principal components of the celebrities, and what each does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from celeb_core import CelebError, move, words_of
from ui.celeb_map import COMPONENTS, CelebMapPanel
from ui.drawing_job import DrawJob, Order
from ui.errors import notice
from ui.gallery import Results, Seen
from ui.mixing import check_text, order, somebody, submit
from ui.parts import message
from ui.studio import PRIVATE, Shared

FARTHEST = 3.0  # standard deviations
STEPS = (-2, -1, 0, 1, 2)
LEAD = (
    '<p class="lead">A component is a direction in which the words of celebrities\' names differ: '
    "1 is the one in which they differ most. A step is one standard deviation: about two of three "
    "celebrities lie within one step of the average. Nobody has named the components: draw them "
    "to see.</p>"
)


class AroundJob(DrawJob):
    """A drawing of a person and of points around."""


class AroundResults(Results):
    """With two buttons that start a drawing."""

    def poll(self, seen: Seen, order: str, session: str) -> list[Any]:
        """As any results; both buttons wait for the drawing under way."""
        job = self.job(session)
        shown = super().poll(seen, order, session)
        return shown if job is None else [*shown, shown[self.watched.index(self.go)]]

    def build_second(self, label: str) -> None:
        """The other button."""
        self.second = gr.Button(label, min_width=100, elem_id=f"{self.name}-second")

    def build_gallery(self, size: Any) -> None:
        """As any gallery; the second button is watched too."""
        super().build_gallery(size)
        self.watched.append(self.second)


class Around:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared, panel: CelebMapPanel) -> None:
        self.shared, self.panel = shared, panel
        self.results = AroundResults(shared, AroundJob, "around")

    # --- handlers -------------------------------------------------------------------------------

    def move(self, person: str, text: str, seed: int | None, session: str, *steps: float) -> str:
        """Queue the person as they are and where the sliders are -> what is wrong, if anything."""
        if not any(steps):
            return notice("Move a slider first: all are at 0, which is the person as is.")
        return self._start(person, text, seed, session, {"as is": (), "at the sliders": steps})

    def strip(self, person: str, component: int, text: str, seed: int | None, session: str) -> str:
        """Queue the person from -2 to 2 standard deviations along a component, counted from 1 ->
        what is wrong, if anything.
        """
        before = (0.0,) * (int(component) - 1)
        places = {signed(step): (*before, float(step)) for step in STEPS}
        return self._start(person, text, seed, session, places)

    def _start(
        self,
        person: str,
        text: str,
        seed: int | None,
        session: str,
        places: Mapping[str, Sequence[float]],
    ) -> str:
        workspace, core = self.shared.workspace(session), self.shared.core

        def orders() -> list[Order]:
            if not person:
                raise CelebError("Choose a person beside the map first.")
            words = words_of(somebody(person, workspace), core.basis, core.models)
            clean = check_text(text)
            return [
                order(
                    move(words, steps, self.panel.atlas),
                    clean,
                    seed,
                    label,
                    {"person": person, "components": list(steps)},
                )
                for label, steps in places.items()
            ]

        return submit(AroundJob, self.shared, workspace, orders)

    # --- widgets --------------------------------------------------------------------------------

    def build(self, prompt: gr.Textbox, seed: gr.Number, session: gr.BrowserState) -> None:
        """Lay out and wire it; prompt and seed are those of the tab, the person is the map's."""
        gr.HTML(f'<h2 class="section">Around this person</h2>{LEAD}')
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self._build_form()
                self.problem = message("around-problem")
            with gr.Column(scale=6, min_width=320):
                self.results.build_status(
                    "What the components do to the person chosen above appears here."
                )
                self.results.build_gallery("small")
        self.results.wire(session)
        person = self.panel.person
        moved = self.results.go.click(
            self.move, [person, prompt, seed, session, *self.steps], self.problem, **PRIVATE
        )
        strip = self.results.second.click(
            self.strip, [person, self.component, prompt, seed, session], self.problem, **PRIVATE
        )
        for started in (moved, strip):
            started.success(**self.results.tick)
        self.reset.click(lambda: [0] * COMPONENTS, None, self.steps, queue=False, **PRIVATE)

    def _build_form(self) -> None:
        with gr.Row(elem_classes="joined"):
            self.component = gr.Dropdown(
                [(f"Component {number}", number) for number in range(1, COMPONENTS + 1)],
                value=1, label="What does it do?", interactive=True, min_width=240,
                elem_id="around-component", info="From -2 to +2 steps.",
            )  # fmt: skip
            self.results.build_second("Draw the component")
        self.steps: list[gr.Slider] = []
        for first in range(1, COMPONENTS + 1, 2):
            with gr.Row():
                for number in (first, first + 1):
                    self.steps.append(
                        gr.Slider(
                            -FARTHEST, FARTHEST, 0, step=0.25, label=f"Component {number}",
                            min_width=130, elem_id=f"around-{number}", buttons=[],
                        )
                    )  # fmt: skip
        self.results.build_buttons("Draw at the sliders")
        self.reset = gr.Button("Sliders to 0", size="sm", elem_id="around-reset")


def signed(step: int) -> str:
    """Steps with their sign."""
    return f"{step:+d}".replace("-", "−") if step else "as is"
