"""Faces: photos in, faces found and framed, one chosen and named, into the training list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from celeb_core.errors import CelebError
from celeb_core.quality import quality_notes
from ui.errors import explain, notice
from ui.names import name_hint, suggested_name
from ui.parts import gallery, message
from ui.pictures import face_at, framed, scale
from ui.studio import PRIVATE, Shared
from ui.workspace import Photo, Trainee, Workspace

MAX_UPLOADS = 12
STORAGE = "Photos stay {place}, and are deleted when you remove the person from the training list."
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


class FacesTab:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    # --- handlers -------------------------------------------------------------------------------

    def upload(self, files: list[str] | None, session: str, label: str = "") -> list[Any]:
        """Read the photos -> the first one shown; those without a face are told about.

        `label`: what to call them instead of the files' names.
        """
        workspace, problems, first = self.shared.workspace(session), [], None
        for file in (files or [])[:MAX_UPLOADS]:
            path = Path(file)
            try:
                photo = workspace.add_photo(path, label or path.name)
                first = first or photo
            except CelebError as error:
                called = label or path.name
                problems.append(f"{called}: {explain(error, file, called)}")
            finally:
                path.unlink(missing_ok=True)  # the camera's notes in it are nobody's business
        if len(files or []) > MAX_UPLOADS:
            problems.append(f"Only the first {MAX_UPLOADS} photos were read. Upload the rest next.")
        shown = self.show(workspace, first) if first else [gr.skip()] * len(self.shown)
        return [None, notice(*problems), *shown]

    def snap(self, file: str | None, session: str) -> list[Any]:
        """A picture of the camera, as if it had been uploaded; the camera is free for the next."""
        if not file:
            return [gr.skip()] * (2 + len(self.shown))
        return self.upload([file], session, "The camera's picture")

    def example(self, session: str, event: gr.SelectData) -> list[Any]:
        """One of the ready-made faces, as if it had been uploaded under its name."""
        image, name = self.shared.examples()[int(event.index)]
        workspace = self.shared.workspace(session)
        try:
            photo = workspace.add_photo(image, name, example=True)
        except CelebError as error:
            return [gr.skip(), notice(explain(error)), *[gr.skip()] * len(self.shown)]
        return [gr.update(selected_index=None), "", *self.show(workspace, photo)]

    def switch(self, session: str, event: gr.SelectData) -> list[Any]:
        """Another one of the uploaded photos."""
        workspace = self.shared.workspace(session)
        photos = dict(enumerate(workspace.photos.values()))
        return self.show(workspace, photos.get(int(event.index)))

    def click(self, name: str, choice: Choice, session: str, event: gr.SelectData) -> list[Any]:
        """A click into the photo chooses the face there; a typed name stays."""
        workspace = self.shared.workspace(session)
        photo = workspace.photos.get(choice.photo)
        if photo is None:
            return self.show(workspace, None)
        x, y = (float(value) / scale(photo.image) for value in event.index)
        return self.show(workspace, photo, face_at(photo.faces, x, y), name)

    def number(self, number: int, name: str, choice: Choice, session: str) -> list[Any]:
        """The same by number, for those who use no mouse."""
        workspace = self.shared.workspace(session)
        return self.show(workspace, workspace.photos.get(choice.photo), number - 1, name)

    def check(self, name: str, consent: bool, choice: Choice, session: str) -> list[Any]:
        """Live validation -> what to say about the name, and whether it can be used."""
        workspace = self.shared.workspace(session)
        hint, good = name_hint(name, workspace)
        photo = workspace.photos.get(choice.photo)
        agreed = consent or (photo is not None and photo.example)
        return [hint, gr.update(interactive=good and agreed and choice.face is not None)]

    def use(self, name: str, consent: bool, join: bool, choice: Choice, session: str) -> list[Any]:
        """The chosen face goes into the training list; on an error everything stays as it is.

        `join`: so do the faces of all other photos that show one person.
        """
        workspace = self.shared.workspace(session)
        photo = workspace.photos.get(choice.photo)
        try:
            if photo is None or choice.face is None:
                raise CelebError("Choose a face first: click it in the photo.")
            others = same_person(workspace, photo) if join else []
            trainee = workspace.enlist(photo, choice.face, name, consent)
            for other in others:
                trainee = workspace.enlist(other, 0, name, consent)
        except CelebError as error:
            rest = len(self.shown) + len(self.listed)
            return [notice(explain(error)), *[gr.skip()] * rest]
        done = notice(f"{trainee.name} is in the training list. Go on to Train.", kind="good")
        left = next(iter(workspace.photos.values()), None)
        return [done, *self.show(workspace, left), *self.refresh(session)]

    def pick(self, session: str, event: gr.SelectData) -> list[Any]:
        """A click on somebody in the training list -> their id, a button that removes them."""
        trainees = list(self.shared.workspace(session).trainees.values())
        trainee = trainees[min(int(event.index), len(trainees) - 1)]
        return [trainee.id, gr.update(value=f"Remove {trainee.name}", visible=True)]

    def remove(self, picked: str, session: str) -> list[Any]:
        """Off the list, and the photos off the disk."""
        self.shared.workspace(session).dismiss(picked)
        return self.refresh(session)

    def refresh(self, session: str) -> list[Any]:
        """The training list as it is now."""
        workspace = self.shared.workspace(session)
        rows = [(t.faces[0].image, trainee_label(t)) for t in workspace.trainees.values()]
        return [
            gr.update(value=rows, visible=bool(rows), selected_index=None),
            gr.update(visible=False),
        ]

    def show(
        self,
        workspace: Workspace,
        photo: Photo | None,
        face: int | None = None,
        name: str | None = None,
    ) -> list[Any]:
        """A photo with its faces framed, in the order of `shown`. One face needs no choice."""
        if photo is None:
            return self._show_nothing()
        count = len(photo.faces)
        face = 0 if count == 1 else face
        name = suggested_name(photo, workspace) if name is None else name
        hint, good = name_hint(name, workspace)
        chosen = None if face is None else photo.faces[face]
        crop = None if chosen is None else chosen.aligned
        notes = quality_notes(chosen, self.shared.core.models.width) if chosen else []
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

    def _show_nothing(self) -> list[Any]:
        hidden = gr.update(visible=False)
        waiting = gr.update(interactive=False)
        shown = gr.update(visible=True)
        return [
            Choice(), shown, hidden, hidden, hidden, hidden, hidden, "", "", "", hidden, hidden,
            waiting,
        ]  # fmt: skip

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.BrowserState) -> None:
        """Lay out the tab and wire what stays inside it."""
        self.choice, self.picked = gr.State(Choice()), gr.State("")
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self._build_sources()
            with gr.Column(scale=6, min_width=320):
                self._build_photo()
        self.list = gallery("faces-list", "Training list")
        self.remove_button = gr.Button("Remove", visible=False, size="sm", elem_id="faces-remove")
        self.listed = [self.list, self.remove_button]
        self._wire(session)

    def _build_sources(self) -> None:
        self.drop = gr.File(
            label="Photos of people: drop, paste or choose", file_count="multiple",
            file_types=["image", ".heic", ".heif"], height=150, elem_id="faces-drop",
        )  # fmt: skip
        with gr.Accordion("Use the camera", open=False, elem_id="faces-webcam"):
            self.camera = gr.Image(
                sources=["webcam"], type="filepath", format="png", show_label=False, buttons=[],
                webcam_options=gr.WebcamOptions(mirror=False), elem_id="faces-camera",
            )  # fmt: skip
        self.problem = message("faces-problem")
        examples = self.shared.examples()
        self.examples = gallery("faces-examples", "Or take an example face", examples)
        place = "on the server of this page, for a day" if self.shared.apart else "on this machine"
        gr.HTML(f'<p class="lead">{STORAGE.format(place=place)}</p>')

    def _build_photo(self) -> None:
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

    def _wire(self, session: gr.BrowserState) -> None:
        sources = [self.drop, self.problem, *self.shown]
        self.drop.upload(self.upload, [self.drop, session], sources, **PRIVATE)
        snapped = [self.camera, *sources[1:]]
        self.camera.input(self.snap, [self.camera, session], snapped, **PRIVATE)
        outputs = [self.examples, self.problem, *self.shown]
        self.examples.select(self.example, session, outputs, **PRIVATE)
        self.photos.select(self.switch, session, self.shown, **PRIVATE)
        inputs = [self.name, self.choice, session]
        self.photo.select(self.click, inputs, self.shown, **PRIVATE)
        self.numbers.input(self.number, [self.numbers, *inputs], self.shown, **PRIVATE)
        gr.on(
            [self.name.change, self.consent.change],
            self.check,
            [self.name, self.consent, self.choice, session],
            [self.hint, self.use_button],
            queue=False,
            trigger_mode="always_last",
            **PRIVATE,
        )
        self.used = gr.on(
            [self.use_button.click, self.name.submit],
            self.use,
            [self.name, self.consent, self.join, self.choice, session],
            [self.problem, *self.shown, *self.listed],
            **PRIVATE,
        )
        self.list.select(self.pick, session, [self.picked, self.remove_button], **PRIVATE)
        self.removed = self.remove_button.click(
            self.remove, [self.picked, session], self.listed, **PRIVATE
        )


def same_person(workspace: Workspace, photo: Photo) -> list[Photo]:
    """The other photos with a single face: they may well show the same person."""
    others = [other for other in workspace.photos.values() if other.id != photo.id]
    return [other for other in others if len(other.faces) == 1 and not other.example]


def trainee_label(trainee: Trainee) -> str:
    """A name, and from how many photos if there are several."""
    count = len(trainee.faces)
    return trainee.name if count == 1 else f"{trainee.name} · {count} photos"
