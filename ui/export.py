"""A person as a file for other tools."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from celeb_core import Identity, export_identity
from celeb_core.files import matching
from celeb_core.textual_inversion import usage_notes
from ui.studio import Shared
from ui.workspace import Workspace

SERVED = 60.0  # seconds after which gradio surely has its copy of an exported file


@dataclass(frozen=True)
class Exported:
    """What was written for other tools."""

    files: tuple[Path, ...]  # one, or diffusers' two for SDXL
    usage: Mapping[str, str]  # tool -> where the file belongs, and what to write in the prompt


def export_person(
    shared: Shared,
    workspace: Workspace,
    identity: Identity,
    format: str = "safetensors",
    token: str | None = None,
) -> Exported:
    """Write the person's embedding as other tools read it, into a temporary folder.

    Args:
        shared: What the tabs share.
        workspace: The user's; the files of earlier exports are deleted.
        identity: Of the model that is loaded.
        format: One of `celeb_core.textual_inversion.FORMATS`.
        token: Trigger word and file name; the person's name by default.

    Raises:
        CelebError: The token cannot be used, or the file cannot be written.
    """
    core, folder = shared.core, shared.files.folder / "export" / workspace.id
    for old in matching(folder, "*"):
        with suppress(OSError):  # another export deletes it
            if time.time() - old.stat().st_mtime > SERVED:
                shutil.rmtree(old, ignore_errors=True)
    own = folder / uuid.uuid4().hex
    path = export_identity(identity, core.basis, core.models, own, format, token)
    notes = usage_notes(path)
    usage = {tool: note.replace(f"{own}{os.sep}", "") for tool, note in notes.items()}
    return Exported(tuple(sorted(path.parent.iterdir())), usage)
