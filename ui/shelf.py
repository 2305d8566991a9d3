"""The people of a library folder as files: what is known of each, renaming, deleting with undo."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
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
    save_identity,
)
from celeb_core.errors import BadName, IdentityNotFound, IdentityUnreadable, PhotoUnreadable
from celeb_core.files import write_atomically
from celeb_core.identity import MAX_NAME, SAMPLE_SUFFIX, SUFFIX, file_name, identity_path
from ui.pictures import read_settings

DELETED = "deleted"  # in the private folder
KEPT_FOR = 7 * 24 * 3600  # seconds; deleted people can be brought back as long


@dataclass(frozen=True, eq=False)
class Entry:
    """What the library knows of a person."""

    identity: Identity
    file: Path
    portrait: Path | None  # a picture that the model drew
    score: float | None  # likeness of that picture
    saved: datetime


@dataclass(frozen=True)
class Deleted:
    """Somebody who can be brought back."""

    name: str
    file: Path


class Shelf:
    """Files of one library; `private` is its folder that is never served."""

    def __init__(self, library: Path, private: Path) -> None:
        self.library, self._bin = library, private / DELETED

    def entries(self) -> list[Entry]:
        """Everybody by name, those of other models too."""
        return [self._entry(identity) for identity in list_identities(self.library).values()]

    def portrait_path(self, name: str) -> Path:
        """Where the drawn picture of a person is, or would be."""
        return self.library / Path(file_name(name)).with_suffix(".png")

    def file(self, name: str) -> Path:
        """The person's file. Raises IdentityNotFound."""
        path = identity_path(name, self.library)
        if not path.is_file():
            raise IdentityNotFound(f"Nobody is called “{name}” any more. Choose somebody else.")
        return path

    def rename(self, name: str, new_name: str) -> str:
        """The new name as it was saved; the picture goes along. Raises BadName."""
        identity = rename_identity(name, new_name, self.library)
        portrait = self.portrait_path(name)
        if identity.name != name and portrait.is_file():
            portrait.replace(self.portrait_path(identity.name))
        return identity.name

    def delete(self, name: str) -> None:
        """Put a person aside; `restore` brings them back. Raises IdentityNotFound."""
        for path in self._put_aside(name):
            path.unlink(missing_ok=True)

    def replace(self, identity: Identity) -> None:
        """Save a person; an earlier one of that name can be brought back. Raises SaveFailed."""
        earlier = self.library / file_name(identity.name)
        if earlier.is_file():
            self._put_aside(identity.name)
        save_identity(identity, self.library)
        self.portrait_path(identity.name).unlink(missing_ok=True)  # it shows the earlier one

    def deleted(self) -> list[Deleted]:
        """Who can be brought back, the latest first; what is too old goes for good."""
        found = []
        for file in sorted(self._bin.glob(f"*/*{SUFFIX}"), reverse=True):
            if time.time() - file.parent.stat().st_mtime > KEPT_FOR:
                shutil.rmtree(file.parent, ignore_errors=True)
                continue
            try:
                found.append(Deleted(load_identity(file).name, file))
            except IdentityUnreadable:
                continue
        return found

    def restore(self) -> str:
        """Bring back whoever was deleted last -> the name. Raises BadName, IdentityNotFound."""
        latest = next(iter(self.deleted()), None)
        if latest is None:
            raise IdentityNotFound("There is nobody to bring back.")
        if (self.library / latest.file.name).exists():
            raise BadName(
                f"“{latest.name}” is taken again. Rename or delete that one first, then undo."
            )
        for path in latest.file.parent.iterdir():
            path.replace(self.library / path.name)
        shutil.rmtree(latest.file.parent, ignore_errors=True)
        return latest.name

    def add(self, file: Path, label: str, basis: CelebBasis) -> list[Identity]:
        """People from an identity file, or from another tool's embedding; a taken name gets a
        number. Raises IdentityError.
        """
        try:
            found = [load_identity(file)]
        except IdentityUnreadable:
            name = Path(label).stem[:MAX_NAME]
            found = [made.identity for made in import_identities(file, basis, name=name)]
        added = []
        for identity in found:
            free = self._free_name(identity.name)
            save_identity(replace(identity, name=free), self.library)
            added.append(replace(identity, name=free))
        return added

    def _entry(self, identity: Identity) -> Entry:
        file, portrait = self.file(identity.name), self.portrait_path(identity.name)
        known = portrait if portrait.is_file() else None
        saved = datetime.fromtimestamp(file.stat().st_mtime)
        return Entry(identity, file, known, _score(known) if known else None, saved)

    def _put_aside(self, name: str) -> Sequence[Path]:
        """Copy a person's files to the bin -> the originals. Raises IdentityNotFound."""
        paths = [self.file(name)]
        paths += [path for path in [self.portrait_path(name)] if path.is_file()]
        folder = self._bin / str(time.time_ns())
        for path in paths:
            write_atomically(folder / path.name, path.read_bytes())
            shutil.copystat(path, folder / path.name)
        return paths

    def _free_name(self, name: str) -> str:
        taken = list_identities(self.library)
        free, number = name, 2
        while free in taken:
            free, number = f"{name[: MAX_NAME - 4]} {number}", number + 1
        return free


def is_sample(entry: Entry) -> bool:
    """Whether it ships with the project."""
    return entry.file.name.endswith(SAMPLE_SUFFIX)


def _score(portrait: Path) -> float | None:
    try:
        score = read_settings(portrait).get("identity")
    except PhotoUnreadable:
        return None
    return float(score) if isinstance(score, int | float) else None
