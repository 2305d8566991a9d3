"""The settings of Compose: from the widgets to the core, and back from an image that has them."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import gradio as gr

from celeb_core import SCHEDULERS, CelebError, Models, Prompt, RegionConfig, SampleConfig
from celeb_core.checks import choice, number, shown, text
from celeb_core.prompt import MAX_STRENGTH, MAX_TEXT
from celeb_core.sampling import MOST_STEPS, check_config
from celeb_core.types import Box
from ui.layout import AUTOMATIC, BOXES, MODES, OFF, from_region_settings, parse_boxes
from ui.parameters import MAX_CHARACTERS, parse_parameters
from ui.widgets import Number, Slider

MAX_SEED = 2**32 - 1  # as in A1111, whose settings can be taken over
SHAPES: dict[str, tuple[float, float] | None] = {
    "Automatic": None,
    "Square": (1.0, 1.0),
    "Wide": (1.5, 1.0),
    "Tall": (1.0, 1.5),
}
"""Label -> width and height as multiples of the model's; None is wider for several people."""
LARGEST = 4  # times the model's width or height
KINDS: dict[str, Any] = {
    "prompt": str,
    "negative_prompt": str,
    "seed": int,
    "steps": int,
    "guidance": int | float,
    "strength": int | float,
}
"""Settings of an image that are loaded back as they are, and what type each must have."""
RANGES = {"steps": (1, 100), "guidance": (1.0, 20.0), "strength": (0.0, MAX_STRENGTH)}
"""Those that are brought into the range of their slider."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """The values of the widgets, except for prompts, seed and number of images."""

    negative_prompt: str = ""
    steps: int
    guidance_scale: float
    scheduler: str = ""  # empty: the model's own
    shape: str = "Automatic"  # of SHAPES
    width: int | None = None  # pixels; None or 0: what the shape says
    height: int | None = None
    fast: bool = False  # half the steps
    regions: str = AUTOMATIC  # of MODES
    boxes: Any = ""  # name -> box, as JSON or not: see `parse_boxes`
    region_strength: float = RegionConfig.strength
    self_attention_share: float = RegionConfig.self_attention_share
    rearrange: bool = True  # prompts whose people are later than the model knows them

    def config(self, models: Models, seed: int) -> SampleConfig:
        """Convert them for the core.

        Raises:
            SettingsError: A value is none that its widget can have.
        """
        width, height = self._size(models)
        steps = number(self.steps, "Steps", 1, MOST_STEPS)
        config = SampleConfig(
            seed=seed,
            steps=-(-steps // 2) if self.fast else steps,
            guidance_scale=number(self.guidance_scale, "Guidance scale", 0, 100, whole=False),
            negative_prompt=text(self.negative_prompt, "Negative prompt", MAX_TEXT).strip(),
            scheduler=choice(self.scheduler or "", "Scheduler", ("", *SCHEDULERS)) or None,
            width=width,
            height=height,
            regions=self._regions(),
        )
        check_config(config, models)
        return config

    def layout(self) -> dict[str, Box]:
        """Return the boxes, if they are to be used.

        Raises:
            SettingsError: They are no boxes.
        """
        return parse_boxes(self.boxes) if self.regions == BOXES else {}

    def _size(self, models: Models) -> tuple[int | None, int | None]:
        """Return width and height in pixels; None where the model says it."""
        given = (self.width, "Width", models.width), (self.height, "Height", models.height)
        size = shape_size(choice(self.shape, "Aspect ratio", SHAPES), models) or (None, None)
        width, height = (
            (number(value, label, 0, LARGEST * side) if value else 0) or by_shape
            for (value, label, side), by_shape in zip(given, size, strict=True)
        )
        return width, height

    def _regions(self) -> RegionConfig | None:
        share, label = self.self_attention_share, "Share of steps"
        config = RegionConfig(
            number(self.region_strength, "Region strength", 0, 1, whole=False),
            number(share, label, 0, 1, whole=False),
        )
        return None if choice(self.regions, "Regions", MODES) == OFF else config


class Advanced:
    """The widgets that say how images are generated; named like the fields of `Form`."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def build(self) -> None:
        """Lay them out."""
        self.negative_prompt = gr.Textbox(
            "", label="Negative prompt", max_lines=2, elem_id="compose-negative",
            placeholder="sunglasses, hat", max_length=MAX_TEXT,
        )  # fmt: skip
        self.strength = Slider(
            0, MAX_STRENGTH, 1, step=0.05, label="Identity strength",
            elem_id="compose-strength",
            info="1: the person as trained. Lower: nearer to the average person, and to the "
            "prompt. Of one person alone: <ada:0.7> in the prompt.",
        )  # fmt: skip
        with gr.Row():
            self.steps = Slider(
                1, 100, self.models.steps, step=1, label="Steps", min_width=150,
                info="More: finer, and slower.",
            )  # fmt: skip
            self.guidance_scale = Slider(
                1, 20, self.models.guidance_scale, step=0.5, label="Guidance scale",
                min_width=150, info="How literally the prompt is taken.",
            )  # fmt: skip
        with gr.Row():
            self.shape = gr.Dropdown(
                list(SHAPES), value="Automatic", label="Aspect ratio", min_width=150,
                info="Automatic: wider for several people.", elem_id="compose-shape",
            )  # fmt: skip
            self.width = self._side("Width", self.models.width)
            self.height = self._side("Height", self.models.height)
        with gr.Row():
            self.scheduler = gr.Dropdown(
                [("The model's own", ""), *((name, name) for name in SCHEDULERS)], value="",
                label="Scheduler", min_width=150, info="How noise becomes an image.",
            )  # fmt: skip
        with gr.Row():
            self.region_strength = Slider(
                0, 1, RegionConfig.strength, step=0.05, label="Region strength", min_width=150,
                info="Of several people. 1: nobody acts outside of their region.",
                elem_id="compose-region-strength",
            )  # fmt: skip
            self.self_attention_share = Slider(
                0, 1, RegionConfig.self_attention_share, step=0.05, label="Share of steps",
                min_width=150, elem_id="compose-region-share",
                info="From the first, in which regions do not attend to one another.",
            )  # fmt: skip
        self.fast = gr.Checkbox(
            False, label="Fast mode", elem_id="compose-fast",
            info="Half the steps: twice as fast, a little rougher.",
        )  # fmt: skip
        self.rearrange = gr.Checkbox(
            True, label="People first", elem_id="compose-rearrange",
            info="Where the model knows people near the beginning of a prompt only, what stands "
            "before them is moved behind them. You are told how.",
        )  # fmt: skip

    def _side(self, label: str, side: int) -> Number:
        return Number(
            0, label=label, precision=0, minimum=0, maximum=LARGEST * side, min_width=100,
            info="Pixels. 0: by the aspect ratio.", elem_id=f"compose-{label.lower()}",
        )  # fmt: skip

    def inputs(self) -> dict[str, Any]:
        """Return field of `Form` -> widget; those of the layout are elsewhere."""
        names = [field.name for field in fields(Form)]
        return {name: getattr(self, name) for name in names if hasattr(self, name)}


