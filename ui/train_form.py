"""The people to train and the recipe: the left side of the Train tab."""

from __future__ import annotations

from typing import Any

import gradio as gr

from celeb_core import CelebError, TrainConfig, recipe
from celeb_core.name_regression import NAMES
from ui.errors import explain, notice
from ui.example_faces import enlist_example
from ui.form import MAX_SEED
from ui.gpu_costs import cost_text
from ui.progress import about, joined
from ui.studio import PRIVATE, Shared
from ui.widgets import Number, Updates, gallery, message

RECIPES = {
    "instant": "Instant: closed-form initialisation, no training",
    "fast": "Fast: {steps} steps",
    "best": "Best: {steps} steps",
    "paper": "Paper: the published recipe, {steps} steps",
}
MAX_STEPS = 5000
INFO = "More steps: a higher identity score."
UNPREPARED = (
    "This model is not prepared yet. Fast and Best first predict the photo's noise with each of "
    "{names} names, and train from there. On the bundled model, Best comes near the identity score "
    "that it has after preparation; on other models this has not been measured."
)
NOBODY = '<div class="empty">Nobody to train yet.<br>Choose a face on the Faces tab first.</div>'


class TrainForm:
    """Widgets and what they do. Handlers take plain values and return component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    # --- handlers -------------------------------------------------------------------------------

    def refresh(self, chosen: list[str], session: str) -> Updates:
        """Show the people who can be trained; new ones are chosen, known ones stay as they are."""
        workspace = self.shared.workspace(session)
        trainees = workspace.trainees.values()
        trained = workspace.people()
        new = [trainee.id for trainee in trainees if trainee.name not in trained]
        still = [id for id in chosen or [] if id in workspace.trainees]
        value = list(dict.fromkeys([*still, *new]))
        choices = [(trainee.name, trainee.id) for trainee in trainees]
        rows = [(workspace.face_file(trainee), trainee.name) for trainee in trainees]
        return {
            self.faces: gr.update(value=rows, visible=bool(rows), selected_index=None),
            self.chosen: gr.update(choices=choices, value=value, visible=bool(choices)),
            self.nobody: gr.update(visible=not choices),
            self.example: gr.update(visible=not choices and bool(self.shared.examples())),
            self.preset: self._recipes(value),
        }

    def add_example(self, chosen: list[str], session: str) -> Updates:
        """Put an example face into the training list."""
        try:
            enlist_example(self.shared, self.shared.workspace(session))
        except CelebError as error:
            return {self.problem: notice(explain(error))}
        return {self.problem: "", **self.refresh(chosen, session)}

    def estimate(self, chosen: list[str]) -> Updates:
        """Show the presets, each with the time that it will take for the chosen people."""
        return {self.preset: self._recipes(chosen)}

    def toggle(self, chosen: list[str], session: str, event: gr.SelectData) -> Updates:
        """Choose the person whose face was clicked, or not any more."""
        ids = dict(enumerate(self.shared.workspace(session).trainees))
        id = ids.get(int(event.index))
        rest = [other for other in chosen or [] if other != id]
        known = id is None or id in (chosen or [])
        return {
            self.faces: gr.update(selected_index=None),
            self.chosen: rest if known else [*rest, id],
        }

    def _recipes(self, chosen: list[str]) -> Any:
        core = self.shared.core
        unprepared = core.calibration is None
        names = min(NAMES, len(core.basis.names))
        info = UNPREPARED.format(names=names) if unprepared else INFO
        choices = []
        for key, text in RECIPES.items():
            if key == "instant" and unprepared:  # there is no initialisation
                continue
            config = recipe(key, core.calibration)
            time = self._time(config, max(1, len(chosen or [])))
            choices.append((joined(text.format(steps=config.steps), time), key))
        return gr.update(choices=choices, info=info)

    def _time(self, config: TrainConfig, people: int) -> str:
        """Say how long it takes, or what it costs where that is counted; "" if it is not known."""
        executor = self.shared.executor
        if executor.costs is not None:
            return cost_text(executor.costs.training(executor.fitting(config, people), people))
        seconds = self.shared.estimates.estimate(config, people)
        return about(seconds) if seconds is not None else ""

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.Textbox) -> None:
        """Lay out the widgets and wire what stays inside."""
        self.nobody = gr.HTML(NOBODY)
        self.example = gr.Button(
            "Take an example face", visible=bool(self.shared.examples()), elem_id="train-example"
        )
        self.problem = message("train-example-problem")
        self.faces = gallery("train-faces", "People")
        self.chosen = gr.CheckboxGroup(
            [], label="People to train", show_label=False, visible=False, elem_id="train-who"
        )
        recipes = self._recipes([])
        self.preset = gr.Radio(
            recipes["choices"], value="best", label="Preset", elem_id="train-preset",
            info=recipes["info"],
        )  # fmt: skip
        with gr.Accordion("Advanced", open=False):
            self.steps = Number(
                None, label="Steps", info="Empty: as many as the preset says.", precision=0,
                minimum=1, maximum=MAX_STEPS, elem_id="train-steps",
            )  # fmt: skip
            self.seed = Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED)
        self.outputs = [self.faces, self.chosen, self.nobody, self.example, self.preset]
        clicked = [self.chosen, session]
        added = [self.problem, *self.outputs]
        self.example.click(self.add_example, clicked, added, **PRIVATE)
        self.faces.select(self.toggle, clicked, [self.faces, self.chosen], **PRIVATE)
        self.chosen.change(self.estimate, self.chosen, self.preset, queue=False, **PRIVATE)
