"""Was this made here? An upload, and in words what its marks tell."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from celeb_core import checks
from celeb_core.errors import CelebError
from celeb_core.prompt import MAX_TEXT
from ui.errors import explain_file, notice
from ui.studio import PRIVATE, Shared
from ui.widgets import Updates, message

INFO = (
    '<p class="lead small">Every image that is generated here says so in its metadata (IPTC '
    "DigitalSourceType), with a mark that this page can recognise. It says nothing of who "
    "generated it.</p>"
)


class MadeHere:
    """Widgets and what they do."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    def check(self, file: str, session: str) -> Updates:
        """Say what a file tells of where it was made; it is deleted after that."""
        path = Path(checks.text(file, "The file", MAX_TEXT))
        try:
            found = self.shared.marks.examine(path)
        except CelebError as error:
            return {self.answer: notice(explain_file(error, file, path.name))}
        finally:
            self.shared.uploads.discard(session, path)
        kind = "good" if found.verdict == "unchanged" else "hint"
        return {self.answer: notice(f"{path.name}: {found.text}", kind=kind)}

    def build(self, session: gr.Textbox) -> None:
        """Lay out the widgets and wire them."""
        gr.Markdown("### Was this made here?")
        gr.HTML(INFO)
        self.file = gr.UploadButton("Check an image", size="sm", elem_id="about-check")
        self.answer = message("about-answer")
        self.file.upload(self.check, [self.file, session], self.answer, **PRIVATE)
