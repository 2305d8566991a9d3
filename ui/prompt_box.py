"""The prompt of Compose, and all that writes into it: people, celebrities, ready-made ideas."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from celeb_core import placeholders
from celeb_core.prompt import known_names
from ui import ideas
from ui.insert import insert, insert_chosen
from ui.parts import signal
from ui.studio import PRIVATE, Shared


class PromptBox:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    # --- handlers -------------------------------------------------------------------------------

    def refresh(self, session: str) -> str:
        """JSON: the people of the library, each with a portrait (a path, or nothing)."""
        workspace = self.shared.workspace(session)
        people = workspace.people()
        return json.dumps([(name, str(workspace.portrait(name) or "")) for name in people])

    def fill_in(self, people: list[str], text: str) -> str:
        """A first prompt about people who were just trained; what was written stays."""
        if text.strip() or not people:
            return text
        return "a photo of " + " and ".join(f"<{name}>" for name in people[:2])

    def idea(self, template: str | None, text: str, session: str) -> list[Any]:
        """A ready-made prompt about the people of the prompt, else those of the library -> the
        prompt, and an empty choice, so that the same idea can be taken again.
        """
        if not template:
            return [gr.skip(), gr.skip()]
        core, known = self.shared.core, self.shared.workspace(session).people()
        famous = core.models.names or core.basis.names
        chosen = [name for name in placeholders(text) if name in known]
        people = [f"<{name}>" for name in dict.fromkeys([*chosen, *known])]
        celebrities = list(dict.fromkeys([*known_names(text, famous), *famous]))
        return [ideas.put_in(text, template, people, celebrities), None]

    # --- widgets --------------------------------------------------------------------------------

    def build_signal(self) -> None:
        """What starts the drawing of the chips; outside of the tabs, so that it is always there."""
        self.people = signal("compose-listed")

    def build(self, session: gr.BrowserState) -> None:
        """Lay it out and wire it."""
        self.text = gr.Textbox(
            "", label="Prompt", lines=3, max_lines=8, elem_id="compose-prompt",
            placeholder="<ada> playing the guitar with <bob> on the beach",
            info="Type < for your people. Several prompts: one per line.",
        )  # fmt: skip

        @gr.render(inputs=self.people, triggers=[self.people.change])
        def chips(listed: str) -> None:
            people = json.loads(listed or "[]")
            if not people:
                gr.HTML('<p class="lead">No trained people yet: see the Faces tab.</p>')
                return
            with gr.Row(elem_classes="chips", elem_id="compose-people"):
                for name, portrait in people:
                    chip = gr.Button(name, icon=portrait or None, size="sm")
                    chip.click(None, self.text, self.text, js=insert(f"<{name}>"))

        with gr.Row():
            core = self.shared.core
            self.celebrity = gr.Dropdown(
                list(core.models.names or core.basis.names), value=None, label="Insert a celebrity",
                elem_id="compose-celebrity", min_width=150,
            )  # fmt: skip
            self.ideas = gr.Dropdown(
                ideas.choices(), value=None, label="Ideas", elem_id="compose-ideas", min_width=150,
            )  # fmt: skip
        both = [self.text, self.celebrity]
        self.celebrity.input(None, both, both, js=insert_chosen())
        taken = [self.ideas, self.text, session]
        self.ideas.input(self.idea, taken, [self.text, self.ideas], **PRIVATE)
