"""Hub id, folder or single file -> diffusers pipeline."""

import json
import logging
import shutil
from functools import partialmethod
from pathlib import Path
from typing import Any

import diffusers
import huggingface_hub as hub
import torch
from huggingface_hub import constants, errors
from safetensors import SafetensorError, safe_open
from tqdm import tqdm
from transformers import CLIPTokenizer

from celeb_core.errors import ModelNotFound, ModelUnsupported
from celeb_core.text_encoder import text_encoders

ASSETS = Path(__file__).resolve().parent / "assets"  # of an installed wheel
if not ASSETS.is_dir():  # a checkout
    ASSETS = ASSETS.parents[1] / "assets"
CONFIGS = ASSETS / "configs"  # of single files, by kind

BUNDLED = "toonville"
STABLE_DIFFUSION = "stable-diffusion-v1-5/stable-diffusion-v1-5"
# Hub id -> the commit that is loaded; of other models the newest.
REVISIONS = {STABLE_DIFFUSION: "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"}
KNOWN = {  # what "auto" looks for in the cache, the slowest last
    STABLE_DIFFUSION: "Stable Diffusion 1.5",
    "CompVis/stable-diffusion-v1-4": "Stable Diffusion 1.4",
    "stabilityai/stable-diffusion-2-1": "Stable Diffusion 2.1",
    "stabilityai/stable-diffusion-2-1-base": "Stable Diffusion 2.1 base",
    "stabilityai/stable-diffusion-xl-base-1.0": "SDXL",
}
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"

SD, SDXL = "StableDiffusionPipeline", "StableDiffusionXLPipeline"
NO_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
SUPPORTED = (
    "Supported are Stable Diffusion 1.x, 2.x, SDXL and their fine-tunes, as a diffusers folder or "
    "a hub id, and 1.x and SDXL as a single .safetensors file too."
)
USE_BUNDLED = f"or use the bundled model: --model {BUNDLED}."

UNET_IN = "model.diffusion_model.input_blocks.0.0.weight"
CHECKPOINTS = {  # part of a weight's name -> kind of the single file; the first that occurs counts
    "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": "sd1",
    "cond_stage_model.model.": "a Stable Diffusion 2.x checkpoint; its diffusers folder works",
    "lora_": "a LoRA",
    "v_pred": "an SDXL checkpoint that predicts velocity; its diffusers folder works",
    "edm_": "an SDXL checkpoint for another noise schedule",
    "conditioner.embedders.1.model.positional_embedding": "sdxl",
    "conditioner.embedders.0.model.": "SDXL's refiner",
    "conditioner.embedders.": "an SDXL checkpoint without its second text encoder",
    "joint_blocks.": "a Stable Diffusion 3 checkpoint",
    "double_blocks.": "a Flux checkpoint",
    "emb_params": "an embedding (see “import”)",
}

FILES: dict[str, Any] = {  # what diffusers takes of a repository
    "allow_patterns": ["model_index.json", "*/*.safetensors", "*/*.json", "*/*.txt"],
    "ignore_patterns": ["*safety_checker*", "*fp16*", "*non_ema*", "*vae_1_0*"],
    "tqdm_class": type("NoBar", (tqdm,), {"__init__": partialmethod(tqdm.__init__, disable=True)}),
}

log = logging.getLogger(__name__)


def resolve(model: str) -> tuple[Path | str, str]:
    """Return the path or hub id that a model's name stands for, and why it was chosen.

    Raises:
        ModelNotFound: It is not "auto", "toonville", a folder, a file, or a hub id.
    """
    bundled, find = ASSETS / BUNDLED, hub.try_to_load_from_cache
    if model == "auto":
        if not torch.cuda.is_available():
            return bundled, "the bundled model, because there is no CUDA device"
        found = {hub_id: find(hub_id, WEIGHTS, revision=REVISIONS.get(hub_id)) for hub_id in KNOWN}
        cached = [hub_id for hub_id, path in found.items() if isinstance(path, str)]
        if not cached:
            return bundled, "the bundled model, because there is no Stable Diffusion here yet"
        first, *others = (KNOWN[hub_id] for hub_id in cached)
        also = f" (so is {' and '.join(others)}; name it with --model)" if others else ""
        return cached[0], f"there is a CUDA device and {first} is downloaded{also}"
    path = bundled if model == BUNDLED else Path(model).expanduser()
    if path.is_dir() and not (path / "model_index.json").is_file():
        raise ModelNotFound(f"{path} has no model_index.json. Name a folder of diffusers' format.")
    is_hub_id = model.count("/") == 1 and not model.startswith((".", "/", "~"))
    if not path.exists() and not is_hub_id:
        raise ModelNotFound(
            f"There is no model “{model}”. Name “auto”, “{BUNDLED}”, the folder of a diffusers "
            "pipeline, a .safetensors checkpoint, or a hub id such as owner/model."
        )
    return path.resolve() if path.exists() else model, "chosen with --model"


