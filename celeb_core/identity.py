"""Identity <-> its 2-3 KB file; the library folder."""

import difflib
import hashlib
import json
import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save

from celeb_core.basis import K, check_identity
from celeb_core.errors import (
    BadName,
    IdentityError,
    IdentityNotFound,
    IdentityUnreadable,
    SaveFailed,
    quote,
)
from celeb_core.files import matching, parse_json, read_bytes, write_atomically
from celeb_core.formats.tensor_file import parse_safetensors
from celeb_core.loading import ASSETS
from celeb_core.text_encoder import normal_name
from celeb_core.types import CelebBasis, Identity

KIND = "celeb-identity"
FORMAT = f"{KIND} 1"
SUFFIX, SAMPLE_SUFFIX = ".safetensors", ".sample.safetensors"  # a user's own goes first
SAMPLES = ASSETS.parent / "identities"  # their folder, in a checkout and in an installed package
KEY_FILE = "mark.key"  # in a library's private folder: what marks generated images, and no person
MAX_NAME = 64
MAX_BYTES = 3072  # of a model with one text encoder; two encoders have twice as many numbers
MAX_READ = 16 * MAX_BYTES  # of a file that another program wrote, with numbers in float64
MAX_SETTINGS = 600  # characters

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


def file_name(name: str, suffix: str = SUFFIX) -> str:
    """Return a safe, distinct file name: a slug of the name, with a hash where that is lossy."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40]
    if slug != name or re.fullmatch(r"con|prn|aux|nul|(com|lpt)\d", slug):  # Windows' own
        slug = f"{slug or 'person'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return slug + suffix


def save_identity(identity: Identity, folder: Path) -> Path:
    """Write the identity atomically, in about 3 KB (SDXL's 5 KB), and return the file.

    Raises:
        BadName, SaveFailed: The name is not allowed; the file cannot be written, or not be read.
    """
    return save_identities([identity], folder)[0]


def save_identities(identities: Sequence[Identity], folder: Path) -> list[Path]:
    """Write identities as `save_identity` does, and return the files; on an error, no new ones."""
    files = {folder / file_name(check_name(one.name)): identity_bytes(one) for one in identities}
    new = [path for path in files if not path.exists()]
    try:
        return [write_atomically(path, content) for path, content in files.items()]
    except SaveFailed:
        for path in new:
            with suppress(OSError):  # it was never made
                path.unlink()
        raise


def identity_bytes(identity: Identity) -> bytes:
    """Return the content of an identity's file; raises as `save_identity`."""
    metadata = {"format": FORMAT, "name": check_name(identity.name), "basis_id": identity.basis_id}
    metadata |= {"base_model": identity.base_model[:200], "recogniser": identity.recogniser[:60]}
    metadata["settings"] = _text(identity.settings)
    if len(metadata["settings"]) > MAX_SETTINGS:
        raise ValueError(f"{len(metadata['settings'])} characters: the settings are too long")
    numbers = identity.coefficients.detach().cpu().half().contiguous()
    content = _in_order(save({"coefficients": numbers}, metadata=metadata))
    try:
        _parsed(content)
    except ValueError as error:
        raise SaveFailed(
            f"<{identity.name}> cannot be saved: {error}. Train again, or import another file."
        ) from error
    return content


def _in_order(content: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted: the same person is the same file."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # as safetensors aligns what follows
    return len(text).to_bytes(8, "little") + text + content[end:]


def load_identity(path: Path, basis: CelebBasis | None = None) -> Identity:
    """Read a file of `save_identity`; with a basis, check that its coefficients belong to it.

    Raises:
        IdentityNotFound, IdentityUnreadable: It is not there; it is damaged or of another kind.
        BasisMismatch: It belongs to another basis.
    """
    try:
        content = read_bytes(path, MAX_READ)
    except FileNotFoundError as error:
        raise IdentityNotFound(
            f"There is no identity file {path}. Look into its folder."
        ) from error
    except (ValueError, OSError) as error:
        raise _unreadable(str(path), error) from error
    identity = parse_identity(content, str(path))
    if basis is not None:
        check_identity(identity, basis)
    return identity


def parse_identity(content: bytes, source: str) -> Identity:
    """Parse the content of an identity file; IdentityUnreadable if it is none, or damaged."""
    try:
        return _parsed(content)
    except (BadName, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(source, error) from error


def _unreadable(source: str, error: Exception) -> IdentityUnreadable:
    return IdentityUnreadable(
        f"{source} is no identity file, or damaged ({quote(str(error))}). "
        "Train again, or restore a backup."
    )


def _parsed(content: bytes) -> Identity:
    """Parse an identity file and check all of it, so that whoever has an identity can save it.

    Raises:
        ValueError, BadName: Something is wrong with it.
    """
    tensors, stored = parse_safetensors(content)
    meta = {"name": "", "basis_id": "", "base_model": "", "recogniser": "", "settings": "{}"}
    meta |= stored
    if meta.get("format") != FORMAT:
        raise ValueError(f"its format is {meta.get('format')!r}, not {FORMAT!r}")
    if list(tensors) != ["coefficients"]:
        raise ValueError(f"it has the tensors {sorted(tensors)[:5]}, not coefficients alone")
    numbers = tensors["coefficients"]
    shape = tuple(numbers.shape)
    if not numbers.is_floating_point() or len(shape) != 2 or shape[0] != K or not shape[1]:
        raise ValueError(f"its coefficients are {shape} of {numbers.dtype}, not ({K}, …) floats")
    if not numbers.half().isfinite().all():
        raise ValueError("its coefficients are not finite in float16")
    if len(meta["settings"]) > MAX_SETTINGS or len(meta["basis_id"]) > MAX_NAME:
        raise ValueError("its settings, or the id of its basis, are too long")
    settings, kinds = parse_json(meta["settings"], finite=False), (str, int, float)
    if not isinstance(settings, dict) or not all(isinstance(x, kinds) for x in settings.values()):
        raise ValueError(f"its settings are {meta['settings']}, not names with texts and numbers")
    if len(_text(settings)) > MAX_SETTINGS:
        raise ValueError("its settings are too long")
    ids = meta["basis_id"], meta["base_model"][:200], meta["recogniser"][:60]
    return Identity(check_name(meta["name"]), numbers.float(), *ids, settings)


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(dict(settings), separators=(",", ":"))


def is_identity_file(path: Path) -> bool:
    """Return whether a file is an identity, or was one before it was damaged."""
    if not path.is_file():  # opening a pipe would never end
        return False
    try:
        with open(path, "rb") as file:
            return KIND.encode() in file.read(MAX_READ)
    except OSError:
        return False


def list_identities(
    folder: Path, suffix: str = SUFFIX, basis: CelebBasis | None = None
) -> dict[str, Identity]:
    """Return all readable identities of a folder by name, sorted; others are logged.

    With a basis, those that say that they belong to it and do not are left out as well.
    """
    people: list[Identity] = []
    files = matching(folder, f"*{suffix}")
    for path in sorted(files, key=lambda path: (SAMPLE_SUFFIX not in path.name, path)):
        try:
            identity = load_identity(path)
            if basis is not None and identity.basis_id == basis.id:
                check_identity(identity, basis)
            people.append(identity)
        except IdentityError as error:
            log.warning("skipped: %s", " ".join(str(error).split()))  # names may have several lines
    return {person.name: person for person in sorted(people, key=lambda person: person.name)}


def add_samples(folder: Path) -> None:
    """Put the sample people into a library without any file yet, or raise SaveFailed."""
    if not any(path.is_file() and path.name != KEY_FILE for path in folder.rglob("*")):
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
