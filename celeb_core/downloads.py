"""Hub -> files on disk: which ones, their size, licence and free space, progress, resuming."""

import glob
import logging
import re
import shutil
from collections.abc import Collection
from contextlib import nullcontext
from functools import partialmethod
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import huggingface_hub as hub
from huggingface_hub import constants, errors
from huggingface_hub.file_download import are_symlinks_supported, http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]
from tqdm import tqdm

from celeb_core.errors import ModelNotFound, ModelUnsupported
from celeb_core.files import sha256

STABLE_DIFFUSION = "stable-diffusion-v1-5/stable-diffusion-v1-5"
# Hub id -> the commit that is loaded; of other models the newest.
REVISIONS = {STABLE_DIFFUSION: "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"}
USE_BUNDLED = "or use the bundled model: --model toonville."
PICKLED = (
    "is a pickle, which may run code when it is read. Get the model as .safetensors, or read its "
    "tensors and nothing else with --allow-pickle."
)
NETWORK_ERRORS: Any = (OSError, errors.HTTPError)  # type: ignore[attr-defined]  # httpx's

# Not those of EMA, ONNX and Flax. A shard's number may be on either side of the precision.
NUMBER = r"(?:-\d+-of-\d+)?"
WEIGHTS = re.compile(
    rf"(?:diffusion_pytorch_model|pytorch_model|model){NUMBER}(?P<half>\.fp16)?{NUMBER}"
    r"\.(?P<kind>safetensors|bin)"
)
TEXTS = (".", "scheduler", "tokenizer", "tokenizer_2")  # folders without weights
NO_BAR = type("NoBar", (tqdm,), {"__init__": partialmethod(tqdm.__init__, disable=True)})

log = logging.getLogger(__name__)


def choose_weights(
    source: Path | str,
    part: str,
    names: Collection[str],
    half: bool = False,
    allow_pickle: bool = False,
    here: Collection[str] | None = None,
) -> list[str]:
    """Choose the files with one component's weights.

    In half precision if that is wanted, or if there are no others; but what is on this machine
    already (`here`; None: all) in full precision is not downloaded again.

    Raises:
        ModelNotFound: There are no weights.
        ModelUnsupported: They are pickled, and `allow_pickle` is false.
    """
    found: dict[tuple[bool, bool], list[str]] = {}
    for path in map(PurePosixPath, names):
        if str(path.parent) == part and (match := WEIGHTS.fullmatch(path.name)):
            found.setdefault((match["kind"] == "bin", bool(match["half"])), []).append(str(path))
    if not found:
        what = f"{source} is incomplete: there are no weights in “{part}”"
        raise ModelNotFound(f"{what}. Copy or download it again, {USE_BUNDLED}")
    absent = {kind: here is not None and not {*files} <= {*here} for kind, files in found.items()}
    kind = min(found, key=lambda kind: (kind[0], half and absent[kind], kind[1] != half))
    if kind[0] and not allow_pickle:
        raise ModelUnsupported(f"{source}: {found[kind][0]} {PICKLED}")
    return found[kind]


class Plan(NamedTuple):
    """What is to be downloaded of a repository."""

    revision: str | None
    commit: str
    wanted: list[str]  # names of all files that are needed
    large: dict[str, tuple[Path, int]]  # of those that are not here: blob in the cache, and size
    size: int  # bytes that are missing
    licence: str


