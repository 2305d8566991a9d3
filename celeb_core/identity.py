"""Identity <-> its 2-3 KB file; the library folder; what a name may be."""

from __future__ import annotations

from pathlib import Path

from celeb_core.types import CelebBasis, Identity

SUFFIX = ".safetensors"


def check_name(name: str) -> str:
    """The name, normalised (NFC, trimmed). Raises BadName, which says what is allowed."""
    raise NotImplementedError


def file_name(name: str) -> str:
    """A safe, distinct file name for any allowed name: a slug, plus a hash where it is lossy."""
    raise NotImplementedError


def save_identity(identity: Identity, folder: Path) -> Path:
    """Write the identity (at most 3 KB), atomically. Raises BadName, SaveFailed."""
    raise NotImplementedError


def load_identity(path: Path, basis: CelebBasis | None = None) -> Identity:
    """Read one file. Raises IdentityNotFound, IdentityUnreadable, BasisMismatch."""
    raise NotImplementedError


def list_identities(folder: Path) -> dict[str, Identity]:
    """All readable identities of a folder by name, sorted; unreadable files are skipped."""
    raise NotImplementedError


def find_identity(name: str, folder: Path, basis: CelebBasis | None = None) -> Identity:
    """The identity of that name. Raises IdentityNotFound with the nearest names."""
    raise NotImplementedError


def delete_identity(name: str, folder: Path) -> None:
    """Remove the person's file. Raises IdentityNotFound."""
    raise NotImplementedError


def rename_identity(name: str, new_name: str, folder: Path) -> Identity:
    """Give the person another name. Raises BadName (also if the name is taken)."""
    raise NotImplementedError