def load_pipeline(source: Path | str, dtype: torch.dtype = torch.float32) -> Any:
    """Load a StableDiffusionPipeline, without safety checker, or a StableDiffusionXLPipeline.

    From a folder, a .safetensors file, or a hub id (str); UNet and VAE in `dtype`, else in float32.

    Raises:
        ModelNotFound: It is missing, incomplete or out of reach.
        ModelUnsupported: It is of another architecture.
    """
    try:
        kind, configs = _architecture(source)
        offline = isinstance(source, Path) or not _check_download(source)
        options: Any = {"local_files_only": offline, **(NO_CHECKER if kind == SD else {})}
        if isinstance(source, Path) and source.is_file():
            options |= {"config": str(configs), "dtype": torch.float32}
            options["tokenizer"] = clip_tokenizer(source.parent)
            if kind == SDXL:
                options["tokenizer_2"] = clip_tokenizer(source.parent, pad_token="!")
            pipeline = getattr(diffusers, kind).from_single_file(source, **options)
        else:
            options["dtype"] = {"unet": dtype, "vae": dtype, "default": torch.float32}
            options["revision"] = REVISIONS.get(str(source))
            pipeline = getattr(diffusers, kind).from_pretrained(source, **options)
    except (OSError, SafetensorError, ValueError, RuntimeError, AttributeError) as error:
        raise _explained(source, error) from error
    _check_components(source, pipeline)
    pipeline.unet.to(dtype)  # a single file comes in one precision,
    pipeline.vae.to(dtype)
    # and some of its weights are transposed views: products with them are rounded differently
    networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    for weight in torch.nn.ModuleList(networks).parameters():
        weight.data = weight.data.contiguous()
    return pipeline


def unet_size(source: Path | str) -> int:
    """Count the parameters of a model's UNet, from its config; raises as `load_pipeline` does."""
    network, revision = diffusers.UNet2DConditionModel, REVISIONS.get(str(source))
    try:
        _, configs = _architecture(source)
        config = network.load_config(configs, subfolder="unet", revision=revision)
        with torch.device("meta"):
            return int(network.from_config(config).num_parameters())
    except (OSError, SafetensorError, ValueError, TypeError, RuntimeError) as error:
        raise _explained(source, error) from error


def clip_tokenizer(folder: Path, pad_token: str = "<|endoftext|>") -> Any:
    """Load CLIP's tokenizer for a single file, from beside it or else from Stable Diffusion 1.5.

    Raises:
        ModelNotFound: Neither is there.
    """
    tokenizer = folder / "tokenizer"
    try:
        if not tokenizer.is_dir():
            wanted: Any = {"revision": REVISIONS[STABLE_DIFFUSION], "allow_patterns": "tokenizer/*"}
            tokenizer = Path(hub.snapshot_download(STABLE_DIFFUSION, **wanted), "tokenizer")
        return CLIPTokenizer.from_pretrained(tokenizer, pad_token=pad_token)
    except (OSError, ValueError) as error:
        raise ModelNotFound(
            "A single checkpoint has no tokenizer, and CLIP's is not on this machine. Connect once "
            f"(2 MB, for good), or copy the folder “tokenizer” of any SD 1.x model to {folder}."
        ) from error


def _architecture(source: Path | str) -> tuple[str, Path | str]:
    """Read a model's pipeline class, and where its configs are; of a single file, in CONFIGS."""
    name, configs = "model_index.json", source
    if isinstance(source, Path) and source.is_file():
        configs = CONFIGS / _checkpoint_kind(source)
    path = Path(configs, name)
    if isinstance(configs, str):
        path = Path(hub.hf_hub_download(configs, name, revision=REVISIONS.get(configs)))
    try:
        kind = str(json.loads(path.read_bytes()).get("_class_name", SD))
    except (ValueError, AttributeError) as error:
        raise ModelNotFound(f"{path} cannot be read ({error}). Get the model again.") from error
    if kind not in (SD, SDXL):
        raise ModelUnsupported(f"{source} is a {kind}. {SUPPORTED}")
    return kind, configs


