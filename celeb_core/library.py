"""The library folder: people replaced and deleted go to a bin, from which they can come back."""

import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from celeb_core.errors import IdentityNotFound, SaveFailed
from celeb_core.files import changing
from celeb_core.identity import file_name, identity_path, save_identity
from celeb_core.temporary_files import temporary_path
from celeb_core.types import Identity

PRIVATE_FOLDER = ".studio"  # in a library: photos, states of trainings, the bin; never served


def bin_folder(library: Path) -> Path:
    """Return where deleted and replaced people are kept, each in a folder of its own."""
    return library / PRIVATE_FOLDER / "deleted"


def portrait_path(name: str, library: Path) -> Path:
    """Return where a person's portrait is, or would be."""
    return library / Path(file_name(name)).with_suffix(".png")


def copy_to_bin(name: str, library: Path) -> Sequence[Path]:
    """Copy a person's file and portrait to the bin, and return the originals.

    Raises:
        IdentityNotFound, SaveFailed: There is no such person; a copy cannot be written.
    """
    file, portrait = identity_path(name, library), portrait_path(name, library)
    if not file.is_file():
        raise IdentityNotFound(f"Nobody is called “{name}” any more. Choose another person.")
    paths = [path for path in (file, portrait) if path.is_file()]
    folder = bin_folder(library) / str(time.time_ns())
    with changing(file):  # whole from the moment on when it can be brought back
        unfinished = temporary_path(folder)
        unfinished.mkdir(parents=True)
        for path in paths:
            shutil.copy2(path, unfinished / path.name)
        unfinished.rename(folder)
    return paths


def replace_identity(identity: Identity, library: Path) -> Path:
    """Save a person, and return the file; an earlier one of that name goes to the bin.

    Raises:
        BadName, SaveFailed: The name is not allowed, or a file cannot be written.
    """
    if (library / file_name(identity.name)).is_file():
        copy_to_bin(identity.name, library)
    portrait = portrait_path(identity.name, library)
    with changing(portrait):  # it shows the earlier one
        portrait.unlink(missing_ok=True)
    return save_identity(identity, library)


def save_people(people: Iterable[Identity], library: Path) -> list[Path]:
    """Save people as `replace_identity` does, and return their files.

    Whoever cannot be saved there is saved in a new folder of the system's temporary one: what was
    trained is not lost because a disk is full.

    Raises:
        SaveFailed: After all others are saved, where those are that had to go elsewhere.
    """
    saved, problems = [], []
    for person in people:
        try:
            saved.append(replace_identity(person, library))
        except SaveFailed as error:
            problems.append(f"{error} {_save_elsewhere(person, library)}")
    if problems:
        raise SaveFailed(" ".join(problems))
    return saved


def _save_elsewhere(person: Identity, library: Path) -> str:
    try:
        path = save_identity(person, Path(tempfile.mkdtemp(prefix="celeb-basis-")))
    except (SaveFailed, OSError):
        return f"<{person.name}> could not be saved in the system's temporary folder either."
    return f"<{person.name}> is in {path} until then: move that file to {library}."
