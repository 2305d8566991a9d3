"""The settings of Compose: from the widgets to the core, and back from an image that has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from celeb_core import SCHEDULERS, Models, SampleConfig

MAX_SEED = 2**31 - 1
MAX_STRENGTH = 1.5
SHAPES: dict[str, tuple[float, float] | None] = {
    "Automatic": None,
    "Square": (1.0, 1.0),
    "Wide": (1.5, 1.0),
    "Tall": (1.0, 1.5),
}
"""Label -> width and height as multiples of the model's; None is wide for two or more people."""
KINDS: dict[str, Any] = {
    "prompt": str,
    "negative_prompt": str,
    "seed": int,
    "steps": int,
    "guidance": int | float,
    "strength": int | float,
}
"""Settings of an image that are loaded back as they are, and what type each must have."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """The values of the widgets, except for prompts, seed and number of images."""

    negative_prompt: str = ""
    steps: int
    guidance_scale: float
    scheduler: str = ""  # empty: the model's own
    shape: str = "Automatic"
    fast: bool = False  # half the steps

    def config(self, models: Models, seed: int) -> SampleConfig:
        """Convert them for the core."""
        times = SHAPES[self.shape]
        return SampleConfig(
            seed=seed,
            steps=-(-int(self.steps) // 2) if self.fast else int(self.steps),
            guidance_scale=float(self.guidance_scale),
            negative_prompt=self.negative_prompt.strip(),
            scheduler=self.scheduler or None,
            width=round(models.width * times[0]) if times else None,
            height=round(models.height * times[1]) if times else None,
        )


class Advanced:
    """The widgets that say how images are generated; named like the fields of `Form`."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def build(self) -> None:
        """Lay them out."""
        self.negative_prompt = gr.Textbox(
            "", label="Negative prompt", max_lines=2, elem_id="compose-negative",
            placeholder="sunglasses, hat",
        )  # fmt: skip
        self.strength = gr.Slider(
            0, MAX_STRENGTH, 1, step=0.05, label="Identity strength",
            elem_id="compose-strength",
            info="1: the person as trained. Lower: nearer to the average person, and a little "
            "nearer to the prompt. Higher: more of the person.",
        )  # fmt: skip
        with gr.Row():
            self.steps = gr.Slider(
                1, 100, self.models.steps, step=1, label="Steps", min_width=150,
                info="More: finer, and slower.",
            )  # fmt: skip
            self.guidance_scale = gr.Slider(
                1, 20, self.models.guidance_scale, step=0.5, label="Guidance scale",
                min_width=150, info="How literally the prompt is taken.",
            )  # fmt: skip
        with gr.Row():
            self.shape = gr.Dropdown(
                list(SHAPES), value="Automatic", label="Shape", min_width=150,
                info="Automatic: wide for two people.", elem_id="compose-shape",
            )  # fmt: skip
            self.scheduler = gr.Dropdown(
                [("The model's own", ""), *((name, name) for name in SCHEDULERS)], value="",
                label="Scheduler", min_width=150, info="How noise becomes an image.",
            )  # fmt: skip
        self.fast = gr.Checkbox(
            False, label="Fast mode", elem_id="compose-fast",
            info="Half the steps: twice as fast, a little rougher.",
        )  # fmt: skip

    def inputs(self) -> dict[str, Any]:
        """Return field of `Form` -> widget."""
        return {field.name: getattr(self, field.name) for field in fields(Form)}


def from_settings(settings: Mapping[str, Any], models: Models) -> dict[str, Any]:
    """Return what the settings of an image mean for the form, by the names of the settings.

    What is missing, or of a wrong type, is left out; the grid's people, fast mode and a fresh seed
    are switched off, because the settings have their results.
    """
    fitting = {
        name: settings[name] for name, kind in KINDS.items() if isinstance(settings.get(name), kind)
    }
    scheduler = settings.get("scheduler")
    own = scheduler not in SCHEDULERS or scheduler == models.scheduler_name
    size = (settings.get("width"), settings.get("height"))
    shapes: dict[Any, str] = {
        (round(models.width * times[0]), round(models.height * times[1])): label
        for label, times in SHAPES.items()
        if times
    }
    return {
        **fitting,
        "scheduler": "" if own else scheduler,
        "shape": shapes.get(size, "Automatic"),
        "grid_people": [],
        "fast": False,
        "new_seed": False,
    }
