"""Compose: who is where in images of several people, in boxes on a canvas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from celeb_core import CelebError, checks
from celeb_core.errors import SettingsError
from celeb_core.faces import examine_photo
from celeb_core.prompt import MAX_TEXT
from ui.errors import explain_file, notice
from ui.form import Form, prompts
from ui.layout import AUTOMATIC, BOXES, MOST_TEXT, OFF, boxes_around, plan
from ui.studio import PRIVATE, Shared
from ui.widgets import Updates, message

CHOICES = [("Automatic", AUTOMATIC), ("Boxes", BOXES), ("Off", OFF)]
INFO = (
    "Everyone acts in a region of their own. Automatic: left to right in the order of the prompt. "
    "Boxes: where you place them. Off: everyone acts everywhere, faces mix more."
)
CANVAS = f'<people-layout data-least="{checks.LEAST_SIDE}"></people-layout>'
# A prompt that is being written is not sent with every key.
PAUSE = "(...values) => new Promise(done => setTimeout(() => done(values), 400))"
SHOW = """(...values) => {
  document.dispatchEvent(new CustomEvent("people-layout", { detail: values }));
}"""


class LayoutPanel:
    """Widgets and what they do."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    # --- handlers -------------------------------------------------------------------------------

    def refresh(
        self,
        text: str,
        grid_people: list[str],
        shape: str,
        width: int | None,
        height: int | None,
        regions: str,
        boxes: str,
        session: str,
    ) -> Any:
        """Return whom the canvas shows, see `layout.plan`; while that cannot be said, as it is."""
        try:
            found = self._plan(text, grid_people, (shape, width, height), session, regions, boxes)
        except CelebError:  # it is said when the button is pressed
            found = None
        return gr.skip() if found is None else found

    def from_image(
        self,
        file: str,
        text: str,
        grid_people: list[str],
        shape: str,
        width: int | None,
        height: int | None,
        session: str,
    ) -> Updates:
        """Place the people of the prompt where an image has faces, left to right."""
        path = Path(checks.text(file, "The file", MAX_TEXT))
        try:
            size = shape, width, height
            shown = json.loads(self._plan(text, grid_people, size, session) or "{}")
            people = [person["name"] for person in shown.get("people", ())]
            if not people:
                raise SettingsError("Write a prompt with two or more people first.")
            boxes = boxes_around(examine_photo(path, self.shared.core.faces), people)
        except CelebError as error:
            return {self.problem: notice(explain_file(error, file, path.name))}
        finally:
            self.shared.uploads.discard(session, path)
        return {self.problem: "", self.boxes: json.dumps(boxes), self.regions: BOXES}

    def _plan(
        self,
        text: str,
        grid_people: list[str],
        size: tuple[str, int | None, int | None],
        session: str,
        regions: str = AUTOMATIC,
        boxes: str = "",
    ) -> str | None:
        core = self.shared.core
        models, known = core.models, self.shared.workspace(session).people()
        form = Form(
            steps=models.steps, guidance_scale=models.guidance_scale, shape=size[0],
            width=size[1], height=size[2], regions=regions, boxes=boxes,
        )  # fmt: skip
        crowd = checks.texts(grid_people, "The grid of people", MAX_TEXT)
        config, drawn = form.config(models, 0), form.layout()
        return plan(core, prompts(text), bool(crowd), known, config, drawn)

    # --- widgets --------------------------------------------------------------------------------

    def build(self) -> None:
        """Lay it out."""
        with gr.Accordion("Regions: who is where", open=False, elem_id="compose-layout"):
            self.regions = gr.Radio(
                CHOICES, value=AUTOMATIC, label="Regions", info=INFO, elem_id="compose-regions"
            )
            gr.HTML(CANVAS, elem_id="compose-canvas")
            self.image = gr.UploadButton(
                "Boxes from the faces of an image", file_types=["image", ".heic", ".heif"],
                size="sm", elem_id="compose-layout-image",
            )  # fmt: skip
            self.problem = message("compose-layout-problem")
            self.boxes = gr.Textbox(
                "", label="Boxes", visible="hidden", max_length=MOST_TEXT, elem_id="compose-boxes"
            )
            self.plan = gr.Textbox("", label="Plan", visible="hidden", elem_id="compose-plan")

    def inputs(self) -> dict[str, Any]:
        """Return field of `Form` -> widget."""
        return {"regions": self.regions, "boxes": self.boxes}

    def wire(
        self,
        prompt: gr.Textbox,
        grid_people: gr.Dropdown,
        sizes: Sequence[Any],
        people: gr.Textbox,
        session: gr.Textbox,
    ) -> None:
        """Wire it with what else of the tab says who is in the images, and how wide they are."""
        written = [prompt, grid_people, *sizes]
        widgets: list[Any] = [*written, self.regions, self.boxes]
        gr.on(
            [widget.change for widget in (*widgets, people)],
            self.refresh,
            [*widgets, session],
            self.plan,
            js=PAUSE,
            queue=False,
            trigger_mode="always_last",
            **PRIVATE,
        )
        shown: list[Any] = [self.plan, self.boxes, self.regions]
        gr.on([widget.change for widget in shown], None, shown, None, js=SHOW)
        self.image.upload(
            self.from_image,
            [self.image, *written, session],
            [self.problem, self.boxes, self.regions],
            **PRIVATE,
        )
