"""The settings of Compose: from the widgets to the core, and back from a picture that has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from celeb_core import SCHEDULERS, Models, SampleConfig

MAX_SEED = 2**31 - 1
MAX_STRENGTH, MAX_DELAY = 1.5, 0.5
SHAPES: dict[str, tuple[float, float] | None] = {
    "Automatic": None,
    "Square": (1.0, 1.0),
    "Wide": (1.5, 1.0),
    "Tall": (1.0, 1.5),
}
"""Label -> width and height as multiples of the model's; None is wide for two or more people."""
FIELDS: dict[str, Any] = {
    "prompt": str,
    "negative_prompt": str,
    "seed": int,
    "steps": int,
    "guidance": int | float,
    "strength": int | float,
    "delay": int | float,
}
"""What a picture says about itself, and what kind it must be to be loaded back."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What the widgets say, beside prompts, number and seed of the pictures."""

    negative: str = ""
    steps: int
    guidance: float
    scheduler: str = ""  # empty: the model's own
    shape: str = "Automatic"
    delay: float = 0.0
    fast: bool = False  # half the steps

    def config(self, models: Models, seed: int) -> SampleConfig:
        """As the core wants it."""
        times = SHAPES[self.shape]
        return SampleConfig(
            seed=seed,
            steps=-(-int(self.steps) // 2) if self.fast else int(self.steps),
            guidance=float(self.guidance),
            negative_prompt=self.negative.strip(),
            scheduler=self.scheduler or None,
            delay=float(self.delay),
            width=round(models.width * times[0]) if times else None,
            height=round(models.height * times[1]) if times else None,
        )


class Advanced:
    """The widgets that say how pictures are drawn."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def build(self) -> None:
        """Lay them out."""
        self.negative = gr.Textbox(
            "", label="Not in the picture", max_lines=2, elem_id="compose-negative",
            placeholder="sunglasses, hat",
        )  # fmt: skip
        self.strength = gr.Slider(
            0, MAX_STRENGTH, 1, step=0.05, label="Identity strength",
            elem_id="compose-strength",
            info="1: the person as trained. Lower: nearer to the average person, and a little "
            "nearer to the prompt. Higher: more of the person.",
        )  # fmt: skip
        self.delay = gr.Slider(
            0, MAX_DELAY, 0, step=0.05, label="Likeness or prompt", elem_id="compose-delay",
            info="0: all likeness. Higher: this share of the steps lays out the scene before your "
            "people come in. Likeness falls; try it where a prompt is not followed.",
        )  # fmt: skip
        with gr.Row():
            self.steps = gr.Slider(
                1, 100, self.models.steps, step=1, label="Steps", min_width=150,
                info="More: finer, and slower.",
            )  # fmt: skip
            self.guidance = gr.Slider(
                1, 20, self.models.guidance, step=0.5, label="Guidance", min_width=150,
                info="How literally the prompt is taken.",
            )  # fmt: skip
        with gr.Row():
            self.shape = gr.Dropdown(
                list(SHAPES), value="Automatic", label="Shape", min_width=150,
                info="Automatic: wide for two people.", elem_id="compose-shape",
            )  # fmt: skip
            self.scheduler = gr.Dropdown(
                [("The model's own", ""), *((name, name) for name in SCHEDULERS)], value="",
                label="Scheduler", min_width=150, info="How noise becomes a picture.",
            )  # fmt: skip
        self.fast = gr.Checkbox(
            False, label="Fast mode", elem_id="compose-fast",
            info="Half the steps: twice as fast, a little rougher.",
        )  # fmt: skip

    def inputs(self) -> dict[str, Any]:
        """Fields of `Form`: their widgets."""
        return {field.name: getattr(self, field.name) for field in fields(Form)}


def from_picture(settings: Mapping[str, Any], models: Models) -> list[Any]:
    """Settings of a picture -> the widgets of FIELDS, then scheduler, shape, people of the grid
    (none), fast mode (off) and whether the seed is a new one (no).

    What is missing or of a wrong kind leaves its widget as it is.
    """
    fitting = [
        settings[name] if isinstance(settings.get(name), kind) else gr.skip()
        for name, kind in FIELDS.items()
    ]
    scheduler = settings.get("scheduler")
    own = scheduler not in SCHEDULERS or scheduler == models.scheduler_name
    size = (settings.get("width"), settings.get("height"))
    shapes = {
        (round(models.width * times[0]), round(models.height * times[1])): label
        for label, times in SHAPES.items()
        if times
    }
    shape = shapes.get(size, "Automatic")
    return [*fitting, "" if own else scheduler, shape, [], False, False]
