"""Before a large download from the hub: is there room for it?"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from celeb_core.errors import ModelNotFound

WANTED = (".safetensors", ".json", ".txt")  # of a diffusers repository
SKIPPED = ("safety_checker", "fp16", "non_ema", "vae_1_0")
MARGIN = 0.5e9  # bytes that should be left

log = logging.getLogger(__name__)


def check_space(hub_id: str, revision: str | None) -> None:
    """Say what is to be downloaded. Raises ModelNotFound if the disk is too full for it.

    Out of reach or offline it says nothing: what is in the cache may be enough.
    """
    from huggingface_hub import HfApi, constants, errors

    if constants.HF_HUB_OFFLINE:
        return
    try:
        about = HfApi().model_info(hub_id, revision=revision, files_metadata=True)
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError):
        return
    files = {file.rfilename: int(file.size or 0) for file in about.siblings or []}
    missing = {name: size for name, size in files.items() if _is_wanted(name)}
    missing = {name: size for name, size in missing.items() if not _is_here(hub_id, name, revision)}
    needed = sum(missing.values())
    if not needed:
        return
    folder = _existing(Path(constants.HF_HUB_CACHE))
    free = shutil.disk_usage(folder).free
    if free < needed + MARGIN:
        raise ModelNotFound(
            f"{hub_id} needs {needed / 1e9:.1f} GB of disk, and {folder} has {free / 1e9:.1f} GB "
            "left. Free some space, set HF_HOME to another disk, or use the bundled model: --model "
            "toonville."
        )
    log.info("downloading %s: %.1f GB", hub_id, needed / 1e9)


def _is_wanted(name: str) -> bool:
    """Of a repository only folders of parts are loaded, in the usual precision."""
    return (
        ("/" in name or name == "model_index.json")
        and name.endswith(WANTED)
        and not any(mark in name for mark in SKIPPED)
    )


def _is_here(hub_id: str, name: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(hub_id, name, revision=revision), str)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
