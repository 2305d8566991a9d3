"""What the tabs share: the loaded models, the job queue, and each session's workspace."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from celeb_core import Studio, list_identities, save_identity
from celeb_core.errors import CelebError
from celeb_core.files import matching
from celeb_core.identity import SAMPLE_SUFFIX
from celeb_core.library import PRIVATE_FOLDER
from celeb_core.temporary_files import private_folder
from ui.executor import Executor, InProcess
from ui.jobs import Runner
from ui.page_files import PageFiles
from ui.time_estimate import TimeEstimates
from ui.workspace import Workspace

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""For the page's own events: no public endpoint, no veil over the outputs."""
TICK = 0.3  # seconds between two polls of a job; only display depends on it

ID = re.compile(r"[0-9a-f]{32}")
FORGET_AFTER = 24 * 3600  # seconds; only where sessions are isolated
EXAMPLES = ("Ash", "Billie", "Casey", "Drew", "Ellis", "Frankie", "Jules", "Kit")
SIDE = 128  # of an example in evaluation/people.png


@dataclass(eq=False)
class Shared:
    """What all tabs and sessions share.

    Args:
        core: The loaded models.
        library: Folder of the owner's people.
        isolated: Every browser session has its own people, photos, jobs and images. Otherwise, on a
            machine of one's own, there is one library and all browsers show the same.
        runner: Of all jobs that use the device.
        downloads: Of those that wait for the network.
        temporary: Private folder for temporary files, and for sessions where they are isolated.
        executor: Of the jobs' GPU work.
    """

    core: Studio
    library: Path
    isolated: bool = False
    runner: Runner = field(default_factory=Runner)
    downloads: Runner = field(default_factory=Runner)
    temporary: Path = field(default_factory=private_folder)
    executor: Executor = field(default_factory=InProcess)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._workspaces: dict[str, Workspace] = {}
        self.files = PageFiles(self.temporary)
        path = self.library / PRIVATE_FOLDER / "time_estimates.json"
        self.estimates = TimeEstimates(self.core, path)

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
        self.files.close()

    @property
    def _sessions(self) -> Path:
        return self.temporary / "sessions"

    @property
    def images(self) -> Path:
        """Folder of generated images, beside the library."""
        return self.library.resolve().parent / "images"

    def new_session(self) -> str:
        """Return an id that nobody can guess; the browser stores it."""
        return uuid.uuid4().hex

    def workspace(self, session: str) -> Workspace:
        """Return the workspace of a browser session.

        Raises:
            CelebError: The id is not one of ours.
        """
        if self.isolated and not ID.fullmatch(session or ""):
            raise CelebError("This page has lost its session. Reload it.")
        # The hash, so that no path tells the id of the session.
        id = hashlib.sha256(session.encode()).hexdigest()[:32] if self.isolated else "local"
        with self._lock:
            if id not in self._workspaces:
                self._workspaces[id] = self._open(id)
            workspace = self._workspaces[id]
        return workspace

    def _open(self, id: str) -> Workspace:
        faces, basis = self.core.faces, self.core.basis
        if not self.isolated:
            return Workspace(id, self.library, self.images, faces, basis, self.files)
        self._forget()
        folder = self._sessions / id
        library = folder / "identities"
        if not library.is_dir():
            library.mkdir(parents=True)
            self._copy_samples(library)
        (folder / "used").touch()
        return Workspace(id, library, folder / "images", faces, basis, self.files)

    def _copy_samples(self, library: Path) -> None:
        """Strangers get the people that ship with the project, never those of the owner."""
        for identity in list_identities(self.library, SAMPLE_SUFFIX).values():
            save_identity(identity, library)

    def _forget(self) -> None:
        """Delete sessions that nobody has opened for a day."""
        for mark in matching(self._sessions, "*/used"):
            id = mark.parent.name
            with suppress(OSError):  # another process forgets it, too
                idle = time.time() - mark.stat().st_mtime > FORGET_AFTER
                if idle and not self.runner.busy(id):
                    if workspace := self._workspaces.pop(id, None):
                        workspace.close()
                    shutil.rmtree(mark.parent)

    # --- what the bundled model offers ----------------------------------------------------------

    def examples(self) -> list[tuple[Image.Image, str]]:
        """Return faces that the model was never trained on, each with a name; maybe none."""
        folder = self.core.models.folder
        path = folder / "evaluation" / "people.png" if folder else None
        if path is None or not path.is_file():
            return []
        grid = Image.open(path).convert("RGB")
        count = min(len(EXAMPLES), grid.width // SIDE)
        corners = [(number * SIDE, 0) for number in range(count)]
        faces = [grid.crop((x, y, x + SIDE, y + SIDE)) for x, y in corners]
        return list(zip(faces, EXAMPLES, strict=False))
