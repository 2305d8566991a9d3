"""Endpoints about people: faces in photos, training, the library, files for other tools."""

from __future__ import annotations

from typing import Any, Literal

import gradio as gr
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from celeb_core import CelebError, checks
from celeb_core.errors import IdentityNotFound
from celeb_core.faces import quality_notes
from celeb_core.identity import MAX_NAME, check_name
from celeb_core.textual_inversion import FORMATS
from ui.api_answers import Answer, describe_job, file_data
from ui.api_caller import MAX_ID, address_of, bare, caller, find_face, find_person, single, uploader
from ui.api_images import read_image
from ui.export import export_person
from ui.faces import MAX_UPLOADS
from ui.jobs import Job
from ui.library_files import is_sample
from ui.photos import Photo
from ui.studio import Shared
from ui.training_start import start_training, training_config
from ui.workspace import Workspace

AT_ONCE = 2  # photos in which faces are looked for
READ_AT_ONCE = 8  # that are fetched or decoded from text

Preset = Literal["instant", "fast", "best", "paper"]
Format = Literal["safetensors", "a1111", "diffusers", "identity"]


class PeopleApi:
    """Endpoints; their names, types and docstrings are what callers see."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self._photos, self._reads = CapacityLimiter(AT_ONCE), CapacityLimiter(READ_AT_ONCE)

    def start_session(self, request: gr.Request) -> Answer:
        """Start a session: people, photos, jobs and images of your own.

        Not needed where the page runs at home for one person, or where you log in. Give the
        `session` that it returns to every other call, and keep it to yourself.

        Args:
            request: Given by gradio.

        Returns:
            JSON with `session`.
        """
        needed = self.shared.isolated and not self.shared.accounts
        return {"session": self.shared.new_session(address_of(request)) if needed else ""}

    async def find_faces(self, request: gr.Request, image: str, session: str = "") -> Answer:
        """Find the faces in a photo, to train one of them.

        The image is an http(s) address, a data:image/png;base64,... text, or an upload: in
        gradio_client handle_file(path), else what a POST to /gradio_api/upload or the tool
        upload_file_to_gradio returned. Uploads are deleted once they are read. Answers with
        `photo` (`id`, `width`, `height`) and `faces`, left to right: `id` for train, `box` in
        pixels (left, top, right, bottom), `score` of the detector, `notes` on the quality. The
        latest photos of a session are kept.

        Args:
            request: Given by gradio.
            image: JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP or GIF of at most 20 MB.
            session: What start_session returned; not needed at home or with a login.

        Returns:
            JSON with `photo` and `faces`.
        """
        workspace = await run_sync(caller, self.shared, session, request)
        photo = await self._add(workspace, image, request)
        side = self.shared.core.models.width
        faces = [
            {
                "id": f"{photo.id}-{index}",
                "box": [round(float(value), 1) for value in face.box],
                "score": round(float(face.score), 3),
                "notes": quality_notes(face, side),
            }
            for index, face in enumerate(photo.faces)
        ]
        size = {"width": photo.image.width, "height": photo.image.height}
        return {"photo": {"id": photo.id, **size}, "faces": faces}

    async def train(
        self,
        request: gr.Request,
        name: str,
        faces: list[str] | None = None,
        images: list[str] | None = None,
        preset: Preset = "instant",
        steps: int = 0,
        seed: int = 0,
        consent: bool = False,
        session: str = "",
    ) -> Answer:
        """Make a person from one or more faces: starts a job and returns it at once.

        Ask the endpoint job until its state is done; then write <name> in a prompt. Instant takes
        a second, the other presets train. A person of that name is replaced. Photos are kept with
        the person until you delete them; someone whose photos are known is trained without any.

        Args:
            request: Given by gradio.
            name: What the person is called in prompts, for example ada.
            faces: Ids from find_faces, all of this one person.
            images: Photos of this person alone, in place of ids; as in find_faces.
            preset: instant: no training; fast; best: the highest identity score; paper.
            steps: 0: those of the preset.
            seed: Of the training.
            consent: true: the person has agreed that images of them are made. It is required.
            session: What start_session returned; not needed at home or with a login.

        Returns:
            JSON: the job, as the endpoint job describes it.
        """
        workspace = await run_sync(caller, self.shared, session, request)
        ids = checks.texts(faces, "The faces", MAX_ID)
        photos = images or []
        if not isinstance(photos, list) or len(ids) + len(photos) > MAX_UPLOADS:
            raise CelebError(f"Give a list of at most {MAX_UPLOADS} faces and images.")
        name = check_name(checks.text(name, "The name", 10 * MAX_NAME))
        if consent is not True and (ids or photos):
            raise CelebError(
                f"Images of {name} may only be made if {name} has agreed. If so, set consent to "
                "true; otherwise use a photo of a person who has."
            )
        training_config(self.shared, preset, steps, seed)  # before anything is kept
        chosen = await run_sync(lambda: [find_face(workspace, id) for id in ids])
        chosen += [(single(await self._add(workspace, image, request)), 0) for image in photos]

        def start() -> Job:
            for photo, index in chosen:
                workspace.enlist(photo, index, name, consent=True)
            trainee = workspace.trainee(name)
            if trainee is None:
                raise CelebError(f"No photos of {name} are known. Give faces or images.")
            return start_training(self.shared, workspace, [trainee.id], preset, steps, seed)

        job = await run_sync(start)
        return describe_job(job, self.shared.runner)

    def people(self, request: gr.Request, session: str = "") -> Answer:
        """List the people who can be written in prompts.

        Each has `name`, `prompt` (how to write it), `identity_score` of the portrait, `preset`,
        `saved` (when), `sample` (comes with the app), `usable` (made for the model that is loaded).

        Args:
            request: Given by gradio.
            session: What start_session returned; not needed at home or with a login.

        Returns:
            JSON with `people`.
        """
        workspace = caller(self.shared, session, request)
        people = [
            {
                "name": entry.identity.name,
                "prompt": f"<{entry.identity.name}>",
                "identity_score": None if entry.score is None else round(entry.score, 4),
                "preset": entry.identity.settings.get("preset"),
                "saved": entry.saved.isoformat(timespec="seconds"),
                "sample": is_sample(entry),
                "usable": entry.identity.basis_id == workspace.basis.id,
            }
            for entry in workspace.files.entries()
        ]
        return {"people": people}

    def export(
        self,
        request: gr.Request,
        name: str,
        format: Format = "safetensors",
        token: str = "",
        session: str = "",
    ) -> Answer:
        """Export a person as a file for other tools: A1111, Forge, ComfyUI, InvokeAI, diffusers.

        Answers with `files`, and `usage`: for each tool, where the file belongs and what to write.

        Args:
            request: Given by gradio.
            name: Of the person, as in `people`.
            format: safetensors: for all tools; a1111: .pt; diffusers; identity: for this program.
            token: Trigger word and file name; empty: the person's name.
            session: What start_session returned; not needed at home or with a login.

        Returns:
            JSON with `files` and `usage`.
        """
        workspace = caller(self.shared, session, request)
        checks.choice(format, "The format", (*FORMATS, "identity"))
        token = checks.text(token, "The token", MAX_NAME)
        person = find_person(workspace, name)
        if format == "identity":
            usage = {"Celeb Basis Studio": "Library, Import a person"}
            return {"files": [file_data(workspace.files.file(person.name))], "usage": usage}
        made = export_person(self.shared, workspace, person, format, token or None)
        return {"files": [file_data(file) for file in made.files], "usage": dict(made.usage)}

    def delete(
        self, request: gr.Request, name: str, photos: bool = False, session: str = ""
    ) -> Answer:
        """Delete a person. For a week the page's Library can bring them back.

        Args:
            request: Given by gradio.
            name: Of the person, as in `people`.
            photos: true: delete the photos of this name too, for good.
            session: What start_session returned; not needed at home or with a login.

        Returns:
            JSON with `deleted`: person, photos, or both.
        """
        workspace = caller(self.shared, session, request)
        name = bare(name)
        trainee = workspace.trainee(name) if photos is True else None
        gone = []
        try:
            workspace.delete(name)
            gone.append("person")
        except IdentityNotFound:
            if trainee is None:
                raise
        if trainee:
            workspace.dismiss(trainee.id)
            gone.append("photos")
        return {"deleted": gone}

    async def _add(self, workspace: Workspace, image: Any, request: Any) -> Photo:
        """Find the faces of an image."""
        async with self._reads:
            owner = uploader(self.shared, request)
            content = await read_image(image, self.shared.uploads, owner)
        return await run_sync(workspace.add_photo, content, "the image", limiter=self._photos)
