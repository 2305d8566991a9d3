"""Whom to train, and by which recipe: the left side of the Train tab."""

from __future__ import annotations

from typing import Any

import gradio as gr

from celeb_core import PRESETS
from ui.parts import gallery
from ui.progress import about, joined
from ui.studio import PRIVATE, Shared

RECIPES = {
    "instant": "Instant: no training, a first likeness",
    "fast": "Fast: {steps} steps",
    "best": "Best: {steps} steps",
    "paper": "Paper: the published recipe, {steps} steps",
}
NOBODY = '<div class="empty">Nobody to train yet.<br>Choose a face on the Faces tab first.</div>'


class Whom:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    # --- handlers -------------------------------------------------------------------------------

    def refresh(self, chosen: list[str], session: str) -> list[Any]:
        """The people who can be trained; newcomers are chosen, known ones stay as they are."""
        workspace = self.shared.workspace(session)
        choices = [(t.name, t.id) for t in workspace.trainees.values()]
        trained = workspace.people()
        fresh = [t.id for t in workspace.trainees.values() if t.name not in trained]
        kept = [id for id in chosen or [] if id in workspace.trainees]
        value = list(dict.fromkeys([*kept, *fresh]))
        rows = [(t.faces[0].image, t.name) for t in workspace.trainees.values()]
        return [
            gr.update(value=rows, visible=bool(rows), selected_index=None),
            gr.update(choices=choices, value=value, visible=bool(choices)),
            gr.update(visible=not choices),
            self.recipes(value),
        ]

    def recipes(self, chosen: list[str]) -> Any:
        """The presets, each with the time that it will take for the chosen people."""
        calibrated = self.shared.core.calibration is not None
        choices = []
        for key, text in RECIPES.items():
            if key == "instant" and not calibrated:  # there would be nothing to guess from
                continue
            seconds = self.shared.pace.estimate(PRESETS[key], max(1, len(chosen or [])))
            time = about(seconds) if seconds is not None else ""
            choices.append((joined(text.format(steps=PRESETS[key].steps), time), key))
        return gr.update(choices=choices)

    def toggle(self, chosen: list[str], session: str, event: gr.SelectData) -> list[Any]:
        """A click on a face chooses that person, or not any more."""
        ids = dict(enumerate(self.shared.workspace(session).trainees))
        id = ids.get(int(event.index))
        rest = [other for other in chosen or [] if other != id]
        known = id is None or id in (chosen or [])
        return [gr.update(selected_index=None), rest if known else [*rest, id]]

    # --- widgets --------------------------------------------------------------------------------

    def build(self) -> None:
        """Lay them out."""
        self.nobody = gr.HTML(NOBODY)
        self.faces = gallery("train-faces", "People")
        self.chosen = gr.CheckboxGroup(
            [], label="Whom to train", show_label=False, visible=False, elem_id="train-who"
        )
        self.preset = gr.Radio(
            self.recipes([])["choices"], value="best", label="Recipe", elem_id="train-preset",
            info="More steps: a better likeness.",
        )  # fmt: skip
        with gr.Accordion("Advanced", open=False):
            self.steps = gr.Number(
                None, label="Steps", info="Empty: as many as the recipe says.", precision=0,
                minimum=1, maximum=5000, elem_id="train-steps",
            )  # fmt: skip
            self.seed = gr.Number(0, label="Seed", precision=0, minimum=0)
        self.shown = [self.faces, self.chosen, self.nobody, self.preset]

    def wire(self, session: gr.BrowserState) -> None:
        """What stays inside it."""
        clicked = [self.chosen, session]
        self.faces.select(self.toggle, clicked, [self.faces, self.chosen], **PRIVATE)
        self.chosen.change(self.recipes, self.chosen, self.preset, queue=False, **PRIVATE)
