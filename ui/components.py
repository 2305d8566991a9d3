"""Around a person: steps along the principal components of the celebrities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from celeb_core import CelebError, person_embeddings
from celeb_core.checks import number
from ui.celeb_map import move
from ui.errors import explain, notice
from ui.gallery import Displayed, Results
from ui.generation_job import GenerateJob
from ui.image_requests import ImageRequest
from ui.map_panel import COMPONENTS, CelebMapPanel
from ui.mixtures import check_prompt, find_person, request_mixture, submit
from ui.studio import PRIVATE, Shared
from ui.widgets import Slider, Updates, message

MAX_STEP = 3.0  # standard deviations
STEPS = (-2, -1, 0, 1, 2)
LEAD = (
    '<p class="lead">A component is a direction in which the token embeddings of the celebrities '
    "differ: 1 is the one in which they differ most. A step is one standard deviation: about two "
    "of three celebrities lie within one step of the average. The components have no names: "
    "generate images to see what they do.</p>"
)


class ComponentsJob(GenerateJob):
    """Generates a person and points around them."""


class ComponentsResults(Results):
    """With two buttons that start a job."""

    def poll(self, displayed: Displayed, order: str, session: str) -> Updates:
        """Update both buttons: each waits for the job under way."""
        updates = super().poll(displayed, order, session)
        return {**updates, self.second: updates[self.go]} if self.go in updates else updates

    def build_second(self, label: str) -> None:
        """The other button."""
        self.second = gr.Button(label, min_width=100, elem_id=f"{self.name}-second")
        self.outputs.append(self.second)


class Components:
    """Widgets and what they do."""

    def __init__(self, shared: Shared, panel: CelebMapPanel) -> None:
        self.shared, self.panel = shared, panel
        self.results = ComponentsResults(shared, ComponentsJob, "around")

    # --- handlers -------------------------------------------------------------------------------

    def start_move(
        self, person: str, text: str, seed: int | None, session: str, *steps: float
    ) -> str:
        """Queue the person as is and at the sliders; return what is wrong, or ""."""
        if not any(steps):
            return notice("Move a slider first: all are at 0, which is the person as is.")
        return self._start(person, text, seed, session, {"as is": (), "at the sliders": steps})

    def start_strip(
        self, person: str, component: int, text: str, seed: int | None, session: str
    ) -> str:
        """Queue the person at STEPS along a component, counted from 1; return what is wrong."""
        try:
            before = (0.0,) * (number(component, "Component", 1, COMPONENTS) - 1)
        except CelebError as error:
            return notice(explain(error))
        moves = {signed(step): (*before, float(step)) for step in STEPS}
        return self._start(person, text, seed, session, moves)

    def _start(
        self,
        person: str,
        text: str,
        seed: int | None,
        session: str,
        moves: Mapping[str, Sequence[float]],
    ) -> str:
        workspace, core = self.shared.workspace(session), self.shared.core

        def make_requests() -> list[ImageRequest]:
            if not person:
                raise CelebError("Choose a person beside the map first.")
            embeddings = person_embeddings(find_person(person, workspace), core.basis, core.models)
            prompt = check_prompt(text)
            requests = []
            for label, given in moves.items():
                steps = [check_step(index, step) for index, step in enumerate(given, 1)]
                moved = move(embeddings, steps, self.panel.celeb_map)
                settings = {"person": person, "components": steps}
                requests.append(request_mixture(moved, prompt, seed, label, settings))
            return requests

        return submit(ComponentsJob, self.shared, workspace, make_requests)

    # --- widgets --------------------------------------------------------------------------------

    def build(self, prompt: gr.Textbox, seed: gr.Number, session: gr.Textbox) -> None:
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
                self.results.build_download()
        self.results.wire(session)
        person = self.panel.person
        moved = self.results.go.click(
            self.start_move, [person, prompt, seed, session, *self.steps], self.problem, **PRIVATE
        )
        strip = self.results.second.click(
            self.start_strip,
            [person, self.component, prompt, seed, session],
            self.problem,
            **PRIVATE,
        )
        for started in (moved, strip):
            started.success(**self.results.tick)
        self.reset.click(lambda: [0] * COMPONENTS, None, self.steps, queue=False, **PRIVATE)

    def _build_form(self) -> None:
        with gr.Row(elem_classes="joined"):
            self.component = gr.Dropdown(
                [(f"Component {number}", number) for number in range(1, COMPONENTS + 1)],
                value=1, label="Component", interactive=True, min_width=240,
                elem_id="around-component", info="From -2 to +2 steps.",
            )  # fmt: skip
            self.results.build_second("Generate component")
        self.steps: list[Slider] = []
        for first in range(1, COMPONENTS + 1, 2):
            with gr.Row():
                for number in (first, first + 1):
                    self.steps.append(
                        Slider(
                            -MAX_STEP, MAX_STEP, 0, step=0.25, label=f"Component {number}",
                            min_width=130, elem_id=f"around-{number}", buttons=[],
                        )
                    )  # fmt: skip
        self.results.build_buttons("Generate at sliders")
        self.reset = gr.Button("Sliders to 0", size="sm", elem_id="around-reset")


def check_step(index: int, step: Any) -> float:
    """Return a step along a component, or raise SettingsError."""
    size: float = number(step, f"Component {index}", -MAX_STEP, MAX_STEP, whole=False)
    return size


def signed(step: int) -> str:
    """Write a step with its sign."""
    return f"{step:+d}".replace("-", "−") if step else "as is"
