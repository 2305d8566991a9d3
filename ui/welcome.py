"""What tabs show before anything was made: sample people, example images, mixtures."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from celeb_core import load_photo
from celeb_core.marks.provenance import Marker
from ui.examples import ExampleImage
from ui.progress import joined
from ui.studio import Shared
from ui.training_job import score_text
from ui.widgets import gallery

PEOPLE = "Sample people: the photo, and what the model generates"
IMAGES = "Images of them: click one for its prompt"


class Welcome:
    """Galleries of what the model's folder ships; nothing where it ships nothing.

    Args:
        shared: What the tabs share.
    """

    def __init__(self, shared: Shared) -> None:
        self.shared, self.examples = shared, shared.shown_first

    def people(self, id: str) -> gr.Gallery:
        """Show each sample person's photo beside an image of them."""
        rows = []
        for name, person in self.examples.people.items():
            score = score_text(person.score) if person.score is not None else ""
            photo = self._shown(f"photo-{name}", person.photo)
            portrait = self._shown(f"portrait-{name}", person.portrait, self.shared.marks)
            rows += [(photo, f"{name}: the photo"), (portrait, joined(name, score))]
        return gallery(id, PEOPLE, rows)

    def images(self, id: str, label: str = IMAGES) -> gr.Gallery:
        """Show the example images with their prompts."""
        rows = [
            (self._shown(f"image-{number}", image.path, self.shared.marks), caption(image))
            for number, image in enumerate(self.examples.images)
        ]
        return gallery(id, label, rows, size="medium")

    def mixture(self, name: str, id: str, label: str) -> None:
        """Show an example of a "strip" or a "square", if there is one."""
        if path := self.examples.mixture(name):
            shown = self._shown(name, path, self.shared.marks)
            gallery(id, label, [(shown, "")], size="whole", opens=True)

    def _shown(self, name: str, path: Path, marker: Marker | None = None) -> str:
        """Return a file that the page may serve; `marker` marks a generated image."""
        return self.shared.files.show("examples", name, lambda: load_photo(path), marker)


def caption(image: ExampleImage) -> str:
    """Return the prompt of an example image, and its identity scores."""
    scores = image.settings.get("scores")
    people = scores.get("people", {}) if isinstance(scores, dict) else {}
    known = [f"{name}\u00a0{score:.2f}" for name, score in people.items()]
    return joined(image.prompt, *known)
