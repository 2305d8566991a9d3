"""insightface packs: find, licence, download, checksums, providers."""

import io
import shutil
import zipfile
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib import error, request

import onnxruntime
from huggingface_hub import snapshot_download
from tqdm import tqdm

from celeb_core.errors import FacePackMissing
from celeb_core.files import sha256

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
    megabytes: int = 0  # of the download, about


ZIPS = {"buffalo_l": 289, "buffalo_m": 313, "buffalo_s": 159, "buffalo_sc": 15, "antelopev2": 361}
PACKS = {name: Pack(f"{RELEASE}/{name}.zip", RESEARCH, size) for name, size in ZIPS.items()}
PACKS["auraface"] = Pack("fal/AuraFace-v1", AURAFACE, 278)
HUB_FILES = ["glintr100.onnx", "scrfd*.onnx"]  # of AuraFace: its recogniser and detector
USUAL = ("buffalo_l", "auraface")  # without a choice, the first of these that is installed


def pack_folder(name: str, root: Path | None = None) -> Path:
    """Return the folder of a pack, which need not exist; `root` None is insightface's own."""
    return (root or Path("~/.insightface")).expanduser() / "models" / name


def usual_pack(root: Path | None = None) -> str:
    """Return the name of the first of the USUAL packs that is installed, or of the first one."""
    return next((name for name in USUAL if any(pack_folder(name, root).glob("*.onnx"))), USUAL[0])


def download_pack(name: str, root: Path | None = None, progress: Report = lambda *_: None) -> Path:
    """Download one of PACKS into its folder, unless it is there, and return the folder.

    `progress` is called with each chunk, and may raise to end the download. The next call goes on
    from where one ended. Checksums are stored, as none are published.

    Raises:
        FacePackMissing: Unknown name, no connection, no disk space, or a damaged archive.
    """
    if name not in PACKS:
        raise FacePackMissing(f"There is no face pack “{name}”. Choose {', '.join(PACKS)}.")
    folder, (source, _, megabytes) = pack_folder(name, root), PACKS[name]
    if any(folder.glob("*.onnx")):
        return folder
    part = folder.with_name(f"{name}.part")
    try:
        part.mkdir(parents=True, exist_ok=True)
        there = sum(path.stat().st_size for path in part.rglob("*"))
        needed, free = 2.2e6 * megabytes - there, shutil.disk_usage(part).free  # zip and content
        if free < needed:
            needs = f"The face pack needs {needed / 1e6:.0f} MB of disk, and {part.parent} has"
            raise FacePackMissing(f"{needs} {free / 1e6:.0f} MB left. Free some, try again.")
        if "://" in source:
            _download_zip(source, part, progress)
        else:
            bar = _reporting(progress)
            snapshot_download(source, local_dir=part, allow_patterns=HUB_FILES, tqdm_class=bar)
            shutil.rmtree(part / ".cache", ignore_errors=True)  # the hub's notes
        lines = [f"{sha256(path)}  {path.name}\n" for path in sorted(part.glob("*.onnx"))]
        (part / CHECKSUMS).write_bytes("".join(lines).encode())
        shutil.rmtree(folder, ignore_errors=True)  # it has no models
        part.rename(folder)
    except (OSError, HTTPException) as wrong:  # OSError: urllib's and huggingface_hub's
        reason = getattr(wrong, "reason", None) or str(wrong).strip().partition("\n")[0]
        raise FacePackMissing(
            f"The face pack could not be downloaded from {source} ({reason}). Check the connection "
            "and try again: it goes on from here. Or name the folder of a copy.",
            option="--face-pack FOLDER",
        ) from wrong
    return folder


def _download_zip(url: str, folder: Path, progress: Report) -> None:
    """Download what a zip still lacks, and extract its models, which may lie in a subfolder."""
    path = folder / "zip.part"
    with path.open("ab") as file:
        done = total = file.tell()
        wanted = request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
        try:
            with request.urlopen(wanted, timeout=30) as response:
                if response.status != 206:  # it is sent from its beginning
                    done = file.truncate(0)
                total = done + int(response.headers.get("Content-Length") or 0)
                while chunk := response.read(1 << 20):
                    done += file.write(chunk)
                    progress(done, total)
        except error.HTTPError as refused:
            if refused.code != 416:  # which means that nothing is lacking
                raise
    if done < total:
        raise OSError(f"the connection broke after {done / 1e6:.0f} of {total / 1e6:.0f} MB")
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                member.filename = Path(member.filename).name
                if member.filename.endswith(".onnx"):
                    archive.extract(member, folder)
    except (zipfile.BadZipFile, zlib.error) as wrong:
        raise FacePackMissing("The download is no archive, or a damaged one. Try again.") from wrong
    finally:
        path.unlink()
    if not any(folder.glob("*.onnx")):
        raise FacePackMissing("The archive holds no *.onnx file. Choose another pack.")


def _reporting(progress: Report) -> Any:
    """Return a class for huggingface_hub's bars that reports their bytes and shows nothing."""

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options | {"file": io.StringIO()})

        def update(self, n: float | None = 1) -> None:
            super().update(n)
            if self.unit == "B":  # others count files
                progress(int(self.n), int(self.total or 0))

    return Bar


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


def missing_pack(folder: Path) -> FacePackMissing:
    """Return an error that says how to get the pack: nothing is downloaded unasked."""
    if path := next(folder.glob("*/*.onnx"), None):  # antelopev2.zip unpacks that way
        return FacePackMissing(f"The files lie too deep, in {path.parent}. Move them to {folder}.")
    name, advice, option = folder.name, "Unpack it there from where it is published", ""
    if name in PACKS:
        advice = f"Download it, or unpack {PACKS[name].source} there"
        option = f"celeb-basis pack {name}"
    wrong = f"There is no face pack at {folder} (a detector and a recogniser, *.onnx)."
    return FacePackMissing(f"{wrong} {advice}, or name another folder. {RESEARCH}", option)


def execution_providers(device: str) -> list[str]:
    """Return onnxruntime's providers for a torch device name, CUDA only where it is compiled in."""
    available = onnxruntime.get_available_providers() if device.startswith("cuda") else []
    return [name for name in available if name.startswith("CUDA")] + ["CPUExecutionProvider"]
