"""What the tabs share: the loaded models, the job queue, and each session's workspace."""

from __future__ import annotations

import functools
import hashlib
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from PIL import Image

from celeb_core import Studio, list_identities, save_identity
from celeb_core.errors import CelebError, SaveFailed
from celeb_core.evaluation.data import held_out_photos
from celeb_core.files import matching
from celeb_core.identity import SAMPLE_SUFFIX
from celeb_core.library import PRIVATE_FOLDER
from celeb_core.marks.provenance import Marker, load_marker
from celeb_core.temporary_files import private_folder
from ui.examples import Examples
from ui.executor import Executor, InProcess
from ui.guard import ISSUED
from ui.jobs import Job, Runner
from ui.limits import HOME, Limits, size_of
from ui.page_files import PageFiles
from ui.sessions import HEADER, Sessions
from ui.time_estimate import TimeEstimates
from ui.uploads import Uploads
from ui.workspace import Workspace

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""For the page's own events: no public endpoint, no veil over the outputs."""

USED = "used"  # file in a session's folder: its time is that of the last use
MINUTE = 60.0  # seconds
LOCAL = "local"  # id of the workspace that all share at home
EXAMPLES = ("Ash", "Billie", "Casey", "Drew", "Ellis", "Frankie", "Jules", "Kit")

AnyJob = TypeVar("AnyJob", bound=Job)


