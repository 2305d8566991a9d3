"""Names for people: a suggestion, and the hint while a name is typed."""

from __future__ import annotations

from pathlib import Path

from celeb_core.errors import CelebError
from celeb_core.identity import check_name
from ui.errors import explain, notice
from ui.photos import Photo
from ui.workspace import Workspace


def suggested_name(photo: Photo, workspace: Workspace) -> str:
    """Return the file's name, if it looks like a person's and is free; else an empty text."""
    stem = Path(photo.label).stem.strip()
    usual = stem.isalpha() and 1 < len(stem) <= 20 and len(photo.faces) == 1
    taken = workspace.trainee(stem) is not None or stem in workspace.people()
    return stem if usual and not taken else ""


def name_hint(name: str, workspace: Workspace) -> tuple[str, bool]:
    """Return a hint about a name (HTML), and whether the name can be used."""
    if not name.strip():
        return notice(
            "Give this person a name. In prompts you write it like <ada>.", kind="hint"
        ), False
    try:
        name = check_name(name)
    except CelebError as error:
        return notice(explain(error)), False
    if workspace.trainee(name):
        text = f"{name} is in the training list: this face is added as one more photo of {name}."
        return notice(text, kind="hint"), True
    if name in workspace.people():
        text = f"There is a <{name}> in your library: training will replace that person."
        return notice(text, kind="hint"), True
    return notice(f"In prompts: <{name}>", kind="good"), True
