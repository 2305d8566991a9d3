"""Identity <-> its 2-3 KB file; the library folder; what a name may be."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from celeb_core.errors import (
    BadName,
    BasisMismatch,
    IdentityNotFound,
    IdentityUnreadable,
)
from celeb_core.files import write_atomically
from celeb_core.types import CelebBasis, Identity

FORMAT = "celeb-identity 1"
SUFFIX = ".safetensors"
SAMPLE_SUFFIX = ".sample.safetensors"
"""Of the people who ship with the project: one of the user's with the same name goes first."""
MAX_NAME = 64
MAX_BYTES = 3072
"""Of a model with one text encoder; two encoders have twice as many numbers."""

log = logging.getLogger(__name__)


def check_name(name: str) -> str:
    """The name in Unicode's composed form, trimmed. Raises BadName, which says what is allowed."""
    clean = unicodedata.normalize("NFC", name).strip()
    bad = sorted({c for c in clean if c in "<>/\\" or unicodedata.category(c)[0] == "C"})
    # Joiners and variation selectors belong to emoji, which are welcome.
    bad = [c for c in bad if c not in "\u200c\u200d"]
    if not clean:
        problem = "is empty"
    elif len(clean) > MAX_NAME:
        problem = f"has {len(clean)} characters"
    elif bad:
        problem = "contains " + " ".join(repr(c) for c in bad)
    else:
        return clean
    shown = clean if len(clean) <= MAX_NAME else clean[:20] + "…"
    raise BadName(
        f"The name “{shown}” {problem}. A name has 1 to {MAX_NAME} characters, without < > / \\ "
        "and control characters. Choose another one, for example “ada”."
    )


def file_name(name: str) -> str:
    """A safe, distinct file name for any allowed name: a slug, plus a hash where it is lossy."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40]
    reserved = re.fullmatch(r"con|prn|aux|nul|(com|lpt)\d", slug)  # by Windows
    if slug != name or reserved:
        slug = f"{slug or 'person'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return slug + SUFFIX


def save_identity(identity: Identity, folder: Path) -> Path:
    """Write the identity (at most 3 KB, SDXL's 5 KB), atomically. Raises BadName, SaveFailed."""
    name = check_name(identity.name)
    metadata = {
        "format": FORMAT,
        "name": name,
        "basis_id": identity.basis_id,
        "base_model": identity.base_model[:200],
        "recogniser": identity.recogniser[:60],
        "settings": json.dumps(dict(identity.settings), separators=(",", ":")),
    }
    numbers = identity.coefficients.detach().to("cpu", torch.float16).contiguous()
    content = save({"coefficients": numbers}, metadata=metadata)
    if len(content) > max(MAX_BYTES, numbers.nbytes + 1024):
        raise ValueError(f"identity file of {len(content)} bytes: its settings are too long")
    path = folder / file_name(name)
    write_atomically(path, content)
    return path


def load_identity(path: Path, basis: CelebBasis | None = None) -> Identity:
    """Read one file; with a basis, check that the numbers belong to it.

    Raises IdentityNotFound, IdentityUnreadable, BasisMismatch.
    """
    if not path.is_file():
        raise IdentityNotFound(f"There is no identity file {path}. Look into its folder.")
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            if meta.get("format") != FORMAT:
                raise ValueError(f"its format is {meta.get('format')!r}, not {FORMAT!r}")
            identity = Identity(
                name=check_name(meta["name"]),
                coefficients=file.get_tensor("coefficients").float(),
                basis_id=meta["basis_id"],
                base_model=meta.get("base_model", ""),
                recogniser=meta.get("recogniser", ""),
                settings=json.loads(meta.get("settings", "{}")),
            )
        if identity.coefficients.ndim != 2 or not identity.coefficients.isfinite().all():
            raise ValueError(f"its numbers are {tuple(identity.coefficients.shape)} or not finite")
    except (SafetensorError, BadName, KeyError, ValueError, OSError) as error:
        raise IdentityUnreadable(
            f"{path} is no identity file of this program, or a damaged one ({error}). "
            "Train the person again, or take the file from a backup."
        ) from error
    if basis is not None and identity.basis_id != basis.id:
        raise BasisMismatch(identity.name, basis.id, identity.basis_id, identity.base_model)
    return identity


def list_identities(folder: Path) -> dict[str, Identity]:
    """All readable identities of a folder by name, sorted; unreadable files are skipped."""
    found: dict[str, Identity] = {}
    samples, own = set(folder.glob(f"*{SAMPLE_SUFFIX}")), set(folder.glob(f"*{SUFFIX}"))
    for path in [*sorted(samples), *sorted(own - samples)]:
        try:
            identity = load_identity(path)
        except IdentityUnreadable as error:
            log.warning("skipped: %s", error)
        else:
            found[identity.name] = identity
    return dict(sorted(found.items()))


def find_identity(name: str, folder: Path, basis: CelebBasis | None = None) -> Identity:
    """The identity of that name. Raises IdentityNotFound with the nearest names."""
    path = identity_path(name, folder)
    if not path.is_file():
        known = list(list_identities(folder))
        near = difflib.get_close_matches(name, known, 3, 0.5) or known[:3]
        hint = f"Known are: {', '.join(near)}." if near else "The folder holds nobody yet."
        raise IdentityNotFound(f"Nobody is called “{name}” in {folder}. {hint}")
    return load_identity(path, basis)


def delete_identity(name: str, folder: Path) -> None:
    """Remove the person's file. Raises IdentityNotFound."""
    find_identity(name, folder)
    identity_path(name, folder).unlink(missing_ok=True)


def rename_identity(name: str, new_name: str, folder: Path) -> Identity:
    """Give the person another name. Raises BadName (also if the name is taken)."""
    identity = find_identity(name, folder)
    new_name = check_name(new_name)
    if new_name == identity.name:
        return identity
    if (folder / file_name(new_name)).exists():
        raise BadName(f"“{new_name}” is taken. Choose another name, or delete that person first.")
    renamed = replace(identity, name=new_name)
    save_identity(renamed, folder)
    identity_path(identity.name, folder).unlink(missing_ok=True)
    return renamed


def identity_path(name: str, folder: Path) -> Path:
    """The user's file of that name or, without one, the sample's."""
    own = folder / file_name(check_name(name))
    sample = own.with_suffix(SAMPLE_SUFFIX)
    return sample if sample.is_file() and not own.is_file() else own


def settings_of(config: Any, defaults: Any) -> dict[str, Any]:
    """The fields of a frozen config that differ from its preset's: what a file must remember."""
    return {key: value for key, value in vars(config).items() if vars(defaults)[key] != value}
