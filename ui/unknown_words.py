"""Under a prompt, before anything is generated: what of it the model does not know."""

from __future__ import annotations

import gradio as gr

from celeb_core import checks
from celeb_core.studio import word_hint
from ui.errors import notice
from ui.parameters import MAX_CHARACTERS
from ui.studio import PRIVATE, Shared
from ui.widgets import message

# A prompt that is being written is not sent with every key.
PAUSE = "(text) => new Promise(done => setTimeout(() => done(text), 700))"


class UnknownWords:
    """A message below a prompt, where the model's folder says which words it knows.

    Args:
        shared: What the tabs share.
        id: Of the message's element.
    """

    def __init__(self, shared: Shared, id: str) -> None:
        self.shared, self.id = shared, id

    @property
    def known(self) -> bool:
        """Whether the model says which words it knows."""
        return self.shared.core.models.vocabulary is not None

    def refresh(self, text: str) -> str:
        """Return what the model does not know as HTML, "" if there is nothing."""
        text = checks.text(text, "The prompt", MAX_CHARACTERS)
        return notice(word_hint(text, self.shared.core), kind="hint")

    def build(self, prompt: gr.Textbox) -> None:
        """Lay it out below the prompt, and wire it."""
        self.message = message(self.id)
        if self.known:
            prompt.change(
                self.refresh, prompt, self.message, js=PAUSE, queue=False,
                trigger_mode="always_last", **PRIVATE,
            )  # fmt: skip
