"""A photo with its faces framed, and beside it the chosen face with its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr
from PIL import Image

from celeb_core.faces import quality_notes
from ui.errors import notice
from ui.images import framed
from ui.names import name_hint, suggested_name
from ui.photos import Photo
from ui.widgets import Updates, gallery, message
from ui.workspace import Workspace

CONSENT = "I may use this person's likeness"


@dataclass(frozen=True)
class Choice:
    """Which face of which photo is chosen. What a browser tab remembers: ids, no images."""

    photo: str = ""
    face: int | None = None


class PhotoView:
    """The right side of the Faces tab.

    Args:
        width: Of the model's images in pixels: how large a face should be.
    """

    def __init__(self, width: int) -> None:
        self.width = width

    def show(
        self,
        workspace: Workspace,
        photo: Photo | None,
        face: int | None = None,
        name: str | None = None,
    ) -> Updates:
        """Show a photo with its faces framed.

        Args:
            workspace: Of the session.
            photo: None empties the view.
            face: The chosen one; a single face needs no choice.
            name: What was typed; None suggests one.
        """
        if photo is None:
            return self._nothing()
        count = len(photo.faces)
        face = 0 if count == 1 else face
        name = suggested_name(photo, workspace) if name is None else name
        hint, good = name_hint(name, workspace)
        chosen = None if face is None else photo.faces[face]
        show = workspace.shown.show
        crop = (
            None
            if chosen is None
            else show(photo.id, f"aligned-{face}", lambda: Image.fromarray(chosen.aligned))
        )
        alone = count == 1 and not photo.example
        joined = len(same_person(workspace, photo)) if alone else 0
        label = "Who is it? Click the face." if count > 1 else "Face found"
        others = [
            (show(other.id, "whole", other.image), other.label)
            for other in workspace.photos.values()
        ]
        return {
            self.choice: Choice(photo.id, face),
            self.empty: gr.update(visible=False),
            self.photo: gr.update(
                value=show(
                    photo.id, f"framed-{face}", lambda: framed(photo.image, photo.faces, face)
                ),
                label=label,
                visible=True,
            ),
            self.photos: gr.update(value=others, visible=len(others) > 1, selected_index=None),
            self.numbers: gr.update(
                choices=list(range(1, count + 1)),
                value=None if face is None else face + 1,
                visible=count > 1,
            ),
            self.naming: gr.update(visible=True),
            self.remove_button: gr.update(visible=True),
            self.crop: gr.update(value=crop, visible=crop is not None),
            self.quality: notice(
                *(quality_notes(chosen, self.width) if chosen else []), kind="hint"
            ),
            self.name: name,
            self.hint: hint,
            self.join: gr.update(
                value=False, visible=joined > 0, label=f"My {joined + 1} photos show one person"
            ),
            # A tick is for one face: another one asks again. Example people are made up.
            self.consent: gr.update(value=False, visible=not photo.example),
            self.use_button: gr.update(interactive=good and photo.example and crop is not None),
        }

    def _nothing(self) -> Updates:
        hidden = (
            self.photo, self.photos, self.numbers, self.naming, self.crop, self.join, self.consent,
            self.remove_button,
        )  # fmt: skip
        return {
            self.choice: Choice(),
            self.empty: gr.update(visible=True),
            **dict.fromkeys(hidden, gr.update(visible=False)),
            **dict.fromkeys((self.quality, self.name, self.hint), ""),
            self.use_button: gr.update(interactive=False),
        }

    # --- widgets --------------------------------------------------------------------------------

    def build(self, first: Callable[[], None]) -> None:
        """Lay out the widgets; `first` lays out what is there while there is no photo."""
        self.choice = gr.State(Choice())
        with gr.Column() as self.empty:
            first()
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                self.photo = gr.Image(
                    interactive=False, visible=False, buttons=[], elem_id="faces-photo",
                    alt_text="The photo with every face framed",
                )  # fmt: skip
                self.numbers = gr.Radio(
                    [], label="Face number", visible=False, elem_id="faces-number"
                )
                self.photos = gallery("faces-photos", "Your photos")
                self.remove_button = gr.Button(
                    "Remove this photo", visible=False, size="sm", elem_id="faces-discard"
                )
            with gr.Column(scale=2, min_width=220, visible=False) as self.naming:
                self.crop = gr.Image(
                    label="Aligned face", interactive=False, visible=False, buttons=[],
                    height=160, elem_id="faces-crop", alt_text="The chosen face, turned upright",
                )  # fmt: skip
                self.quality = message("faces-quality")
                self.name = gr.Textbox("", label="Name", max_lines=1, elem_id="faces-name")
                self.hint = message("faces-hint")
                self.join = gr.Checkbox(
                    False, label="My photos show one person", visible=False, elem_id="faces-join",
                    info="All of them are used: more photos, a higher identity score.",
                )  # fmt: skip
                self.consent = gr.Checkbox(
                    False, label=CONSENT, info="It is me, or the person has agreed.",
                    elem_id="faces-consent",
                )  # fmt: skip
                self.use_button = gr.Button(
                    "Use this face", variant="primary", interactive=False, elem_id="faces-use"
                )
        self.outputs = [
            self.choice, self.empty, self.photo, self.photos, self.numbers, self.naming,
            self.crop, self.quality, self.name, self.hint, self.join, self.consent,
            self.use_button, self.remove_button,
        ]  # fmt: skip


def same_person(workspace: Workspace, photo: Photo) -> list[Photo]:
    """Return the other photos with a single face: they may well show the same person."""
    others = [other for other in workspace.photos.values() if other.id != photo.id]
    return [other for other in others if len(other.faces) == 1 and not other.example]
