"""Which model: what “auto” means, and where a name leads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from celeb_core.errors import ModelNotFound
from celeb_core.pipelines import REVISIONS, STABLE_DIFFUSION

ASSETS = Path(__file__).resolve().parent.parent / "assets"
BUNDLED = "toonville"

KNOWN: Mapping[str, str] = {
    STABLE_DIFFUSION: "Stable Diffusion 1.5",
    "CompVis/stable-diffusion-v1-4": "Stable Diffusion 1.4",
    "stabilityai/stable-diffusion-2-1": "Stable Diffusion 2.1",
    "stabilityai/stable-diffusion-2-1-base": "Stable Diffusion 2.1 base",
    "stabilityai/stable-diffusion-xl-base-1.0": "SDXL",
}
"""Models that “auto” looks for in the cache, in this order: SD 1.5 is what the method was made for
and the smallest; SDXL is last because it is the slowest."""
CHOSEN = "chosen with --model"
LARGEST = "unet/diffusion_pytorch_model.safetensors"  # in the precision that is loaded


def resolve(model: str) -> tuple[Path | str, str]:
    """Where to load from, and why: a folder or file, or a hub id. Raises ModelNotFound."""
    bundled = ASSETS / BUNDLED
    if model == "auto":
        return _automatic(bundled)
    path = bundled if model == BUNDLED else Path(model).expanduser()
    if path.is_dir():
        if not (path / "model_index.json").is_file():
            raise ModelNotFound(
                f"{path} holds no model_index.json. Name the folder of a diffusers pipeline."
            )
        return path.resolve(), CHOSEN
    if path.is_file():
        return path.resolve(), CHOSEN
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        return model, CHOSEN
    raise ModelNotFound(
        f"There is no model “{model}”. Name “auto”, “{BUNDLED}”, the folder of a diffusers "
        "pipeline, a .safetensors checkpoint, or a hub id such as owner/model."
    )


def is_cached(hub_id: str) -> bool:
    """Whether the largest file of a hub model is on this machine."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, LARGEST, revision=REVISIONS.get(hub_id))
    return isinstance(found, str)


def _automatic(bundled: Path) -> tuple[Path | str, str]:
    if not torch.cuda.is_available():
        return bundled, "the bundled model, because there is no CUDA device"
    cached = [hub_id for hub_id in KNOWN if is_cached(hub_id)]
    if not cached:
        return bundled, "the bundled model, because there is no Stable Diffusion here yet"
    chosen = cached[0]
    why = f"there is a CUDA device and {KNOWN[chosen]} is downloaded"
    if others := [KNOWN[hub_id] for hub_id in cached[1:]]:
        why += f" (so is {' and '.join(others)}; name it with --model)"
    return chosen, why
