"""Faces: photos in, faces found and framed, one chosen and named, into the training list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from celeb_core.errors import CelebError
from ui.errors import explain, notice
from ui.names import name_hint
from ui.parts import gallery, message, reveal
from ui.photo_view import Choice, PhotoView, same_person
from ui.pictures import face_at, scale
from ui.studio import PRIVATE, Shared
from ui.training_list import TrainingList

MAX_UPLOADS = 12
STORAGE = "Photos stay {place}, and are deleted when you remove the person from the training list."


class FacesTab:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.view = PhotoView(shared.core.models.width)
        self.training = TrainingList(shared)

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
        shown = self.view.show(workspace, first) if first else [gr.skip()] * len(self.view.shown)
        return [None, notice(*problems), *shown]

    def snap(self, file: str | None, session: str) -> list[Any]:
        """A picture of the camera, as if it had been uploaded; the camera is free for the next."""
        if not file:
            return [gr.skip()] * (2 + len(self.view.shown))
        return self.upload([file], session, "The camera's picture")

    def example(self, session: str, event: gr.SelectData) -> list[Any]:
        """One of the ready-made faces, as if it had been uploaded under its name."""
        image, name = self.shared.examples()[int(event.index)]
        workspace = self.shared.workspace(session)
        try:
            photo = workspace.add_photo(image, name, example=True)
        except CelebError as error:
            return [gr.skip(), notice(explain(error)), *[gr.skip()] * len(self.view.shown)]
        return [gr.update(selected_index=None), "", *self.view.show(workspace, photo)]

    def switch(self, session: str, event: gr.SelectData) -> list[Any]:
        """Another one of the uploaded photos."""
        workspace = self.shared.workspace(session)
        photos = dict(enumerate(workspace.photos.values()))
        return self.view.show(workspace, photos.get(int(event.index)))

    def click(self, name: str, choice: Choice, session: str, event: gr.SelectData) -> list[Any]:
        """A click into the photo chooses the face there; a typed name stays."""
        workspace = self.shared.workspace(session)
        photo = workspace.photos.get(choice.photo)
        if photo is None:
            return self.view.show(workspace, None)
        x, y = (float(value) / scale(photo.image) for value in event.index)
        return self.view.show(workspace, photo, face_at(photo.faces, x, y), name)

    def number(self, number: int, name: str, choice: Choice, session: str) -> list[Any]:
        """The same by number, for those who use no mouse."""
        workspace = self.shared.workspace(session)
        return self.view.show(workspace, workspace.photos.get(choice.photo), number - 1, name)

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
            rest = len(self.view.shown) + len(self.training.shown)
            return [notice(explain(error)), *[gr.skip()] * rest]
        done = notice(f"{trainee.name} is in the training list. Go on to Train.", kind="good")
        left = next(iter(workspace.photos.values()), None)
        return [done, *self.view.show(workspace, left), *self.training.refresh(session)]

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.BrowserState) -> None:
        """Lay out the tab and wire what stays inside it."""
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self._build_sources()
            with gr.Column(scale=6, min_width=320):
                self.view.build()
        self.training.build(session)
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
        gr.HTML(f'<p class="lead small">{STORAGE.format(place=place)}</p>')

    def _wire(self, session: gr.BrowserState) -> None:
        view = self.view
        sources = [self.drop, self.problem, *view.shown]
        uploaded = self.drop.upload(self.upload, [self.drop, session], sources, **PRIVATE)
        snapped = [self.camera, *sources[1:]]
        taken = self.camera.input(self.snap, [self.camera, session], snapped, **PRIVATE)
        outputs = [self.examples, self.problem, *view.shown]
        chosen = self.examples.select(self.example, session, outputs, **PRIVATE)
        for event in (uploaded, taken, chosen):
            event.success(None, None, None, js=reveal("faces-photo"))
        view.photos.select(self.switch, session, view.shown, **PRIVATE)
        inputs = [view.name, view.choice, session]
        view.photo.select(self.click, inputs, view.shown, **PRIVATE)
        view.numbers.input(self.number, [view.numbers, *inputs], view.shown, **PRIVATE)
        gr.on(
            [view.name.change, view.consent.change],
            self.check,
            [view.name, view.consent, view.choice, session],
            [view.hint, view.use_button],
            queue=False,
            trigger_mode="always_last",
            **PRIVATE,
        )
        used = gr.on(
            [view.use_button.click, view.name.submit],
            self.use,
            [view.name, view.consent, view.join, view.choice, session],
            [self.problem, *view.shown, *self.training.shown],
            **PRIVATE,
        )
        used.success(None, None, None, js=reveal("faces-problem"))