@dataclass(eq=False)
class Shared:
    """What all tabs and sessions share.

    Args:
        core: The loaded models.
        library: Folder of the owner's people.
        isolated: Every browser session has its own people, photos, jobs and images. Otherwise, on a
            machine of one's own, there is one library and all browsers show the same.
        accounts: Where isolated: a session belongs to the name that logged in, not to the browser,
            and is kept for good.
        limits: Of every session.
        temporary: Private folder for temporary files, and for sessions where they are isolated.
        executor: Of the jobs' GPU work.
        marker: Marks generated images; None: with the key of the library and nothing else.
    """

    core: Studio
    library: Path
    isolated: bool = False
    accounts: bool = False
    limits: Limits = HOME
    temporary: Path = field(default_factory=private_folder)
    executor: Executor = field(default_factory=InProcess)
    marker: InitVar[Marker | None] = None

    def __post_init__(self, marker: Marker | None) -> None:
        self.marks = marker or load_marker(self.library / PRIVATE_FOLDER)
        self._lock = threading.RLock()
        self._workspaces: dict[str, Workspace] = {}
        self._session_of: dict[str, str] = {}  # workspace's id -> session's
        self.runner = Runner(self.limits)  # of all jobs that use the device
        self.downloads = Runner()  # of those that wait for the network
        self.files = PageFiles(self.temporary)
        self.uploads = Uploads(self.files.cache, self.limits)
        self.sessions = Sessions(self.temporary, self.limits)
        path = self.library / PRIVATE_FOLDER / "time_estimates.json"
        self.estimates = TimeEstimates(self.core, path)
        self.shown_first = Examples(self.core.models.folder, self.core.basis)

    @property
    def tick(self) -> float:
        """Seconds between two polls of a job; many visitors cost many polls."""
        return 1.0 if self.isolated else 0.3

    def use(self, core: Studio) -> None:
        """Take over a changed studio of the same model: another face pack or calibration.

        Whatever begins from now on uses it; jobs under way go on with the one that they have.
        """
        with self._lock:
            self.core = self.estimates.core = core
            for workspace in self._workspaces.values():
                workspace.use(core.faces)

    def close(self) -> None:
        """Stop all jobs, delete temporary files."""
        for runner in (self.downloads, self.runner):
            runner.close()
        self.executor.close()
        self.files.close()

    @property
    def images(self) -> Path:
        """Folder of generated images, beside the library."""
        return self.library.resolve().parent / "images"

    def submit(self, job: AnyJob) -> AnyJob:
        """Queue a job of a session.

        Raises:
            LimitReached: The job has too many images, the session too many jobs or files.
        """
        with self._lock:
            workspace = self._workspaces.get(job.owner)
        self.limits.check_images(job.image_count)
        if workspace is not None and self.isolated:
            self.limits.check_storage(workspace.library.parent)
        return self.runner.submit(job)

    # --- sessions -------------------------------------------------------------------------------

    def arrive(self, request: gr.Request) -> str:
        """Return the session of a browser that opens the page; a new one gets a cookie.

        Raises:
            LimitReached: There are too many sessions.
        """
        if not self.isolated or (session := self.session_of(request)):
            return self.session_of(request)
        session = self.new_session(request.client.host if request.client else "")
        request.request.scope[ISSUED].append(session)  # type: ignore[union-attr]
        return session

    def new_session(self, address: str = "") -> str:
        """Return the id of a new session.

        Raises:
            LimitReached: There are too many sessions.
        """
        return self.sessions.issue(address)

    def session_of(self, request: gr.Request | None) -> str:
        """Return the session of a request, "" if it has none or all share one."""
        if not self.isolated or request is None:
            return ""
        return str(dict(request.headers).get(HEADER, ""))

    def workspace(self, session: str) -> Workspace:
        """Return the workspace of a session.

        Raises:
            CelebError: The id is not one of ours.
        """
        if not self.isolated:
            return self._opened(LOCAL)
        if not self.sessions.is_ours(session):
            raise CelebError(
                "This page has lost its session. Reload it; if that does not help, allow its "
                "cookie, or open it in a tab of its own."
            )
        # The hash, so that no path tells the id of the session.
        id = hashlib.sha256(session.encode()).hexdigest()[:32]
        self._session_of[id] = session
        return self._opened(id)

    def _opened(self, id: str) -> Workspace:
        with self._lock:
            if id not in self._workspaces:
                self._workspaces[id] = self._open(id)
            return self._workspaces[id]

    def _open(self, id: str) -> Workspace:
        library, images = self.library, self.images
        if self.isolated:
            folder = self._folder(id)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # there are photos in it
            library, images = folder / "identities", folder / "images"
            if not library.is_dir():
                library.mkdir()
                self._copy_samples(library)
            (folder / USED).touch()
        self.shown_first.add_portraits(library)
        return Workspace(
            id,
            library,
            images,
            self.core.faces,
            self.core.basis,
            self.files,
            self.marks,
            self.limits,
            self.shown_first,
        )

    def _folder(self, id: str) -> Path:
        if self.accounts:
            return self.library.resolve().parent / "accounts" / id
        return self.temporary / "sessions" / id

    def _copy_samples(self, library: Path) -> None:
        """Strangers get the people that ship with the project, never those of the owner."""
        for identity in list_identities(self.library, SAMPLE_SUFFIX).values():
            save_identity(identity, library)

    # --- what is done from time to time ---------------------------------------------------------

    def tidy(self) -> None:
        """Delete what nobody needs any more, and stop the jobs of those who are gone."""
        self.uploads.sweep()
        if not self.isolated:
            return
        self.runner.check(self.is_gone)
        for id, session in list(self._session_of.items()):
            if self.sessions.absence(session) < MINUTE:
                with suppress(OSError):  # it is forgotten at this moment
                    (self._folder(id) / USED).touch()
        if not self.accounts:
            self._forget_unused()
        self._release()

    def is_gone(self, id: str) -> bool:
        """Return whether the session of a workspace has been absent for too long."""
        limit, session = self.limits.absence, self._session_of.get(id)
        return limit is not None and session is not None and self.sessions.absence(session) > limit

    def _forget_unused(self) -> None:
        """Delete sessions that nobody has used for long, or the longest unused of too many.

        Those of earlier processes too.
        """
        used, total, limits = {}, 0, self.limits
        for mark in matching(self.temporary / "sessions", f"*/{USED}"):
            with suppress(OSError):  # another process forgets it, too
                used[mark.parent] = time.time() - mark.stat().st_mtime
                total += size_of(mark.parent)
        for folder, idle in sorted(used.items(), key=lambda pair: -pair[1]):
            full = limits.disk is not None and total > limits.disk and idle > MINUTE
            if (idle > limits.expiry or full) and not self.runner.busy(folder.name):
                total -= size_of(folder)
                self._forget(folder.name)
                shutil.rmtree(folder, ignore_errors=True)

    def _forget(self, id: str) -> None:
        with self._lock:
            workspace = self._workspaces.pop(id, None)
            self._session_of.pop(id, None)
        if workspace is not None:
            workspace.close()
        self.runner.forget(id)

    def _release(self) -> None:
        """Take the photos of the longest absent out of memory, if they are too many."""
        with self._lock:
            known = dict(self._workspaces)
        sizes = {id: workspace.memory for id, workspace in known.items()}
        total, most = sum(sizes.values()), self.limits.memory
        absence = {id: self.sessions.absence(self._session_of.get(id, "")) for id in known}
        for id in sorted(known, key=lambda id: -absence[id]):
            if sizes[id] and most is not None and total > most and not self.runner.busy(id):
                with suppress(SaveFailed):  # the disk is full: they stay
                    known[id].release()
                    total -= sizes[id]

    # --- what the bundled model offers ----------------------------------------------------------

    def examples(self) -> list[tuple[Image.Image, str]]:
        """Return faces that the model was never trained on, each with a name; maybe none."""
        return self._examples

    @functools.cached_property
    def _examples(self) -> list[tuple[Image.Image, str]]:
        folder = self.core.models.folder
        path = folder / "evaluation" / "people.webp" if folder else None
        if path is None or not path.is_file():
            return []
        return list(zip(held_out_photos(path), EXAMPLES, strict=False))
