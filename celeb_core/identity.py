"""Identity <-> its 2-3 KB file; the library folder."""

import difflib
import hashlib
import json
import logging
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from celeb_core.errors import BadName, BasisMismatch, IdentityNotFound, IdentityUnreadable
from celeb_core.files import write_atomically
from celeb_core.loading import ASSETS
from celeb_core.text_encoder import normal_name
from celeb_core.types import CelebBasis, Identity

FORMAT = "celeb-identity 1"
SUFFIX, SAMPLE_SUFFIX = ".safetensors", ".sample.safetensors"  # a user's own goes first
SAMPLES = ASSETS.parent / "identities"  # their folder, in a checkout and in an installed package
MAX_NAME = 64
MAX_BYTES = 3072  # of a model with one text encoder; two encoders have twice as many numbers

log = logging.getLogger(__name__)


def check_name(name: str) -> str:
    """Return the name trimmed, in Unicode's composed form, or raise BadName: it is not allowed."""
    name = name.strip()
    clean = normal_name(name[: 4 * MAX_NAME])  # what is longer is too long in any form
    bad = {c for c in clean if c in "<>/\\" or unicodedata.category(c)[0] == "C"}
    bad -= set("\u200c\u200d")  # joiners belong to emoji, which are welcome
    count = len(clean) if len(name) <= 4 * MAX_NAME else len(name)
    if not bad and 0 < count <= MAX_NAME:
        return clean
    why = f"contains {' '.join(map(repr, sorted(bad)[:8]))}" if bad else f"has {count} characters"
    raise BadName(
        f"The name “{clean[:MAX_NAME]}” {why}. A name has 1 to {MAX_NAME} characters, without "
        "< > / \\ and control characters. Choose another one, for example “ada”."
    )


def file_name(name: str) -> str:
    """Return a safe, distinct file name: a slug of the name, with a hash where that is lossy."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40]
    if slug != name or re.fullmatch(r"con|prn|aux|nul|(com|lpt)\d", slug):  # Windows' own
        slug = f"{slug or 'person'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return slug + SUFFIX


def save_identity(identity: Identity, folder: Path) -> Path:
    """Write the identity atomically, in at most 3 KB (SDXL's 5 KB), and return the file.

    Raises:
        BadName, SaveFailed: The name is not allowed, or the file cannot be written.
    """
    metadata = {"format": FORMAT, "name": check_name(identity.name), "basis_id": identity.basis_id}
    metadata |= {"base_model": identity.base_model[:200], "recogniser": identity.recogniser[:60]}
    metadata["settings"] = json.dumps(dict(identity.settings), separators=(",", ":"))
    numbers = identity.coefficients.detach().cpu().half().contiguous()
    content = save({"coefficients": numbers}, metadata=metadata)
    if len(content) > max(MAX_BYTES, numbers.nbytes + 1024):
        raise ValueError(f"identity file of {len(content)} bytes: its settings are too long")
    return write_atomically(folder / file_name(metadata["name"]), content)


def load_identity(path: Path, basis: CelebBasis | None = None) -> Identity:
    """Read a file of `save_identity`; with a basis, check that its coefficients belong to it.

    Raises:
        IdentityNotFound, IdentityUnreadable: It is not there; it is damaged or of another kind.
        BasisMismatch: It belongs to another basis.
    """
    if not path.is_file():
        raise IdentityNotFound(f"There is no identity file {path}. Look into its folder.")
    try:
        with safe_open(path, framework="pt") as file:
            meta = {"base_model": "", "recogniser": "", "settings": "{}", **(file.metadata() or {})}
            if meta.get("format") != FORMAT:
                raise ValueError(f"its format is {meta.get('format')!r}, not {FORMAT!r}")
            numbers = file.get_tensor("coefficients").float()
        if numbers.ndim != 2 or not numbers.isfinite().all():
            raise ValueError(f"its numbers are {tuple(numbers.shape)} or not finite")
        ids = meta["basis_id"], meta["base_model"], meta["recogniser"]
        identity = Identity(check_name(meta["name"]), numbers, *ids, json.loads(meta["settings"]))
    except (SafetensorError, BadName, KeyError, ValueError, OSError) as error:
        raise IdentityUnreadable(
            f"{path} is no identity file, or damaged ({error}). Train again, or restore a backup."
        ) from error
    if basis is not None and identity.basis_id != basis.id:
        raise BasisMismatch(identity.name, basis.id, identity.basis_id, identity.base_model)
    return identity


def list_identities(folder: Path, suffix: str = SUFFIX) -> dict[str, Identity]:
    """Return all readable identities of a folder by name, sorted; others are logged."""
    people: list[Identity] = []
    for path in sorted(folder.glob(f"*{suffix}"), key=lambda p: (SAMPLE_SUFFIX not in p.name, p)):
        try:
            people.append(load_identity(path))
        except IdentityUnreadable as error:
            log.warning("skipped: %s", error)
    return {person.name: person for person in sorted(people, key=lambda person: person.name)}


def add_samples(folder: Path) -> None:
    """Put the sample people into a library that does not exist yet, or raise SaveFailed."""
    if not folder.is_dir():
        for path in SAMPLES.glob(f"*{SAMPLE_SUFFIX}"):
            write_atomically(folder / path.name, path.read_bytes())


def find_identity(name: str, folder: Path, basis: CelebBasis | None = None) -> Identity:
    """Load the identity of that name as `load_identity` does; without one, name the nearest."""
    path = identity_path(name, folder)
    if not path.is_file():
        known = list(list_identities(folder))
        near = difflib.get_close_matches(name, known, 3, 0.5) or known[:3]
        hint = f"Known are: {', '.join(near)}." if near else "The folder has no identities yet."
        raise IdentityNotFound(f"Nobody is called “{name}” in {folder}. {hint}")
    return load_identity(path, basis)


def rename_identity(name: str, new_name: str, folder: Path) -> Identity:
    """Give the person another name, and return them with it.

    Raises:
        IdentityNotFound, BadName: The old name is unknown; the new one is not allowed, or taken.
    """
    identity = find_identity(name, folder)
    renamed = replace(identity, name=check_name(new_name))
    if renamed.name != identity.name:
        if (folder / file_name(renamed.name)).exists():
            raise BadName(f"“{renamed.name}” is taken. Choose another name, or delete that person.")
        save_identity(renamed, folder)
        identity_path(identity.name, folder).unlink(missing_ok=True)
    return renamed


def identity_path(name: str, folder: Path) -> Path:
    """Return the path of the user's file of that name or, without one, of the sample's."""
    own = folder / file_name(check_name(name))
    sample = own.with_suffix(SAMPLE_SUFFIX)
    return sample if sample.is_file() and not own.is_file() else own
