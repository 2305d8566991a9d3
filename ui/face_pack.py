"""The face pack: what stands in for the upload area until there is one, and its installation."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from celeb_core.face_packs import PACKS, download_pack
from celeb_core.studio import with_faces
from ui.errors import notice, safe
from ui.jobs import Job
from ui.progress import bar, joined, time_left
from ui.studio import PRIVATE, Shared
from ui.training_list import TrainingList
from ui.widgets import Updates, message

TITLES = {
    "buffalo_l": "buffalo_l (non-commercial research only)",
    "auraface": "AuraFace (Apache-2.0)",
}
WHAT = "A face pack finds the faces in photos and tells people apart. There is none here yet."
CHOOSE = "Because of the licences none is downloaded unasked: read them, then choose."
OWNER = (
    "Whoever runs this page can install one on its machine, with one of these commands, and start "
    "the page again."
)
WITHOUT = "All other tabs work without one; the faces in images are not scored then."
FOLDER = (
    '<h3 class="section">A folder on this machine</h3><p class="lead">It holds the *.onnx files of '
    "a detector and a recogniser. To use it the next time too, start with --face-pack FOLDER.</p>"
)


class Stopped(Exception):
    """Ends a download under way."""


@dataclass(eq=False, kw_only=True)
class FacePackJob(Job):
    """Download a face pack unless it is there, and let the page use it, without a restart."""

    shared: Shared
    pack: str  # one of PACKS, or a folder
    whole_paths: bool = True  # only the owner of the machine can install one
    first: int | None = None  # bytes that were there when the download began

    def run(self) -> Literal["done", "stopped"]:
        """Download, load, use."""
        folder: Any = self.pack
        if self.pack in PACKS:
            self.note = f"Downloading {self.pack}"
            try:
                folder = download_pack(self.pack, progress=self.report)
            except Stopped:
                return "stopped"
        self.note, self.total, self.seconds_left = "Loading the face pack", 0, None
        self.shared.use(with_faces(self.shared.core, folder))
        return "done"

    def report(self, done: int, total: int) -> None:
        """Note how many bytes are there, of how many; end the download if told to stop."""
        if self.told_to_stop():
            raise Stopped
        self.first = done if self.first is None else self.first
        self.done, self.total = done, total
        if done > self.first:
            rate = (done - self.first) / (time.monotonic() - self.began)
            self.seconds_left = (total - done) / rate


class FacePackCard:
    """Widgets and what they do, where the page started without a face pack.

    Args:
        shared: By all tabs.
        training: The list of people to train, whose photos can be read again in the end.
    """

    def __init__(self, shared: Shared, training: TrainingList) -> None:
        self.shared, self.training = shared, training
        self.wanted = not shared.core.faces.ready
        self.offered = self.wanted and not shared.isolated

    # --- handlers -------------------------------------------------------------------------------

    def job(self) -> FacePackJob | None:
        """Return the installation under way, or the last one."""
        return self.shared.downloads.latest("", FacePackJob)

    def install(self, pack: str) -> Updates:
        """Queue the installation of one of PACKS, or of a folder."""
        job = self.job()
        if not pack.strip():
            return {self.status: notice("Write the path of the folder first.")}
        if job is None or not job.live:
            self.shared.downloads.submit(FacePackJob(owner="", shared=self.shared, pack=pack))
        return {self.timer: gr.Timer(active=True)}

    def cancel(self) -> None:
        """Stop the download; what is there stays for the next one."""
        if job := self.job():
            self.shared.downloads.stop(job)

    def refresh(self, session: str) -> Updates:
        """Show the card, or what it stands in for."""
        job, ready = self.job(), self.shared.core.faces.ready
        live = job is not None and job.live
        updates: Updates = {
            self.card: gr.update(visible=not ready),
            self.area: gr.update(visible=ready),
            self.status: bar(job, describe(job)) if job and not ready else "",
            self.timer: gr.Timer(active=live),
            self.stop_button: gr.update(visible=live),
            **dict.fromkeys(self.buttons, gr.update(interactive=not live)),
        }
        return {**updates, **self.training.refresh(session)} if ready else updates

    # --- widgets --------------------------------------------------------------------------------

    def build(self) -> None:
        """Lay out the card.

        Visitors of a shared page can neither download to its machine nor name folders of it: for
        them there is a text only.
        """
        with gr.Column(elem_id="faces-pack") as self.card:
            isolated = self.shared.isolated
            gr.HTML(
                '<h2 class="section">Photos need a face pack</h2>'
                f'<p class="lead">{WHAT} {OWNER if isolated else CHOOSE} {WITHOUT}</p>'
            )
            self.buttons: list[gr.Button] = []
            with gr.Row(equal_height=True):
                for name in TITLES:
                    with gr.Column(elem_classes=["boxed", "choice"], min_width=280):
                        gr.HTML(choice(name, command=isolated))
                        if not isolated:
                            self._build_button(name)
            if not isolated:
                self._build_folder()

    def _build_button(self, name: str) -> None:
        label = f"Download {TITLES[name].split()[0]} ({PACKS[name].megabytes} MB)"
        self.buttons.append(gr.Button(label, elem_id=f"faces-pack-{name}"))

    def _build_folder(self) -> None:
        with gr.Column(elem_classes="boxed"):
            gr.HTML(FOLDER)
            with gr.Row(elem_classes="joined"):
                self.folder = gr.Textbox(
                    "", label="Folder", max_lines=1, scale=4, min_width=200, container=False,
                    placeholder="/path/to/the/folder", elem_id="faces-pack-folder",
                )  # fmt: skip
                self.buttons.append(
                    gr.Button("Use this folder", scale=1, min_width=140, elem_id="faces-pack-use")
                )
        self.status = message("faces-pack-status")
        with gr.Row(elem_classes="actions"):
            self.stop_button = gr.Button(
                "Cancel", size="sm", visible=False, min_width=90, elem_id="faces-pack-cancel"
            )
        self.timer = gr.Timer(self.shared.tick, active=False)

    def wire(self, area: gr.Row, session: gr.Textbox) -> None:
        """Wire it; in the end it gives way to the `area`."""
        self.area = area
        self.tick: dict[str, Any] = {
            "fn": self.refresh,
            "inputs": session,
            "outputs": [
                self.card, self.area, self.status, self.timer, self.stop_button, *self.buttons,
                *self.training.outputs,
            ],
            "queue": False,
            **PRIVATE,
        }  # fmt: skip
        self.timer.tick(**self.tick)
        started = [self.status, self.timer]
        for name, button in zip(TITLES, self.buttons, strict=False):
            button.click(lambda name=name: self.install(name), None, started, **PRIVATE)
        for event in (self.buttons[-1].click, self.folder.submit):
            event(self.install, self.folder, started, **PRIVATE)
        self.stop_button.click(self.cancel, None, None, queue=False, **PRIVATE)


def choice(name: str, command: bool) -> str:
    """Format one of the packs with its licence as HTML, and the command that installs it."""
    how = f"<pre><code>celeb-basis pack {name}</code></pre>" if command else ""
    licence = safe(PACKS[name].licence)
    return f'<h3 class="section">{TITLES[name]}</h3><p class="lead">{licence}</p>{how}'


def describe(job: FacePackJob) -> str:
    """Describe how far it is."""
    size = f"{job.done / 1e6:.0f} of {job.total / 1e6:.0f} MB" if job.total else ""
    if job.status == "stopped":
        return joined("Stopped: the next download goes on from here", size)
    return joined(job.note, size, time_left(job))
