"""Interpolate: from one person to another, between four, and around one on the celebrity map."""

from __future__ import annotations

from typing import Any

import gradio as gr

from celeb_core.prompt import MAX_TEXT
from ui.animation import Animation
from ui.components import Components
from ui.form import MAX_SEED
from ui.map_panel import CelebMapPanel
from ui.mixtures import choices, refilled
from ui.square import Square
from ui.strip import Strip
from ui.studio import Shared
from ui.unknown_words import UnknownWords
from ui.widgets import Number, Updates


class InterpolateTab:
    """The parts of the tab, with one prompt and one seed for all."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.strip, self.square = Strip(shared), Square(shared)
        self.animation = Animation(shared, self.strip)
        self.map = CelebMapPanel(shared)
        self.components = Components(shared, self.map)

    # --- handlers -------------------------------------------------------------------------------

    def refresh(self, *chosen: str | None) -> Updates:
        """Update all lists of people, and clear messages about them; the session comes last."""
        *names, session = chosen
        known = choices(self.shared, session or "")
        lists = [*refilled(names[:2], known), *refilled(names[2:], known)]
        updates: Updates = dict(zip(self.people, lists, strict=True))
        return {**updates, self.strip.problem: "", self.square.problem: ""}

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.Textbox) -> None:
        """Lay out the tab and wire what stays inside it."""
        with gr.Row():
            self.prompt = gr.Textbox(
                "a photo of {}", label="Prompt", info="{} stands for the person.", max_lines=3,
                elem_id="interpolate-prompt", scale=5, min_width=220, max_length=MAX_TEXT,
            )  # fmt: skip
            self.seed = Number(
                0, label="Seed", info="One for all images.", precision=0, minimum=0,
                maximum=MAX_SEED, min_width=110, elem_id="interpolate-seed",
            )  # fmt: skip
        UnknownWords(self.shared, "interpolate-unknown").build(self.prompt)
        shared = (self.prompt, self.seed, session)
        with gr.Tabs():
            with gr.Tab("Two people"):
                self.strip.build(*shared)
                self.animation.build(session)
            with gr.Tab("Four people"):
                self.square.build(*shared)
        self.map.build(session)
        self.components.build(*shared)
        self.people = [self.strip.a, self.strip.b, *self.square.people]
        self.fresh = [*self.people, self.strip.problem, self.square.problem]

    @property
    def ticks(self) -> list[dict[str, Any]]:
        """What finds the jobs of this tab again after a reload."""
        parts = (self.strip, self.square, self.animation, self.components)
        return [part.results.tick for part in parts]
