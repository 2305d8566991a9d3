"""A photo with its faces framed, and beside it the chosen face with its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from celeb_core.quality import quality_notes
from ui.errors import notice
from ui.names import name_hint, suggested_name
from ui.parts import gallery, message
from ui.pictures import framed
from ui.workspace import Photo, Workspace

CONSENT = "I may use this person's likeness"
EMPTY = (
    '<div class="empty">Drop a photo, or take one of the example faces.<br>'
    "It appears here with every face framed.</div>"
)


@dataclass(frozen=True)
class Choice:
    """Which face of which photo is chosen. What a browser tab remembers: ids, no pictures."""

    photo: str = ""
    face: int | None = None


class PhotoView:
    """`width` of the model's pictures, in pixels: how large a face should be."""

    def __init__(self, width: int) -> None:
        self.width = width

    def show(
        self,
        workspace: Workspace,
        photo: Photo | None,
        face: int | None = None,
        name: str | None = None,
    ) -> list[Any]:
        """A photo with its faces framed, in the order of `shown`. One face needs no choice."""
        if photo is None:
            return self._nothing()
        count = len(photo.faces)
        face = 0 if count == 1 else face
        name = suggested_name(photo, workspace) if name is None else name
        hint, good = name_hint(name, workspace)
        chosen = None if face is None else photo.faces[face]
        crop = None if chosen is None else chosen.aligned
        notes = quality_notes(chosen, self.width) if chosen else []
        alone = count == 1 and not photo.example
        joined = len(same_person(workspace, photo)) if alone else 0
        # A tick is for one face: another one asks again. Example people are made up.
        fresh = gr.update(value=False, visible=not photo.example)
        number = None if face is None else face + 1
        label = "Who is it? Click the face." if count > 1 else "Face found"
        others = [(other.image, other.label) for other in workspace.photos.values()]
        numbers = list(range(1, count + 1))
        return [
            Choice(photo.id, face),
            gr.update(visible=False),
            gr.update(value=framed(photo.image, photo.faces, face), label=label, visible=True),
            gr.update(value=others, visible=len(others) > 1, selected_index=None),
            gr.update(choices=numbers, value=number, visible=count > 1),
            gr.update(visible=True),
            gr.update(value=crop, visible=crop is not None),
            notice(*notes, kind="hint"),
            name,
            hint,
            gr.update(
                value=False, visible=joined > 0, label=f"My {joined + 1} photos show one person"
            ),
            fresh,
            gr.update(interactive=good and photo.example and crop is not None),
        ]

    def _nothing(self) -> list[Any]:
        hidden = gr.update(visible=False)
        waiting = gr.update(interactive=False)
        shown = gr.update(visible=True)
        return [
            Choice(), shown, hidden, hidden, hidden, hidden, hidden, "", "", "", hidden, hidden,
            waiting,
        ]  # fmt: skip

    # --- widgets --------------------------------------------------------------------------------

    def build(self) -> None:
        """Lay it out."""
        self.choice = gr.State(Choice())
        self.empty = gr.HTML(EMPTY)
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
                    info="All of them are used: more photos, better likeness.",
                )  # fmt: skip
                self.consent = gr.Checkbox(
                    False, label=CONSENT, info="It is me, or the person has agreed.",
                    elem_id="faces-consent",
                )  # fmt: skip
                self.use_button = gr.Button(
                    "Use this face", variant="primary", interactive=False, elem_id="faces-use"
                )
        self.shown = [
            self.choice, self.empty, self.photo, self.photos, self.numbers, self.naming,
            self.crop, self.quality, self.name, self.hint, self.join, self.consent,
            self.use_button,
        ]  # fmt: skip


def same_person(workspace: Workspace, photo: Photo) -> list[Photo]:
    """The other photos with a single face: they may well show the same person."""
    others = [other for other in workspace.photos.values() if other.id != photo.id]
    return [other for other in others if len(other.faces) == 1 and not other.example]
