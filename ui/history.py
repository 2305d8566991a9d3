"""An image that was clicked: its settings, and what can be done with it; earlier images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ui.gallery import Results
from ui.jobs import SavedImage
from ui.layout import describe_regions
from ui.studio import PRIVATE
from ui.widgets import Updates, facts, gallery, gallery_of

MAX_EARLIER = 100  # earlier images that are shown
LABELS = {
    "prompt": "Prompt",
    "written": "As written",
    "negative_prompt": "Negative prompt",
    "seed": "Seed",
    "steps": "Steps",
    "guidance": "Guidance scale",
    "scheduler": "Scheduler",
    "strength": "Identity strength",
}


class History:
    """Beside the results of one tab. Images are known by their file's name, which is ours."""

    def __init__(self, results: Results) -> None:
        self.results = results

    # --- handlers -------------------------------------------------------------------------------

    def refresh(self, session: str) -> Updates:
        """Show the images of earlier jobs, the latest first; none is picked."""
        earlier = self._earlier(session)[:MAX_EARLIER]
        return {self.earlier: gallery_of(earlier), self.panel: gr.update(visible=False)}

    def pick(self, session: str, event: gr.SelectData) -> Updates:
        """Show all about an image that was clicked, here or among the results."""
        try:
            name = Path(event.value["image"]["path"]).name
        except (TypeError, KeyError):  # not of this page
            name = ""
        image = self.find(name, session)
        if image is None:
            return {self.picked: "", self.panel: gr.update(visible=False), self.facts: ""}
        return {
            self.picked: image.path.name,
            self.panel: gr.update(visible=True),
            self.facts: about(image.settings),
            self.save: str(image.path),
        }

    def find(self, name: str, session: str) -> SavedImage | None:
        """Return the image of this workspace with that file name."""
        job = self.results.job(session)
        known = [*(job.images if job else []), *self._earlier(session)]
        return next((image for image in known if image.path.name == name), None)

    def _earlier(self, session: str) -> list[SavedImage]:
        shared, job = self.results.shared, self.results.job(session)
        jobs = shared.runner.finished(shared.workspace(session).id, self.results.kind)
        return [image for other in jobs if other is not job for image in other.images]

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.Textbox) -> None:
        """What a click opens, then the earlier images."""
        self.picked = gr.State("")
        with gr.Column(visible=False, elem_classes="boxed") as self.panel:
            self.facts = gr.HTML(elem_id="compose-facts")
            with gr.Row(elem_classes="actions"):
                self.reuse = gr.Button("Reuse settings", size="sm", elem_id="compose-reuse")
                self.more = gr.Button("More like this", size="sm", elem_id="compose-more")
                self.save = gr.DownloadButton("Download it", size="sm", elem_id="compose-save")
        self.earlier = gallery("compose-earlier", "Earlier in this session", opens=True)
        self.fresh = [self.earlier, self.panel]
        chosen = [self.picked, self.panel, self.facts, self.save]
        for shown in (self.results.gallery, self.earlier):
            shown.select(self.pick, session, chosen, **PRIVATE)


def about(settings: Mapping[str, Any]) -> str:
    """HTML: settings and scores as a list."""
    known = {key: label for key, label in LABELS.items() if settings.get(key) not in (None, "")}
    rows = {label: str(settings[key]) for key, label in known.items()}
    if "regions" in settings:
        rows["Regions"] = describe_regions(settings["regions"])
    rows["Size"] = f"{settings.get('width')} x {settings.get('height')}"
    scores = settings.get("scores", {})
    rows |= {
        f"Identity score of {name}": f"{score:.2f}" for name, score in scores["people"].items()
    }
    if scores["prompt"] is not None:
        rows["Prompt score"] = f"{scores['prompt']:.2f}"
    if verdict := settings.get("verdict"):
        rows["Verdict"] = f"{verdict['kind']}: {verdict['sentence']}"
    for number, attempt in enumerate(settings.get("attempts", ()), 1):
        kept = ", this image" if attempt["seed"] == settings.get("seed") else ""
        rows[f"Attempt {number}"] = f"seed {attempt['seed']}, {attempt['verdict']}{kept}"
    return facts(rows)
