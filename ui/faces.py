"""Faces: photos in, faces found and framed, one chosen and named, into the training list."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from celeb_core import checks
from celeb_core.errors import CelebError, NoFaceFound
from ui.demo_panel import DemoPanel
from ui.errors import explain, explain_file, notice
from ui.face_pack import FacePackCard
from ui.images import face_at, scale
from ui.names import name_hint
from ui.other_model import OtherModel
from ui.photo_view import Choice, PhotoView, same_person
from ui.studio import PRIVATE, Shared
from ui.training_list import TrainingList
from ui.welcome import Welcome
from ui.widgets import Updates, gallery, message, reveal
from ui.workspace import Workspace

MAX_UPLOADS = 12
EMPTY = '<div class="empty">Drop a photo. It appears here with every face framed.</div>'
LEAD = (
    '<h2 class="section">One photo becomes a person that you can write into prompts</h2>'
    '<p class="lead">Drop a photo or take an example face: it appears here with every face framed. '
    "Then train it, and write &lt;its name&gt; in a prompt.</p>"
)
STORAGE = "Photos stay {where}, and are deleted when you remove the person from the training list."


class FacesTab:
    """Widgets and what they do. Handlers take plain values and return component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.view = PhotoView(shared.core.models.width)
        self.training = TrainingList(shared)
        self.pack = FacePackCard(shared, self.training)
        self.demo, self.welcome = DemoPanel(shared), Welcome(shared)
        self.other = OtherModel(shared)

    # --- handlers -------------------------------------------------------------------------------

    def upload(self, files: list[str] | None, session: str) -> Updates:
        """Read the photos and show the first one; say which ones cannot be used, and why."""
        return {self.drop: None, **self._read(files or [], session)}

    def snap(self, file: str | None, session: str) -> Updates:
        """Use an image of the camera as if it had been uploaded; free the camera for the next."""
        if not file:
            return {self.camera: gr.skip()}
        return {self.camera: None, **self._read([file], session, "The camera's image")}

    def _read(self, files: list[str], session: str, label: str = "") -> Updates:
        """Read files; `label` stands in for their names."""
        workspace, problems, first = self.shared.workspace(session), [], None
        faceless = False  # a photo without a face of the model's kind
        for file in files[:MAX_UPLOADS]:
            path = Path(file)
            name = label or path.name
            try:
                photo = workspace.add_photo(path, name)
                first = first or photo
            except CelebError as error:
                problems.append(explain_file(error, file, name))
                faceless = faceless or isinstance(error, NoFaceFound)
            finally:
                self.shared.uploads.discard(session, path)  # it holds the camera's metadata
        if len(files) > MAX_UPLOADS:
            problems.append(f"Only the first {MAX_UPLOADS} photos were read. Upload the rest next.")
        view = self.view.show(workspace, first) if first else {}
        return {self.problem: notice(*problems), **view, **self._fitting(workspace, faceless)}

    def _fitting(self, workspace: Workspace, faceless: bool = False) -> Updates:
        """Show the way to another model if a photo is none for this one."""
        photos = workspace.photos.values()
        notes = (face.domain_note for photo in photos for face in photo.faces)
        return self.other.show(faceless or any(notes))

    def example(self, session: str, event: gr.SelectData) -> Updates:
        """Use one of the ready-made faces as if it had been uploaded under its name."""
        workspace, examples = self.shared.workspace(session), self.shared.examples()
        try:
            image, name = examples[checks.number(event.index, "Example", 0, len(examples) - 1)]
            # Another photo would replace the one that “Use this face” may refer to just now.
            same = (p for p in workspace.photos.values() if p.example and p.label == name)
            photo = next(same, None) or workspace.add_photo(image, name, example=True)
        except CelebError as error:
            return {self.problem: notice(explain(error))}
        return {
            self.examples: gr.update(selected_index=None),
            self.problem: "",
            **self.view.show(workspace, photo),
            **self._fitting(workspace),
        }

    def switch(self, session: str, event: gr.SelectData) -> Updates:
        """Show another one of the uploaded photos."""
        workspace = self.shared.workspace(session)
        photos = dict(enumerate(workspace.photos.values()))
        return self.view.show(workspace, photos.get(int(event.index)))

    def click(self, name: str, choice: Choice, session: str, event: gr.SelectData) -> Updates:
        """Choose the face where the photo was clicked; a typed name stays."""
        workspace = self.shared.workspace(session)
        photo = workspace.photos.get(choice.photo)
        if photo is None:
            return self.view.show(workspace, None)
        x, y = (float(value) / scale(photo.image) for value in event.index)
        return self.view.show(workspace, photo, face_at(photo.faces, x, y), name)

    def number(self, number: int, name: str, choice: Choice, session: str) -> Updates:
        """Choose the face by number, for those who use no mouse."""
        workspace = self.shared.workspace(session)
        photo = workspace.photos.get(choice.photo)
        index = checks.number(number, "The face", 1, len(photo.faces)) - 1 if photo else None
        return self.view.show(workspace, photo, index, name)

    def check(self, name: str, consent: bool, choice: Choice, session: str) -> Updates:
        """Validate while it is typed: a hint about the name, and whether the face can be used."""
        workspace = self.shared.workspace(session)
        hint, good = name_hint(name, workspace)
        photo = workspace.photos.get(choice.photo)
        example, known = photo is not None and photo.example, workspace.has_consent(name.strip())
        usable = good and (consent or example or known) and choice.face is not None
        return {
            self.view.hint: hint,
            self.view.use_button: gr.update(interactive=usable),
            self.view.consent: gr.update(visible=photo is not None and not (example or known)),
        }

    def use(self, name: str, consent: bool, join: bool, choice: Choice, session: str) -> Updates:
        """Put the chosen face into the training list; on an error everything stays as it is.

        Args:
            name: Of the person.
            consent: Whether the person has agreed.
            join: All other photos that show one person show this one.
            choice: The face.
            session: Of the browser.
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
            return {self.problem: notice(explain(error))}
        done = notice(f"{trainee.name} is in the training list. Go on to Train.", kind="good")
        left = next(iter(workspace.photos.values()), None)
        return {
            self.problem: done,
            **self.view.show(workspace, left),
            **self._fitting(workspace),
            **self.training.refresh(session),
        }

    def discard(self, choice: Choice, session: str) -> Updates:
        """Forget the photo that is shown, and show another one."""
        workspace = self.shared.workspace(session)
        workspace.discard_photo(choice.photo)
        return {
            self.problem: "",
            **self.view.show(workspace, next(iter(workspace.photos.values()), None)),
            **self._fitting(workspace),
        }

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.Textbox) -> None:
        """Lay out the tab and wire what stays inside it."""
        with gr.Row(visible=not self.pack.wanted) as area:
            with gr.Column(scale=4, min_width=320):
                self._build_sources()
            with gr.Column(scale=6, min_width=320):
                self.view.build(self._build_first)
        if self.pack.wanted:
            self.pack.build()
        self.training.build(session)
        if self.pack.offered:
            self.pack.wire(area, session)
        self._wire(session)

    def _build_sources(self) -> None:
        self.drop = gr.File(
            label="Photos of people: drop, paste or choose", file_count="multiple",
            file_types=["image", ".heic", ".heif"], height=150, elem_id="faces-drop",
        )  # fmt: skip
        with gr.Accordion("Use the camera", open=False, elem_id="faces-webcam"):
            self.camera = gr.Image(
                sources=["webcam"], type="filepath", format="png", show_label=False, buttons=[],
                image_mode=None,  # else gradio decodes it, with every decoder that Pillow has
                webcam_options=gr.WebcamOptions(mirror=False), elem_id="faces-camera",
            )  # fmt: skip
        self.problem = message("faces-problem")
        self.other.build()
        examples = [
            (self.shared.files.show("examples", name, image), name)
            for image, name in self.shared.examples()
        ]
        self.examples = gallery("faces-examples", "Or take an example face", examples)
        self.offers_demo = bool(examples) and not self.pack.wanted
        if self.offers_demo:
            self.demo.build_button()
        where = (
            "on the server of this page until a day after your last visit"
            if self.shared.isolated
            else "on this machine"
        )
        gr.HTML(f'<p class="lead small">{STORAGE.format(where=where)}</p>')

    def _build_first(self) -> None:
        """What the right side has while there is no photo."""
        self.example_images: gr.Gallery | None = None
        if self.offers_demo:
            self.demo.build()
        if not self.welcome.examples.images:
            gr.HTML(EMPTY)
            return
        gr.HTML(LEAD)
        self.welcome.people("faces-people")
        self.example_images = self.welcome.images("faces-images")

    def _wire(self, session: gr.Textbox) -> None:
        view, read = self.view, [self.problem, self.other.card, *self.view.outputs]
        uploaded = self.drop.upload(
            self.upload, [self.drop, session], [self.drop, *read], **PRIVATE
        )
        snapped = self.camera.input(
            self.snap, [self.camera, session], [self.camera, *read], **PRIVATE
        )
        chosen = self.examples.select(self.example, session, [self.examples, *read], **PRIVATE)
        for event in (uploaded, snapped, chosen):
            event.success(None, None, None, js=reveal("faces-photo"))
        view.photos.select(self.switch, session, view.outputs, **PRIVATE)
        inputs = [view.name, view.choice, session]
        view.photo.select(self.click, inputs, view.outputs, **PRIVATE)
        view.numbers.input(self.number, [view.numbers, *inputs], view.outputs, **PRIVATE)
        gr.on(
            [view.name.change, view.consent.change],
            self.check,
            [view.name, view.consent, view.choice, session],
            [view.hint, view.use_button, view.consent],
            queue=False,
            trigger_mode="always_last",
            **PRIVATE,
        )
        shown = [view.choice, session]
        view.remove_button.click(self.discard, shown, read, **PRIVATE)
        used = gr.on(
            [view.use_button.click, view.name.submit],
            self.use,
            [view.name, view.consent, view.join, view.choice, session],
            [*read, *self.training.outputs],
            **PRIVATE,
        )
        used.success(None, None, None, js=reveal("faces-problem"))
