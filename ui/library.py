"""Library: all trained people, to be renamed, deleted, downloaded and imported."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gradio as gr

from celeb_core import checks
from celeb_core.errors import CelebError
from celeb_core.files import check_writable
from celeb_core.identity import MAX_NAME
from ui.errors import explain, explain_file, notice
from ui.export import export_person
from ui.forget import forget, warning
from ui.images import silhouette
from ui.library_files import Entry
from ui.person_facts import about, caption
from ui.portrait_job import PortraitJob
from ui.price import PORTRAITS, portraits_label
from ui.progress import bar
from ui.studio import PRIVATE, Shared
from ui.widgets import Updates, gallery, message, reveal
from ui.workspace import Workspace

EMPTY = (
    '<div class="empty">Nobody here yet.<br>Choose a face on the Faces tab and train it, '
    "or import an identity file.</div>"
)
CHOOSE = '<div class="empty">Click a person to see more, and to rename or delete them.</div>'


class LibraryTab:
    """Widgets and what they do. Handlers take plain values and return component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    # --- handlers -------------------------------------------------------------------------------

    def refresh(self, picked: str, session: str) -> Updates:
        """Show all people, and more about the one who is picked."""
        workspace = self.shared.workspace(session)
        entries = workspace.files.entries()
        deleted = workspace.files.deleted()
        ours = workspace.basis.id
        portraits = [workspace.portraits.find(e.identity.name) for e in entries]
        rows = [
            (str(portrait) if portrait else silhouette(), caption(e, ours))
            for e, portrait in zip(entries, portraits, strict=True)
        ]
        entry = next((e for e in entries if e.identity.name == picked), None)
        bare = [e for e in entries if e.identity.basis_id == ours and e.portrait is None]
        undo = f"Undo: bring back {deleted[0].name}" if deleted else "Undo"
        return {
            self.picked: entry.identity.name if entry else "",
            self.asking: gr.update(visible=False),
            self.people: gr.update(value=rows, visible=bool(rows), selected_index=None),
            self.empty: gr.update(visible=not rows),
            self.samples_button: gr.update(
                visible=not rows and bool(self.shared.shown_first.people)
            ),
            self.undo_button: gr.update(value=undo, visible=bool(deleted)),
            self.portraits_button: gr.update(
                visible=bool(bare), value=portraits_label(self.shared.executor, len(bare))
            ),
            self.choose: gr.update(visible=entry is None and bool(rows)),
            **(self._details(entry, workspace) if entry else self._no_details()),
        }

    def open(self, picked: str, session: str) -> Updates:
        """Show all people when the tab is opened, and more about one of them."""
        people = self.shared.workspace(session).files.entries()
        first = people[0].identity.name if people else ""
        return self.refresh(picked or first, session)

    def add_samples(self, session: str) -> Updates:
        """Add the sample people of the model."""
        workspace, examples = self.shared.workspace(session), self.shared.shown_first
        missing = examples.missing(workspace.library)
        try:
            workspace.check_room(len(missing))
            examples.add_people(missing, workspace.library)
        except CelebError as error:
            return {self.problem: notice(explain(error))}
        return {self.problem: "", **self.open("", session)}

    def pick(self, session: str, event: gr.SelectData) -> Updates:
        """Show the person who was clicked."""
        entries = dict(enumerate(self.shared.workspace(session).files.entries()))
        entry = entries.get(int(event.index))
        return {self.problem: "", **self.refresh(entry.identity.name if entry else "", session)}

    def rename(self, picked: str, name: str, session: str) -> Updates:
        """Give the picked person another name; on an error everything stays as it is."""
        try:
            new = self.shared.workspace(session).rename(picked, name)
        except CelebError as error:
            return {self.problem: notice(explain(error))}
        text = f"{picked} is now called {new}. In prompts: <{new}>" if new != picked else ""
        return {self.problem: notice(text, kind="good"), **self.refresh(new, session)}

    def delete(self, picked: str, session: str) -> Updates:
        """Delete the picked person; for some days they can be brought back."""
        workspace = self.shared.workspace(session)
        try:
            workspace.delete(picked)
        except CelebError as error:
            return {self.problem: notice(explain(error)), **self.refresh("", session)}
        photos = " The photos stay in the training list." if workspace.trainee(picked) else ""
        text = f"{picked} was deleted. For a week, Undo brings {picked} back.{photos}"
        return {self.problem: notice(text, kind="good"), **self.refresh("", session)}

    def ask(self, picked: str) -> Updates:
        """Ask whether everything of the picked person is to be deleted."""
        return {
            self.asking: gr.update(visible=bool(picked)),
            self.warning: notice(warning(picked), kind="hint"),
        }

    def forget(self, picked: str, session: str) -> Updates:
        """Delete everything of the picked person for good, and say what is gone."""
        workspace = self.shared.workspace(session)
        for path in self._exports(workspace).rglob("*"):
            workspace.shown.forget_copies(path)
        shutil.rmtree(self._exports(workspace), ignore_errors=True)
        try:
            gone = forget(workspace, self.shared.runner, checks.text(picked, "Name", MAX_NAME))
        except CelebError as error:
            return {self.problem: notice(explain(error)), self.asking: gr.update(visible=False)}
        return {
            self.problem: notice(f"{picked} is forgotten.", *gone.sentences, kind="good"),
            **self.refresh("", session),
        }

    def undo(self, session: str) -> Updates:
        """Bring back the person who was deleted last."""
        try:
            name = self.shared.workspace(session).files.restore()
        except CelebError as error:
            return {self.problem: notice(explain(error)), **self.refresh("", session)}
        text = f"{name} is back."
        return {self.problem: notice(text, kind="good"), **self.refresh(name, session)}

    def add(self, file: str, session: str) -> Updates:
        """Import people from a file."""
        workspace, path = self.shared.workspace(session), Path(file)
        try:
            workspace.check_room()
            people = workspace.files.add(path, path.name, workspace.basis)
        except CelebError as error:
            return {self.problem: notice(explain_file(error, file, path.name))}
        finally:
            self.shared.uploads.discard(session, path)
        lines = [f"{person.name} is in the library." for person in people]
        foreign = [p for p in people if p.basis_id != workspace.basis.id]
        lines += [f"{p.name} was made for {p.base_model}: start with that model." for p in foreign]
        return {
            self.problem: notice(*lines, kind="hint" if foreign else "good"),
            **self.refresh(people[0].name, session),
        }

    def generate(self, session: str) -> Updates:
        """Queue the missing portraits."""
        workspace = self.shared.workspace(session)
        try:
            check_writable(workspace.library)
            job = PortraitJob(
                owner=workspace.id,
                core=self.shared.core,
                workspace=workspace,
                executor=self.shared.executor,
            )
            self.shared.submit(job)
        except CelebError as error:
            return {self.status: notice(explain(error))}
        return {self.timer: gr.Timer(active=True)}

    def poll(self, picked: str, session: str) -> Updates:
        """Show how far the portraits are; when all are there, all people again."""
        job = self.shared.runner.latest(self.shared.workspace(session).id, PortraitJob)
        if job is None or job.status in ("done", "stopped"):
            idle = gr.Timer(active=False)
            return {self.status: "", self.timer: idle, **self.refresh(picked, session)}
        status = bar(job, job.note, self.shared.runner.place(job))
        return {self.status: status, self.timer: gr.Timer(active=job.live)}

    def _details(self, entry: Entry, workspace: Workspace) -> Updates:
        ours = entry.identity.basis_id == workspace.basis.id
        embedding = self._embedding(entry, workspace) if ours else None
        return {
            self.details: gr.update(visible=True),
            self.portrait: file_update(workspace.portraits.find(entry.identity.name)),
            self.facts: about(entry),
            self.name: entry.identity.name,
            self.export: gr.update(value=str(entry.file)),
            self.embedding: file_update(embedding),
            self.use_button: gr.update(visible=ours),
        }

    def _no_details(self) -> Updates:
        hidden = (self.details, self.portrait, self.embedding, self.use_button)
        return {
            **dict.fromkeys(hidden, gr.update(visible=False)),
            **dict.fromkeys((self.facts, self.name), ""),
        }

    def _embedding(self, entry: Entry, workspace: Workspace) -> Path | None:
        """Export the person for other tools; None where those cannot use them."""
        try:
            return export_person(self.shared, workspace, entry.identity).files[0]
        except CelebError:  # a full disk, or a name that those tools cannot use
            return None

    def _exports(self, workspace: Workspace) -> Path:
        return self.shared.files.folder / "export" / workspace.id

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.Textbox) -> None:
        """Lay out the tab and wire what stays inside it."""
        self.picked = gr.State("")
        self.timer = gr.Timer(self.shared.tick, active=False)
        with gr.Row():
            with gr.Column(scale=6, min_width=320):
                self._build_people()
            with gr.Column(scale=4, min_width=320):
                self._build_details()
        self.outputs = [
            self.picked, self.people, self.empty, self.samples_button, self.undo_button,
            self.portraits_button,
            self.choose, self.details, self.portrait, self.facts, self.name, self.export,
            self.embedding, self.use_button, self.asking,
        ]  # fmt: skip
        self._wire(session)

    def _build_people(self) -> None:
        self.empty = gr.HTML(EMPTY, visible=False)
        self.samples_button = gr.Button(
            "Add the sample people", visible=False, elem_id="library-samples"
        )
        self.people = gallery("library-people", "People", size="medium")
        self.status = message("library-status")
        self.problem = message("library-problem")
        with gr.Row(elem_classes="actions"):
            # Of any suffix: what a file is, its content says.
            self.file = gr.UploadButton(
                "Import a person", size="sm", min_width=120, elem_id="library-import"
            )
            self.portraits_button = gr.Button(
                PORTRAITS, size="sm", visible=False, min_width=120,
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
                elem_id="library-portrait", alt_text="The person as the model generates them",
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
                self.forget_button = gr.Button(
                    "Forget", variant="stop", size="sm", min_width=90, elem_id="library-forget"
                )
            with gr.Column(visible=False, elem_id="library-asking") as self.asking:
                self.warning = message("library-warning")
                with gr.Row():
                    self.sure_button = gr.Button(
                        "Delete everything for good", variant="stop", size="sm", min_width=120,
                        elem_id="library-sure",
                    )  # fmt: skip
                    self.keep_button = gr.Button(
                        "Keep", size="sm", min_width=90, elem_id="library-keep"
                    )

    def _wire(self, session: gr.Textbox) -> None:
        outputs = [self.problem, *self.outputs]
        picked = self.people.select(self.pick, session, outputs, **PRIVATE)
        picked.success(None, None, None, js=reveal("library-details"))
        renaming = [self.rename_button.click, self.name.submit]
        gr.on(renaming, self.rename, [self.picked, self.name, session], outputs, **PRIVATE)
        self.delete_button.click(self.delete, [self.picked, session], outputs, **PRIVATE)
        asked = [self.asking, self.warning]
        self.forget_button.click(self.ask, self.picked, asked, queue=False, **PRIVATE)
        self.keep_button.click(
            lambda: gr.update(visible=False), None, self.asking, queue=False, **PRIVATE
        )
        self.sure_button.click(self.forget, [self.picked, session], outputs, **PRIVATE)
        self.samples_button.click(self.add_samples, session, outputs, **PRIVATE)
        self.undo_button.click(self.undo, session, outputs, **PRIVATE)
        self.file.upload(self.add, [self.file, session], outputs, **PRIVATE)
        self.portraits_button.click(self.generate, session, [self.status, self.timer], **PRIVATE)
        polled = [self.status, self.timer, *self.outputs]
        self.timer.tick(self.poll, [self.picked, session], polled, queue=False, **PRIVATE)


def file_update(file: Path | None) -> Any:
    """Update a widget of a file; without one it is hidden.

    The value is None then: an empty text would be the working folder.
    """
    return gr.update(value=None if file is None else str(file), visible=file is not None)
