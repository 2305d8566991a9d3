"""Library: everybody who was trained, to be renamed, deleted, taken elsewhere and brought in."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from celeb_core import export_identity
from celeb_core.errors import CelebError
from ui.errors import explain, notice
from ui.parts import gallery, message, reveal
from ui.pictures import silhouette
from ui.portrait_job import PortraitJob
from ui.progress import bar
from ui.shelf import Entry
from ui.studio import PRIVATE, TICK, Shared
from ui.who_is_who import about, card
from ui.workspace import Workspace

EMPTY = (
    '<div class="empty">Nobody here yet.<br>Choose a face on the Faces tab and train it, '
    "or import an identity file.</div>"
)
CHOOSE = '<div class="empty">Click somebody to see more, and to rename or delete them.</div>'


class LibraryTab:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    # --- handlers -------------------------------------------------------------------------------

    def refresh(self, picked: str, session: str) -> list[Any]:
        """Everybody, and more about the one who is picked, in the order of `shown`."""
        workspace = self.shared.workspace(session)
        entries = workspace.shelf.entries()
        deleted = workspace.shelf.deleted()
        ours = workspace.basis.id
        rows = [(str(e.portrait) if e.portrait else silhouette(), card(e, ours)) for e in entries]
        entry = next((e for e in entries if e.identity.name == picked), None)
        usable = [e for e in entries if e.identity.basis_id == ours]
        return [
            entry.identity.name if entry else "",
            gr.update(value=rows, visible=bool(rows), selected_index=None),
            gr.update(visible=not rows),
            gr.update(
                value=f"Undo: bring back {deleted[0].name}" if deleted else "Undo",
                visible=bool(deleted),
            ),
            gr.update(visible=any(e.portrait is None for e in usable)),
            *self._details(entry, workspace, bool(rows)),
        ]

    def pick(self, session: str, event: gr.SelectData) -> list[Any]:
        """A click on somebody."""
        entries = dict(enumerate(self.shared.workspace(session).shelf.entries()))
        entry = entries.get(int(event.index))
        return ["", *self.refresh(entry.identity.name if entry else "", session)]

    def rename(self, picked: str, name: str, session: str) -> list[Any]:
        """The picked person gets another name."""
        try:
            new = self.shared.workspace(session).rename(picked, name)
        except CelebError as error:
            return [notice(explain(error)), *[gr.skip()] * len(self.shown)]
        said = notice(f"{picked} is now called {new}. In prompts: <{new}>", kind="good")
        return [said if new != picked else "", *self.refresh(new, session)]

    def delete(self, picked: str, session: str) -> list[Any]:
        """The picked person goes; for some days they can come back."""
        workspace = self.shared.workspace(session)
        try:
            workspace.shelf.delete(picked)
        except CelebError as error:
            return [notice(explain(error)), *self.refresh("", session)]
        kept = " The photos stay in the training list." if workspace.trainee(picked) else ""
        text = f"{picked} was deleted. For a week, Undo brings {picked} back.{kept}"
        return [notice(text, kind="good"), *self.refresh("", session)]

    def undo(self, session: str) -> list[Any]:
        """Bring back whoever was deleted last."""
        try:
            name = self.shared.workspace(session).shelf.restore()
        except CelebError as error:
            return [notice(explain(error)), *self.refresh("", session)]
        return [notice(f"{name} is back.", kind="good"), *self.refresh(name, session)]

    def add(self, file: str, session: str) -> list[Any]:
        """Somebody from a file."""
        workspace, path = self.shared.workspace(session), Path(file)
        try:
            people = workspace.shelf.add(path, path.name, workspace.basis)
        except CelebError as error:
            said = notice(f"{path.name}: {explain(error, file, path.name)}")
            return [said, *[gr.skip()] * len(self.shown)]
        finally:
            path.unlink(missing_ok=True)
        lines = [f"{person.name} is in the library." for person in people]
        foreign = [p for p in people if p.basis_id != workspace.basis.id]
        lines += [f"{p.name} was made for {p.base_model}: start with that model." for p in foreign]
        said = notice(*lines, kind="hint" if foreign else "good")
        return [said, *self.refresh(people[0].name, session)]

    def draw(self, session: str) -> Any:
        """Queue the missing pictures."""
        workspace = self.shared.workspace(session)
        job = PortraitJob(owner=workspace.id, core=self.shared.core, workspace=workspace)
        self.shared.runner.submit(job)
        return gr.Timer(active=True)

    def poll(self, picked: str, session: str) -> list[Any]:
        """How far the pictures are; when they are there, everybody anew."""
        job = self.shared.runner.latest(self.shared.workspace(session).id, PortraitJob)
        if job is None or job.status in ("done", "stopped"):
            return ["", gr.Timer(active=False), *self.refresh(picked, session)]
        status = bar(job, job.note, self.shared.runner.ahead(job))
        return [status, gr.Timer(active=job.live), *[gr.skip()] * len(self.shown)]

    def _details(self, entry: Entry | None, workspace: Workspace, any_one: bool) -> list[Any]:
        """In the order of the last widgets of `shown`."""
        if entry is None:
            hidden = gr.update(visible=False)
            return [gr.update(visible=any_one), hidden, hidden, "", "", gr.skip(), hidden, hidden]
        name = entry.identity.name
        ours = entry.identity.basis_id == workspace.basis.id
        elsewhere = self._for_others(entry, workspace) if ours else None
        return [
            gr.update(visible=False),
            gr.update(visible=True),
            gr.update(value=path_of(entry.portrait), visible=entry.portrait is not None),
            about(entry),
            name,
            gr.update(value=str(entry.file)),
            gr.update(value=path_of(elsewhere), visible=elsewhere is not None),
            gr.update(visible=ours),
        ]

    def _for_others(self, entry: Entry, workspace: Workspace) -> Path | None:
        """As an embedding that other tools read."""
        core = self.shared.core
        folder = Path(tempfile.gettempdir(), "celeb-export", workspace.id)  # gradio copies it
        shutil.rmtree(folder, ignore_errors=True)
        try:
            return export_identity(entry.identity, core.basis, core.models, folder)
        except CelebError:  # a full disk, or a name that those tools cannot use
            return None

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.BrowserState) -> None:
        """Lay out the tab and wire what stays inside it."""
        self.picked = gr.State("")
        self.timer = gr.Timer(TICK, active=False)
        with gr.Row():
            with gr.Column(scale=6, min_width=320):
                self._build_people()
            with gr.Column(scale=4, min_width=320):
                self._build_details()
        self.shown = [
            self.picked, self.people, self.empty, self.undo_button, self.draw_button,
            self.choose, self.details, self.portrait, self.facts, self.name, self.export,
            self.embedding, self.use_button,
        ]  # fmt: skip
        self._wire(session)

    def _build_people(self) -> None:
        self.empty = gr.HTML(EMPTY, visible=False)
        self.people = gallery("library-people", "People", size="medium")
        self.status = message("library-status")
        self.problem = message("library-problem")
        with gr.Row(elem_classes="actions"):
            self.file = gr.UploadButton(
                "Import a person", file_types=[".safetensors", ".pt", ".bin"], size="sm",
                min_width=120, elem_id="library-import",
            )  # fmt: skip
            self.draw_button = gr.Button(
                "Draw missing portraits", size="sm", visible=False, min_width=120,
                elem_id="library-draw",
            )  # fmt: skip
            self.undo_button = gr.Button(
                "Undo", size="sm", visible=False, min_width=120, elem_id="library-undo"
            )

    def _build_details(self) -> None:
        self.choose = gr.HTML(CHOOSE, visible=False)
        with gr.Column(visible=False, elem_id="library-details") as self.details:
            self.portrait = gr.Image(
                interactive=False, show_label=False, buttons=[], height=200,
                elem_id="library-portrait", alt_text="The person as the model draws them",
            )  # fmt: skip
            self.facts = gr.HTML(elem_id="library-facts")
            with gr.Row(elem_classes="joined"):
                self.name = gr.Textbox(
                    "", label="Name", max_lines=1, scale=3, min_width=160, elem_id="library-name"
                )
                self.rename_button = gr.Button(
                    "Rename", scale=1, min_width=90, elem_id="library-rename"
                )
            self.use_button = gr.Button(
                "Use in Compose", variant="primary", elem_id="library-compose"
            )
            with gr.Row(elem_classes="actions"):
                self.export = gr.DownloadButton(
                    "Download", size="sm", min_width=90, elem_id="library-export"
                )
                self.embedding = gr.DownloadButton(
                    "Download for other tools", size="sm", min_width=90,
                    elem_id="library-embedding",
                )  # fmt: skip
                self.delete_button = gr.Button(
                    "Delete", variant="stop", size="sm", min_width=90, elem_id="library-delete"
                )

    def _wire(self, session: gr.BrowserState) -> None:
        said = [self.problem, *self.shown]
        picked = self.people.select(self.pick, session, said, **PRIVATE)
        picked.success(None, None, None, js=reveal("library-details"))
        renaming = [self.rename_button.click, self.name.submit]
        gr.on(renaming, self.rename, [self.picked, self.name, session], said, **PRIVATE)
        self.delete_button.click(self.delete, [self.picked, session], said, **PRIVATE)
        self.undo_button.click(self.undo, session, said, **PRIVATE)
        self.file.upload(self.add, [self.file, session], said, **PRIVATE)
        self.draw_button.click(self.draw, session, self.timer, **PRIVATE)
        looked = [self.status, self.timer, *self.shown]
        self.timer.tick(self.poll, [self.picked, session], looked, queue=False, **PRIVATE)


def path_of(file: Path | None) -> str | None:
    """As widgets want it; an empty text would be the working folder to them."""
    return None if file is None else str(file)
