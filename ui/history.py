"""A picture that was clicked: its settings, and what can be done with it; earlier pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ui.gallery import Results
from ui.jobs import Drawn
from ui.parts import facts, gallery, pictures
from ui.studio import PRIVATE

MOST = 100  # earlier pictures that are shown
LABELS = {
    "prompt": "Prompt",
    "negative_prompt": "Not in it",
    "seed": "Seed",
    "steps": "Steps",
    "guidance": "Guidance",
    "scheduler": "Scheduler",
    "strength": "Identity strength",
}


class History:
    """Beside the results of one tab. Pictures are known by their file's name, which is ours."""

    def __init__(self, results: Results) -> None:
        self.results = results

    # --- handlers -------------------------------------------------------------------------------

    def refresh(self, session: str) -> list[Any]:
        """The pictures of earlier jobs, the latest first; nothing is picked."""
        return [pictures(self._earlier(session)[:MOST]), gr.update(visible=False)]

    def pick(self, session: str, event: gr.SelectData) -> list[Any]:
        """A click on a picture, here or among the results -> its name and what it is."""
        drawn = self.find(Path(event.value["image"]["path"]).name, session)
        if drawn is None:
            return ["", gr.update(visible=False), "", gr.skip()]
        return [
            drawn.path.name, gr.update(visible=True), about(drawn.settings), str(drawn.path),
        ]  # fmt: skip

    def find(self, name: str, session: str) -> Drawn | None:
        """The picture of this workspace with that file name."""
        job = self.results.job(session)
        known = [*(job.pictures if job else []), *self._earlier(session)]
        return next((drawn for drawn in known if drawn.path.name == name), None)

    def _earlier(self, session: str) -> list[Drawn]:
        shared, job = self.results.shared, self.results.job(session)
        jobs = shared.runner.finished(shared.workspace(session).id, self.results.kind)
        return [drawn for other in jobs if other is not job for drawn in other.pictures]

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.BrowserState) -> None:
        """What a click opens, then the earlier pictures."""
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
    """Settings and scores as an HTML list."""
    known = {key: label for key, label in LABELS.items() if settings.get(key) not in (None, "")}
    rows = {label: str(settings[key]) for key, label in known.items()}
    if late := settings.get("delay"):
        rows["People come in after"] = f"{late:.0%} of the steps"
    rows["Size"] = f"{settings.get('width')} x {settings.get('height')}"
    scores = settings.get("scores", {})
    rows |= {f"Likeness of {name}": f"{value:.2f}" for name, value in scores["people"].items()}
    if scores["prompt"] is not None:
        rows["Fits the prompt"] = f"{scores['prompt']:.2f}"
    return facts(rows)
