"""The prompt of Compose, and what writes into it: people, celebrities, ready-made ideas."""

from __future__ import annotations

import json

import gradio as gr

from celeb_core import checks, placeholders
from celeb_core.prompt import known_names
from ui import ideas
from ui.insert import insert, insert_chosen
from ui.parameters import MAX_CHARACTERS
from ui.studio import PRIVATE, Shared
from ui.unknown_words import UnknownWords
from ui.widgets import Updates, signal


class PromptBox:
    """Widgets and what they do."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    # --- handlers -------------------------------------------------------------------------------

    def refresh(self, session: str) -> str:
        """List the people of the library as JSON, and who has a portrait."""
        workspace = self.shared.workspace(session)
        people = workspace.people()
        return json.dumps([(name, workspace.portraits.find(name) is not None) for name in people])

    def fill_in(self, people: list[str], text: str) -> str:
        """Return a first prompt about people who were just trained; what was written stays."""
        text = checks.text(text, "The prompt", MAX_CHARACTERS)
        if text.strip() not in ("", self.shared.shown_first.prompt) or not people:
            return text
        return "a photo of " + " and ".join(f"<{name}>" for name in people[:2])

    def offer(self, session: str) -> str:
        """Return the example prompt if its people are there, else ""."""
        prompt = self.shared.shown_first.prompt
        people = self.shared.workspace(session).people()
        return prompt if all(name in people for name in placeholders(prompt)) else ""

    def idea(self, template: str | None, text: str, session: str) -> Updates:
        """Write a ready-made prompt about the people of the prompt, else those of the library.

        The choice is emptied, so that the same idea can be chosen again.
        """
        if not template:
            return {self.ideas: None}
        text = checks.text(text, "The prompt", MAX_CHARACTERS)
        known = self.shared.workspace(session).people()
        chosen = [name for name in placeholders(text) if name in known]
        people = [f"<{name}>" for name in dict.fromkeys([*chosen, *known])]
        celebrities = list(dict.fromkeys([*known_names(text, self.celebrities), *self.celebrities]))
        if text.strip() == self.shared.shown_first.prompt:  # nobody wrote it
            text = ""
        return {self.text: ideas.put_in(text, template, people, celebrities), self.ideas: None}

    @property
    def celebrities(self) -> list[str]:
        """The names that the model knows, or those of the basis."""
        core = self.shared.core
        return list(core.models.names or core.basis.names)

    # --- widgets --------------------------------------------------------------------------------

    def build_signal(self) -> None:
        """Lay out what updates the chips and offers a prompt; outside of the tabs: always there."""
        self.people, self.offered = signal("compose-listed"), signal("compose-offered")

    def build(self, session: gr.Textbox) -> None:
        """Lay it out and wire it."""
        self.text = gr.Textbox(
            "", label="Prompt", lines=3, max_lines=8, elem_id="compose-prompt",
            placeholder="<ada> playing the guitar with <bob> on the beach",
            info="Type < for your people. Several prompts: one per line.",
            max_length=MAX_CHARACTERS,
        )  # fmt: skip
        UnknownWords(self.shared, "compose-unknown").build(self.text)
        self.apart = gr.Button(
            "Take it apart: prompt, negative prompt, settings", visible=False, size="sm",
            elem_id="compose-apart",
        )  # fmt: skip

        # Not of the list that changed: a request could have any file of the server in it.
        gr.render(inputs=session, triggers=[self.people.change])(self._chips)
        with gr.Row():
            self.celebrity = gr.Dropdown(
                self.celebrities, value=None, label="Insert a celebrity",
                elem_id="compose-celebrity", min_width=150,
            )  # fmt: skip
            self.ideas = gr.Dropdown(
                ideas.choices(), value=None, label="Example prompts", elem_id="compose-ideas",
                min_width=150,
            )  # fmt: skip
        both = [self.text, self.celebrity]
        self.celebrity.input(None, both, both, js=insert_chosen())
        taken = [self.ideas, self.text, session]
        self.ideas.input(self.idea, taken, [self.text, self.ideas], **PRIVATE)

    def _chips(self, session: str) -> None:
        """A button for each person."""
        workspace = self.shared.workspace(session)
        people = workspace.people()
        if not people:
            gr.HTML('<p class="lead">No trained people yet: see the Faces tab.</p>')
            return
        with gr.Row(elem_classes="chips", elem_id="compose-people"):
            for name in people:
                portrait = workspace.portraits.find(name)
                chip = gr.Button(name, icon=str(portrait) if portrait else None, size="sm")
                chip.click(None, self.text, self.text, js=insert(f"<{name}>"))
