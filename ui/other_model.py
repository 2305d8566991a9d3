"""The way to another model: shown where a photograph meets a model of drawn faces."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui.errors import safe
from ui.studio import Shared

COMMAND = "python app.py --model sd15"
HOME = "Stop the app, and start it again with this command."
HOSTED = "A visitor cannot change this page's model: install the studio on a machine of your own."


class OtherModel:
    """Why the model does not fit, the command to copy, and a way to the page that says more.

    Args:
        shared: What the tabs share.
    """

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    def show(self, wanted: bool) -> dict[Any, Any]:
        """Update whether it is there; never where the model knows photographs."""
        return {self.card: gr.update(visible=wanted and self.shared.core.faces.drawn)}

    def build(self) -> None:
        """Lay it out, hidden."""
        note, how = self.shared.core.faces.note, HOSTED if self.shared.isolated else HOME
        with gr.Column(visible=False, elem_id="faces-model", elem_classes="boxed") as self.card:
            gr.HTML(
                '<h2 class="section">Photographs need another model</h2>'
                f'<p class="lead">{safe(note)} {how}</p>'
            )
            gr.Markdown(f"```\n{COMMAND}\n```", elem_id="faces-command")  # with a copy button
            self.more = gr.Button("More about Stable Diffusion", size="sm", elem_id="faces-more")