def plan_download(
    hub_id: str, parts: Collection[str], half: bool = False, allow_pickle: bool = False
) -> Plan:
    """Find out which files of a repository are needed, and which of them are missing.

    Args:
        hub_id: owner/name.
        parts: Folders (“.” is the root) whose weights are needed, with configs and tokenizers.
        half: Weights may be in half precision; those of text encoders if there are no others.
        allow_pickle: Take pickles where there is nothing else.

    Raises:
        ModelNotFound: There are no weights.
        ModelUnsupported: The weights are pickled.
        OSError, httpx's HTTPError: What huggingface_hub raises.
    """
    revision, find = REVISIONS.get(hub_id), hub.try_to_load_from_cache
    about = hub.HfApi().model_info(hub_id, revision=revision, files_metadata=True, timeout=10)
    files = {file.rfilename: file for file in about.siblings or []}
    here = {name for name in files if isinstance(find(hub_id, name, revision=about.sha), str)}
    wanted = [name for name in files if PurePosixPath(name).suffix in (".json", ".txt")]
    wanted = [name for name in wanted if str(PurePosixPath(name).parent) in (*TEXTS, *parts)]
    for part in parts:
        smaller = half and not part.startswith("text_encoder")
        wanted += choose_weights(hub_id, part, files, smaller, allow_pickle, here)
    needed = [files[name] for name in wanted if name not in here]
    folder = repo_folder_name(repo_id=hub_id, repo_type="model")
    blobs = Path(constants.HF_HUB_CACHE, folder, "blobs")
    large = {f.rfilename: (blobs / f.lfs.sha256, f.lfs.size) for f in needed if f.lfs}
    begun = [_part(blob).stat().st_size for blob, _ in large.values() if _part(blob).exists()]
    size = sum(file.size or 0 for file in needed) - sum(begun)
    licence = getattr(about.card_data, "license", None) or "see its page"
    return Plan(revision, str(about.sha), wanted, large, size, licence)


def download(
    hub_id: str, parts: Collection[str], half: bool = False, allow_pickle: bool = False
) -> Path:
    """Download what `plan_download` says and return the snapshot.

    If the hub is out of reach, what was downloaded before has to do.

    Raises:
        ModelNotFound: Too little disk, and what `plan_download` raises.
    """
    try:
        plan = plan_download(hub_id, parts, half, allow_pickle)
    except errors.RepositoryNotFoundError:
        raise
    except NETWORK_ERRORS:
        local: Any = {"allow_patterns": [], "local_files_only": True}
        return Path(hub.snapshot_download(hub_id, revision=REVISIONS.get(hub_id), **local))
    cache = Path(constants.HF_HUB_CACHE)
    resumable = are_symlinks_supported(cache)  # else the hub's own code has to place the files
    if plan.size:
        if (free := shutil.disk_usage(cache).free) < plan.size + 0.5e9:
            raise ModelNotFound(
                f"{hub_id} needs {plan.size / 1e9:.1f} GB of disk, and {cache} has "
                f"{free / 1e9:.1f} GB left. Free some space, set HF_HOME to another disk, "
                f"{USE_BUNDLED}"
            )
        size = f"{plan.size / 1e9:.1f} GB"
        log.info("downloading %s: %s, licence: %s", hub_id, size, plan.licence)
    if resumable:
        _download_large(hub_id, plan)
    exact: Any = {"allow_patterns": [glob.escape(name) for name in plan.wanted]}
    bar: Any = NO_BAR if resumable else tqdm
    return Path(hub.snapshot_download(hub_id, revision=plan.revision, tqdm_class=bar, **exact))


def _part(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.part")


def _download_large(hub_id: str, plan: Plan) -> None:
    """Download files to where the hub's cache looks for them, and go on where a kill cut them.

    huggingface_hub itself begins a file anew, and what it had of it is lost.
    """
    total, none = sum(size for _, size in plan.large.values()), not plan.large
    with tqdm(total=total, unit="B", unit_scale=True, desc=hub_id, disable=none) as bar:
        common: Any = {"headers": build_hf_headers(), "tqdm_class": lambda **_: nullcontext(bar)}
        for name, (blob, size) in plan.large.items():
            url = hub.hf_hub_url(hub_id, name, revision=plan.commit)
            lock = blob.parents[2] / ".locks" / blob.parents[1].name / f"{blob.name}.lock"
            for folder in (lock.parent, blob.parent):
                folder.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(lock):  # the one that huggingface_hub takes
                if blob.exists():
                    continue
                with open(_part(blob), "ab") as file:
                    bar.update(done := file.tell())
                    http_get(url, file, resume_size=done, expected_size=size, **common)
                if sha256(_part(blob)) != blob.name:
                    _part(blob).unlink()
                    raise OSError(f"{name} arrived damaged")
                _part(blob).rename(blob)
