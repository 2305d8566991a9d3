"""Face packs by name: what there is, under which licence, and fetching one when asked to."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from celeb_core.errors import FacePackMissing
from celeb_core.files import write_atomically

ROOT = Path("~/.insightface")  # where insightface itself looks
ZOO = "https://github.com/deepinsight/insightface/releases/download/model-zoo"
HUB = "hub:"  # before an id: a repository of the hub, of which all *.onnx are taken
SUMS = "SHA256SUMS"  # in a pack's folder, as sha256sum writes it
CHUNK = 1 << 20
UNPACKED = 1.2  # bytes on disk per byte of a zip: weights hardly compress
PATIENCE = 30  # seconds without a byte

Progress = Callable[[int, int], None]
"""Bytes so far, bytes in all (0: not known)."""

RESEARCH = (
    "insightface's own packs are for non-commercial research only, however they were obtained; "
    "for anything else ask recognition-oss-pack@insightface.ai."
)
AURAFACE = (
    "AuraFace's recogniser (glintr100.onnx) is under Apache-2.0. The other files of its repository "
    "are insightface's and for non-commercial research only: for commercial use put a detector of "
    "your own in their place."
)


@dataclass(frozen=True)
class Pack:
    """Where a pack comes from, and on which terms."""

    url: str
    licence: str


PACKS: Mapping[str, Pack] = {
    name: Pack(f"{ZOO}/{name}.zip", RESEARCH)
    for name in ("buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc", "antelopev2")
} | {"auraface": Pack(f"{HUB}fal/AuraFace-v1", AURAFACE)}


def pack_folder(name: str, root: Path | None = None) -> Path:
    """Where the files of a pack lie."""
    return (root or ROOT).expanduser() / "models" / name


def fetch_pack(
    name: str, root: Path | None = None, progress: Progress = lambda done, total: None
) -> Path:
    """Download and unpack a pack of PACKS -> its folder. One that is there is left alone.

    Nobody publishes checksums of these files: those of the first download are written to SUMS in
    the folder, and `check_sums` holds the files to them from then on.
    Raises FacePackMissing: no such pack, no connection, no space, not a whole archive.
    """
    if name not in PACKS:
        raise FacePackMissing(f"There is no face pack “{name}”. Choose {', '.join(PACKS)}.")
    folder = pack_folder(name, root)
    if any(folder.glob("*.onnx")):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the place where it will be: moved as a whole when it is complete.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as work:
        files = Path(work) / "files"
        files.mkdir()
        if PACKS[name].url.startswith(HUB):
            _from_hub(PACKS[name].url.removeprefix(HUB), files)
        else:
            archive = Path(work) / "pack.zip"
            _download(PACKS[name].url, archive, progress)
            _unpack(archive, files)
        sums = [f"{_digest(path)}  {path.name}\n" for path in sorted(files.glob("*.onnx"))]
        write_atomically(files / SUMS, "".join(sums).encode())
        shutil.rmtree(folder, ignore_errors=True)  # empty, or without any model
        files.rename(folder)
    return folder


def check_sums(folder: Path) -> None:
    """Whether the files of a pack are those that were downloaded; packs without SUMS pass.

    Raises FacePackMissing, which names the file that is not.
    """
    sums = folder / SUMS
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8").splitlines():
        wanted, name = line.split(maxsplit=1)
        path = folder / name
        if path.is_file() and _digest(path) != wanted:
            raise FacePackMissing(
                f"{path} is not the file that was downloaded: it is damaged or was replaced. "
                f"Delete {folder} and get the pack again, or delete {sums} if it was on purpose."
            )


def _download(url: str, target: Path, progress: Progress) -> None:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer, open(target, "wb") as file:
            total = int(answer.headers.get("Content-Length") or 0)
            _check_space(target.parent, total * (1 + UNPACKED))
            while piece := answer.read(CHUNK):
                file.write(piece)
                progress(file.tell(), total)
            if file.tell() < total:
                raise urllib.error.URLError(f"it broke off after {file.tell()} bytes")
    except OSError as error:  # URLError and time-outs are some
        raise _out_of_reach(url, error) from error


def _from_hub(repository: str, files: Path) -> None:
    from huggingface_hub import errors, snapshot_download

    try:
        snapshot_download(repository, local_dir=files, allow_patterns="*.onnx")
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        raise _out_of_reach(repository, error) from error


def _out_of_reach(place: str, error: Exception) -> FacePackMissing:
    reason = getattr(error, "reason", None) or str(error).strip().partition("\n")[0]
    return FacePackMissing(
        f"The face pack could not be downloaded from {place} ({reason}). Check the connection and "
        "try again, or get it elsewhere and name its folder: --face-pack FOLDER."
    )


def _check_space(folder: Path, needed: float) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FacePackMissing(
            f"The face pack needs {needed / 1e6:.0f} MB of disk, and {folder} has "
            f"{free / 1e6:.0f} MB left. Free some space and try again."
        )


def _unpack(archive: Path, files: Path) -> None:
    """The models of an archive, wherever they lie in it (antelopev2's are a folder deeper)."""
    try:
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                name = Path(member.filename).name
                if name.endswith(".onnx"):
                    with packed.open(member) as source, open(files / name, "wb") as file:
                        shutil.copyfileobj(source, file)
    except zipfile.BadZipFile as error:
        raise FacePackMissing(
            f"What was downloaded is no archive ({error}): a page of a proxy, or a part. Try again."
        ) from error
    if not any(files.iterdir()):
        raise FacePackMissing("The archive holds no *.onnx file. Choose another pack.")


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