def _checkpoint_kind(path: Path) -> str:
    """Tell "sd1" from "sdxl" by the names of a single file's weights; refuse all others."""
    if path.suffix != ".safetensors":
        what = f"{path} is a {path.suffix or 'nameless'} file, and a pickle may run code"
        raise ModelUnsupported(f"{what}. Get the model as .safetensors. {SUPPORTED}")
    with safe_open(path, framework="pt") as file:
        keys = list(file.keys())
        channels = file.get_slice(UNET_IN).get_shape()[1] if UNET_IN in keys else 4
    kinds = (kind for part, kind in CHECKPOINTS.items() if any(part in key for key in keys))
    kind = next(kinds, "of an unknown kind")
    if channels != 4:
        kind = f"a checkpoint for inpainting or editing ({channels} channels)"
    if kind not in ("sd1", "sdxl"):
        raise ModelUnsupported(f"{path} is {kind}. {SUPPORTED}")
    return kind


def _check_download(hub_id: str) -> bool:
    """Log the size of the download and check the disk; False if the hub is out of reach."""
    try:
        files = hub.snapshot_download(hub_id, dry_run=True, revision=REVISIONS.get(hub_id), **FILES)
    except OSError:
        return False
    if needed := sum(file.file_size or 0 for file in files if file.will_download):
        folder = constants.HF_HUB_CACHE  # made by the download of the index
        if (free := shutil.disk_usage(folder).free) < needed + 0.5e9:
            raise ModelNotFound(
                f"{hub_id} needs {needed / 1e9:.1f} GB of disk, and {folder} has {free / 1e9:.1f} "
                f"GB left. Free some space, set HF_HOME to another disk, {USE_BUNDLED}"
            )
        log.info("downloading %s: %.1f GB", hub_id, needed / 1e9)
    return True


def _check_components(source: Path | str, pipeline: Any) -> None:
    """Refuse what loads without an error and cannot work."""
    empty = [name for name, component in pipeline.components.items() if component is None]
    if missing := [name for name in empty if name.startswith(("tokenizer", "text_encoder"))]:
        raise ModelUnsupported(f"{source} has no {' and no '.join(missing)}. {SUPPORTED}")
    for suffix, encoder in zip(("", "_2"), text_encoders(pipeline), strict=False):
        known, rows = len(encoder.tokenizer), encoder.model.config.vocab_size
        if not rows / 2 < known <= rows:  # without its files a tokenizer comes out almost empty
            raise ModelNotFound(
                f"{source} is incomplete: its tokenizer knows {known} tokens, its text encoder "
                f"{rows}. Get the folder “tokenizer{suffix}” again."
            )
    channels = int(pipeline.unet.config.in_channels)
    if channels != int(pipeline.vae.config.latent_channels):
        what = f"{source} is a model for inpainting or editing ({channels} channels)"
        raise ModelUnsupported(f"{what}. {SUPPORTED}")


def _explained(source: Path | str, error: Exception) -> ModelNotFound | ModelUnsupported:
    """The error that says why loading failed and what to do."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300].rstrip(". ")
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    if any(isinstance(cause, errors.GatedRepoError) for cause in causes):
        what = f"{source} is gated: accept its licence on its page and log in with “hf auth login”"
    elif isinstance(error, errors.RepositoryNotFoundError):
        what = f"The hub has no model {source}, or it is private: log in with “hf auth login”"
    elif isinstance(error, errors.RemoteEntryNotFoundError):
        what = f"{source} is no diffusers pipeline: it has no model_index.json. {SUPPORTED}"
        return ModelUnsupported(what)
    elif isinstance(error, errors.HFValidationError):
        what = f"“{source}” is no hub id ({reason}): write owner/model"
    elif isinstance(error, errors.EntryNotFoundError | errors.HfHubHTTPError | ConnectionError):
        what = f"{source} is not on this machine and the hub cannot be reached ({reason})"
        what += ": check the connection (and HF_HUB_OFFLINE)"
    elif any(isinstance(cause, SafetensorError) for cause in causes):
        what = f"A file of {source} is damaged or was downloaded in part ({reason}): get it again"
    elif isinstance(error, OSError):
        what = f"{source} is incomplete: {reason}. Copy or download it again"
    else:
        what = f"The files of {source} do not fit the architecture that its configs name"
        return ModelUnsupported(f"{what} ({reason}). {SUPPORTED}")
    return ModelNotFound(f"{what}, {USE_BUNDLED}")
