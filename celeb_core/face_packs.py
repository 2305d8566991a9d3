"""insightface packs: find, licence, download, checksums, providers."""

import hashlib
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import NamedTuple
from urllib import request

import onnxruntime
from huggingface_hub import snapshot_download

from celeb_core.errors import FacePackMissing

RELEASE = "https://github.com/deepinsight/insightface/releases/download/model-zoo"
CHECKSUMS = "SHA256SUMS"  # in the pack's folder, in the format of sha256sum
Report = Callable[[int, int], None]  # of bytes so far, and in all (0: not known)
RESEARCH = (
    "insightface's own packs are for non-commercial research only, however they were obtained; "
    "for anything else ask recognition-oss-pack@insightface.ai."
)
AURAFACE = f"AuraFace's recogniser, glintr100.onnx, is Apache-2.0; its detector is not: {RESEARCH}"


class Pack(NamedTuple):
    """Where a pack comes from, a zip's URL or a hub id, and its licence in words."""

    source: str
    licence: str


ZIPS = ("buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc", "antelopev2")
PACKS = {name: Pack(f"{RELEASE}/{name}.zip", RESEARCH) for name in ZIPS}
PACKS["auraface"] = Pack("fal/AuraFace-v1", AURAFACE)


def pack_folder(name: str, root: Path | None = None) -> Path:
    """Return the folder of a pack, which need not exist; `root` None is insightface's own."""
    return (root or Path("~/.insightface")).expanduser() / "models" / name


def download_pack(name: str, root: Path | None = None, progress: Report = lambda *_: None) -> Path:
    """Download one of PACKS into its folder, unless it is there, and return the folder.

    `progress` is called with each chunk of a zip. Checksums are stored, as none are published.

    Raises:
        FacePackMissing: Unknown name, no connection, no disk space, or a damaged archive.
    """
    if name not in PACKS:
        raise FacePackMissing(f"There is no face pack “{name}”. Choose {', '.join(PACKS)}.")
    folder, source = pack_folder(name, root), PACKS[name].source
    if any(folder.glob("*.onnx")):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as temporary:
        files = Path(temporary) / name
        files.mkdir()
        try:
            if "://" in source:
                _download_zip(source, files, progress)
            else:
                snapshot_download(source, local_dir=files, allow_patterns="*.onnx")
            lines = [f"{sha256(path)}  {path.name}\n" for path in sorted(files.glob("*.onnx"))]
            (files / CHECKSUMS).write_bytes("".join(lines).encode())
        except (OSError, zipfile.BadZipFile) as error:  # OSError: urllib's and huggingface_hub's
            reason = getattr(error, "reason", None) or str(error).strip().partition("\n")[0]
            raise FacePackMissing(
                f"The face pack could not be downloaded from {source} ({reason}). Check the "
                "connection and try again, or name the folder of a copy: --face-pack FOLDER."
            ) from error
        shutil.rmtree(folder, ignore_errors=True)  # it has no models
        files.rename(folder)
    return folder


def _download_zip(url: str, folder: Path, progress: Report) -> None:
    """Download a zip and extract its models; those of antelopev2 are in a folder of their own."""
    with TemporaryFile(dir=folder.parent) as file, request.urlopen(url, timeout=30) as response:
        total = int(response.headers.get("Content-Length") or 0)
        needed, disk = 2.2 * total, folder.parents[1]  # the zip and its content
        if (free := shutil.disk_usage(disk).free) < needed:
            needs = f"The face pack needs {needed / 1e6:.0f} MB of disk, and {disk} has"
            raise FacePackMissing(f"{needs} {free / 1e6:.0f} MB left. Free some space, try again.")
        while chunk := response.read(1 << 20):
            file.write(chunk)
            progress(file.tell(), total)
        if not zipfile.is_zipfile(file):
            raise FacePackMissing("The download is no archive, or only a part of one. Try again.")
        content = zipfile.ZipFile(file)
        for member in content.infolist():
            member.filename = Path(member.filename).name
            if member.filename.endswith(".onnx"):
                content.extract(member, folder)
    if not any(folder.iterdir()):
        raise FacePackMissing("The archive holds no *.onnx file. Choose another pack.")


def verify_checksums(folder: Path) -> None:
    """Raise FacePackMissing if a file does not have its download's checksum, if that is known."""
    path = folder / CHECKSUMS
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        wanted, name = line.split(maxsplit=1)
        if (folder / name).is_file() and sha256(folder / name) != wanted:
            raise FacePackMissing(
                f"{folder / name} is not the file that was downloaded: it is damaged or replaced. "
                f"Delete {folder} and get the pack again, or delete {path} if it was on purpose."
            )


def sha256(path: Path) -> str:
    """Return the checksum of a file as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def missing_pack(folder: Path) -> FacePackMissing:
    """Return an error that says how to get the pack: nothing is downloaded unasked."""
    if path := next(folder.glob("*/*.onnx"), None):  # antelopev2.zip unpacks that way
        return FacePackMissing(f"The files lie too deep, in {path.parent}. Move them to {folder}.")
    name, advice = folder.name, "Unpack it there from where it is published"
    if name in PACKS:
        advice = f"Get it with “celeb-basis pack {name}”, or unpack {PACKS[name].source} there"
    wrong = f"There is no face pack at {folder} (a detector and a recogniser, *.onnx)."
    return FacePackMissing(f"{wrong} {advice}, or name another folder. {RESEARCH}")


def execution_providers(device: str) -> list[str]:
    """Return onnxruntime's providers for a torch device name, CUDA only where it is compiled in."""
    available = onnxruntime.get_available_providers() if device.startswith("cuda") else []
    return [name for name in available if name.startswith("CUDA")] + ["CPUExecutionProvider"]