def from_settings(settings: Mapping[str, Any], models: Models) -> dict[str, Any]:
    """Return what the settings of an image mean for the form, by the names of the settings.

    What is missing, or of a wrong type, is left out; the grid's people, fast mode and a fresh seed
    are switched off, because the settings have their results.
    """
    found = {name: (settings.get(name), kind) for name, kind in KINDS.items()}
    fitting: dict[str, Any] = {name: pair[0] for name, pair in found.items() if fits(*pair)}
    if not 0 <= fitting.get("seed", 0) <= MAX_SEED:
        del fitting["seed"]
    for name, (low, high) in RANGES.items():
        if name in fitting:
            fitting[name] = min(max(fitting[name], low), high)
    scheduler = settings.get("scheduler")
    known = isinstance(scheduler, str) and scheduler in SCHEDULERS
    return {
        **fitting,
        **from_region_settings(settings),
        "scheduler": scheduler if known and scheduler != models.scheduler_name else "",
        **fitting_size(settings, models),
        "grid_people": [],
        "fast": False,
        "new_seed": "seed" not in fitting,
    }


def fits(value: Any, kind: Any) -> bool:
    """Return whether a value is of a type, not too long and finite."""
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    return len(value) <= MAX_TEXT if isinstance(value, str) else abs(value) < 2**64


def shape_size(shape: str, models: Models) -> tuple[int, int] | None:
    """Return width and height in pixels of a shape; None: as many people need."""
    times = SHAPES[shape]
    return (round(models.width * times[0]), round(models.height * times[1])) if times else None


def fitting_size(settings: Mapping[str, Any], models: Models) -> dict[str, Any]:
    """Return the fields of `Form` that give the size of an image, or its proportions.

    An image of this model gets its very size; those of other models may be far too large for it.
    """
    size: tuple[Any, Any] = (settings.get("width"), settings.get("height"))
    shape = nearest_shape(*size, models)
    ours = settings.get("model") == models.id and all(fits(side, int) for side in size)
    if shape == "Automatic" or not ours or size == shape_size(shape, models):
        return {"shape": shape, "width": 0, "height": 0}
    limits = LARGEST * models.width, LARGEST * models.height
    width, height = (min(side, most) for side, most in zip(size, limits, strict=True))
    return {"shape": shape, "width": width, "height": height}


def nearest_shape(width: Any, height: Any, models: Models) -> str:
    """Return the shape that is nearest to the proportions of an image."""
    if not all(fits(side, int) and side > 0 for side in (width, height)):
        return "Automatic"
    wide = math.log(width / height * models.height / models.width)
    shapes = {label: math.log(times[0] / times[1]) for label, times in SHAPES.items() if times}
    return min(shapes, key=lambda label: abs(shapes[label] - wide))


def unknown_scheduler(settings: Mapping[str, Any], models: Models) -> str:
    """Say that settings have a scheduler that cannot be taken over; "" if they have none."""
    name = settings.get("scheduler")
    if not isinstance(name, str) or name in (*SCHEDULERS, models.scheduler_name, "default", ""):
        return ""
    return f"There is no scheduler {shown(name)} here: the model's own is chosen."


def prompts(box: Any) -> tuple[str, ...]:
    """Return the prompts of the box, one per line.

    Raises:
        CelebError: It is too long, or they are one prompt with the settings of another tool.
    """
    written = text(box, "The prompt", MAX_CHARACTERS)
    if parse_parameters(written) is not None:
        raise CelebError(
            "This is a prompt with its settings, as other tools write them. Press “Take it apart” "
            "to put each into its field."
        )
    return tuple(line.strip() for line in written.splitlines() if line.strip())


def chosen_seed(seed: Any, new: bool) -> int:
    """Return the seed to be used: a new one if that is wanted, or there is none."""
    if new or seed is None or isinstance(seed, int) and seed < 0:
        return random.randrange(MAX_SEED)
    chosen: int = number(seed, "Seed", 0, MAX_SEED)
    return chosen


def strengthened(prompt: Prompt, strength: Any) -> Prompt:
    """Return the prompt with that identity strength for everybody without one of their own."""
    usual = float(number(strength, "Identity strength", 0, MAX_STRENGTH, whole=False))
    return replace(
        prompt, strengths={**dict.fromkeys(prompt.identities, usual), **prompt.strengths}
    )
