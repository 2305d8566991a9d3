"""The people of a library folder as files: what is known of each, renaming, deleting with undo."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from celeb_core import (
    CelebBasis,
    Identity,
    import_identities,
    list_identities,
    load_identity,
    rename_identity,
)
from celeb_core.basis import check_identity
from celeb_core.errors import BadName, IdentityError, IdentityNotFound, PhotoUnreadable
from celeb_core.files import changing, matching
from celeb_core.identity import (
    MAX_NAME,
    SAMPLE_SUFFIX,
    SUFFIX,
    file_name,
    identity_path,
    is_identity_file,
    save_identities,
)
from celeb_core.library import bin_folder, copy_to_bin, portrait_path, replace_identity
from ui.images import read_settings

UNDO_SECONDS = 7 * 24 * 3600  # for which a deleted person can be brought back


@dataclass(frozen=True, eq=False)
class Entry:
    """What the library knows of a person."""

    identity: Identity
    file: Path
    portrait: Path | None  # a generated image
    score: float | None  # the portrait's identity score
    saved: datetime


@dataclass(frozen=True)
class Deleted:
    """A person who can be brought back."""

    name: str
    file: Path


class LibraryFiles:
    """Files of one library.

    Args:
        library: Its folder.
    """

    def __init__(self, library: Path) -> None:
        self.library, self._bin = library, bin_folder(library)

    def entries(self) -> list[Entry]:
        """Return all people by name, those of other models too."""
        found = []
        for identity in list_identities(self.library).values():
            with suppress(OSError, IdentityNotFound):  # it vanished meanwhile
                found.append(self._entry(identity))
        return found

    def portrait_path(self, name: str) -> Path:
        """Return where a person's portrait is, or would be."""
        return portrait_path(name, self.library)

    def file(self, name: str) -> Path:
        """Return a person's file.

        Raises:
            IdentityNotFound: There is none.
        """
        path = identity_path(name, self.library)
        if not path.is_file():
            raise IdentityNotFound(f"Nobody is called “{name}” any more. Choose another person.")
        return path

    def rename(self, name: str, new_name: str) -> str:
        """Rename a person and the portrait; return the new name as it was saved.

        Raises:
            BadName: The new name is taken or cannot be used.
        """
        identity = rename_identity(name, new_name, self.library)
        portrait = self.portrait_path(name)
        if identity.name != name and portrait.is_file():
            with changing(portrait):
                portrait.replace(self.portrait_path(identity.name))
        return identity.name

    def delete(self, name: str) -> None:
        """Move a person to the bin; `restore` brings them back.

        Raises:
            IdentityNotFound, SaveFailed: There is no such person; their files cannot be moved.
        """
        for path in copy_to_bin(name, self.library):
            with changing(path):
                path.unlink(missing_ok=True)

    def replace(self, identity: Identity) -> None:
        """Save a person; an earlier one of that name goes to the bin.

        Raises:
            SaveFailed: The file cannot be written.
        """
        replace_identity(identity, self.library)

    def deleted(self) -> list[Deleted]:
        """Return who can be brought back, the latest first; delete for good what is too old."""
        found = []
        for file in sorted(matching(self._bin, f"*/*{SUFFIX}"), reverse=True):
            try:
                if time.time() - file.parent.stat().st_mtime > UNDO_SECONDS:
                    shutil.rmtree(file.parent, ignore_errors=True)
                else:
                    found.append(Deleted(load_identity(file).name, file))
            except (OSError, IdentityError):  # damaged, or brought back by another process
                continue
        return found

    def copies(self, name: str) -> list[Path]:
        """Return all files of a person: in the library and in the bin, portraits there too."""
        folders = {found.file.parent for found in self.deleted()}
        own = [self.library / file_name(name)]
        own.append(own[0].with_suffix(SAMPLE_SUFFIX))
        for folder in folders:
            binned = folder / file_name(name)
            own += [binned, binned.with_suffix(SAMPLE_SUFFIX), binned.with_suffix(".png")]
        return [path for path in own if path.is_file()]

    def restore(self) -> str:
        """Bring back the person who was deleted last, and return the name.

        Raises:
            BadName: The name is taken again.
            IdentityNotFound: The bin is empty.
        """
        latest = next(iter(self.deleted()), None)
        if latest is None:
            raise IdentityNotFound("There is nobody to bring back.")
        if (self.library / latest.file.name).exists():
            raise BadName(
                f"“{latest.name}” is taken again. Rename or delete that one first, then undo."
            )
        with changing(latest.file):
            # The person last: the files are in the bin until all are back.
            for path in sorted(latest.file.parent.iterdir(), key=lambda path: path == latest.file):
                path.replace(self.library / path.name)
        shutil.rmtree(latest.file.parent, ignore_errors=True)
        return latest.name

    def add(self, file: Path, label: str, basis: CelebBasis) -> list[Identity]:
        """Import people from an identity file, or from another tool's embedding.

        Args:
            file: Of either kind.
            label: The file's name as the user knows it.
            basis: Of the model, for embeddings.

        Returns:
            The people as they were saved: a taken name gets a number.

        Raises:
            IdentityError: The file is neither, or holds nothing that the basis can express.
            SaveFailed: Not all of them can be written; then none is.
        """
        if is_identity_file(file):
            found = [load_identity(file)]
            if found[0].basis_id == basis.id:
                check_identity(found[0], basis)
        else:
            name = Path(label).stem[: MAX_NAME - 4]  # several people are numbered
            found = [made.identity for made in import_identities(file, basis, name=name)]
        taken, added = set(list_identities(self.library)), []
        for identity in found:
            added.append(replace(identity, name=self._free_name(identity.name, taken)))
            taken.add(added[-1].name)
        save_identities(added, self.library)
        return added

    def _entry(self, identity: Identity) -> Entry:
        file, portrait = self.file(identity.name), self.portrait_path(identity.name)
        known = portrait if portrait.is_file() else None
        saved = datetime.fromtimestamp(file.stat().st_mtime)
        return Entry(identity, file, known, _score(known) if known else None, saved)

    def _free_name(self, name: str, taken: Collection[str]) -> str:
        free, number = name, 2
        while free in taken or os.path.lexists(self.library / file_name(free)):
            free, number = f"{name[: MAX_NAME - 4]} {number}", number + 1
        return free


def is_sample(entry: Entry) -> bool:
    """Return whether a person ships with the project."""
    return entry.file.name.endswith(SAMPLE_SUFFIX)


def _score(portrait: Path) -> float | None:
    try:
        score = read_settings(portrait).get("identity")
    except PhotoUnreadable:
        return None
    return float(score) if isinstance(score, int | float) else None
