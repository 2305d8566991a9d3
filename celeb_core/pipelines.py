"""A place -> a diffusers pipeline: folder, hub id or single checkpoint; what is wrong with it.

Nothing is downloaded before the model's index says that it is of a supported kind.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from celeb_core.encoders import text_encoders
from celeb_core.errors import ModelNotFound, ModelUnsupported
from celeb_core.hub import check_space

STABLE_DIFFUSION = "stable-diffusion-v1-5/stable-diffusion-v1-5"
REVISIONS = {STABLE_DIFFUSION: "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"}
"""Hub id -> the commit that is loaded; other models are taken as they are today."""

SUPPORTED: Mapping[str, Mapping[str, Any]] = {
    "StableDiffusionPipeline": {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    },
    "StableDiffusionXLPipeline": {},
}
"""Class of a diffusers pipeline -> what of it is left out."""
WHAT_IS_SUPPORTED = (
    "Supported are Stable Diffusion 1.x, 2.x, SDXL and their fine-tunes, as a diffusers folder or "
    "a hub id, and 1.x and SDXL as a single .safetensors file too"
)
CONFIGS = Path(__file__).resolve().parent.parent / "assets" / "configs"
SHIPPED = ("sd1", "sdxl")  # the folders there

UNET_IN = "model.diffusion_model.input_blocks.0.0.weight"
CHECKPOINTS: Mapping[str, str] = {
    "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": "sd1",
    "cond_stage_model.model.positional_embedding": "a Stable Diffusion 2.x checkpoint, of which "
    "the file does not say what it predicts",
    "lora_": "a LoRA",
    "v_pred": "an SDXL checkpoint that predicts velocity; its diffusers folder says so and works",
    "edm_": "an SDXL checkpoint for another noise schedule",
    "conditioner.embedders.1.model.positional_embedding": "sdxl",
    "conditioner.embedders.0.model.": "SDXL's refiner",
    "conditioner.embedders.": "an SDXL checkpoint without its second text encoder",
    "joint_blocks.": "a Stable Diffusion 3 checkpoint",
    "double_blocks.": "a Flux checkpoint",
    "control_model.": "a ControlNet",
    "emb_params": "an embedding (see “import”)",
    UNET_IN: "a UNet without its text encoder",
    "decoder.conv_in.weight": "a VAE",
}
"""What a key of a single file, or a part of one, tells; the first that is there counts."""

BPE_PACKAGES = ("open_clip", "clip")
BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"
BPE_MERGES = 49_152 - 256 - 2  # of CLIP's vocabulary; the file has more
END = "<|endoftext|>"


def load_pipeline(place: Path | str, dtype: torch.dtype = torch.float32) -> Any:
    """Load one of the SUPPORTED from a folder, a .safetensors file or a hub id.

    The UNet and the VAE in `dtype`, text encoders in float32. The safety checker and its feature
    extractor are left out. Raises ModelNotFound for what is missing, incomplete or out of reach,
    ModelUnsupported for another architecture.
    """
    import diffusers

    precisions = {"unet": dtype, "vae": dtype, "default": torch.float32}
    options: dict[str, Any] = {"dtype": precisions}
    if isinstance(place, Path) and place.is_file():
        configs = CONFIGS / _kind_of_file(place)
        kind = _checked_kind(place, read_index(configs))
        options |= {"config": str(configs), "dtype": torch.float32}
        options["tokenizer"] = clip_tokenizer(place.parent)
        if kind == "StableDiffusionXLPipeline":
            options["tokenizer_2"] = clip_tokenizer(place.parent, pad_token="!")
        load = getattr(diffusers, kind).from_single_file
    else:
        kind = _checked_kind(place, read_index(place))
        options["revision"] = REVISIONS.get(str(place))
        if isinstance(place, str):
            check_space(place, REVISIONS.get(place))
        load = getattr(diffusers, kind).from_pretrained
    options |= SUPPORTED[kind]
    try:
        pipeline = load(place, local_files_only=isinstance(place, Path), **options)
    except (OSError, SafetensorError, ValueError, RuntimeError, AttributeError) as error:
        raise _explained(place, error) from error
    _check_parts(place, pipeline)
    pipeline.unet.to(dtype)  # a single file comes in one precision,
    pipeline.vae.to(dtype)
    for part in pipeline.components.values():  # and some of its weights lie transposed in memory:
        if isinstance(part, torch.nn.Module):  # products with them are rounded in another order
            for weight in part.parameters():
                weight.data = weight.data.contiguous()
    return pipeline


def unet_size(place: Path | str) -> int:
    """The parameters of a model's UNet, from its config alone.

    Raises what `load_pipeline` raises of a model without one.
    """
    from diffusers import UNet2DConditionModel

    single = isinstance(place, Path) and place.is_file()
    folder = CONFIGS / _kind_of_file(Path(place)) if single else place
    _checked_kind(place, read_index(folder))
    try:
        config = UNet2DConditionModel.load_config(
            folder,
            subfolder="unet",
            revision=REVISIONS.get(str(place)),
            local_files_only=isinstance(place, Path),
        )
        with torch.device("meta"):
            return int(UNet2DConditionModel.from_config(config).num_parameters())
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise _explained(place, error) from error


def read_index(place: Path | str) -> dict[str, Any]:
    """The `model_index.json` of a folder, or of a hub id (str). Raises ModelNotFound."""
    path = place / "model_index.json" if isinstance(place, Path) else _download_index(place)
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotFound(
            f"{path} cannot be read ({error}). Copy or download the model again."
        ) from error
    return index


def clip_tokenizer(folder: Path, pad_token: str = END) -> Any:
    """CLIP's tokenizer for a checkpoint, which brings none.

    From `tokenizer/` in the checkpoint's folder, else from the vocabulary in an installed
    package (open_clip_torch, or OpenAI's clip), else from Stable Diffusion 1.5 on the hub or in
    its cache. Raises ModelNotFound.
    """
    from transformers import CLIPTokenizer

    beside = folder / "tokenizer"
    if beside.is_dir():
        return CLIPTokenizer.from_pretrained(beside, local_files_only=True, pad_token=pad_token)
    for package in BPE_PACKAGES:
        found = importlib.util.find_spec(package)
        for place in (found.submodule_search_locations or []) if found else []:
            if (Path(place) / BPE_FILE).is_file():
                return tokenizer_of_merges(Path(place) / BPE_FILE, pad_token)
    try:
        return CLIPTokenizer.from_pretrained(
            STABLE_DIFFUSION,
            subfolder="tokenizer",
            revision=REVISIONS[STABLE_DIFFUSION],
            pad_token=pad_token,
        )
    except (OSError, ValueError) as error:
        raise ModelNotFound(
            "A single checkpoint brings no tokenizer, and CLIP's vocabulary is not on this "
            "machine. Connect once (it is 2 MB and kept), or install it: pip install "
            f"open_clip_torch, or copy the folder “tokenizer” of any SD 1.x model to {folder}."
        ) from error


def tokenizer_of_merges(path: Path, pad_token: str = END) -> Any:
    """A tokenizer from OpenAI's list of merges, a gzip with one pair of pieces per line.

    The vocabulary is the 256 bytes' letters, the same at a word's end, what each merge makes, and
    the two marks of start and end.
    """
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    lines = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines[1 : BPE_MERGES + 1]]
    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges)]
    pieces += ["<|startoftext|>", END]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77, pad_token=pad_token)


def _download_index(hub_id: str) -> Path:
    """Get the index alone, because its absence tells best what is wrong."""
    from huggingface_hub import errors, hf_hub_download

    instead = "or use the bundled model: --model toonville"
    try:
        return Path(hf_hub_download(hub_id, "model_index.json", revision=REVISIONS.get(hub_id)))
    except errors.GatedRepoError as error:
        raise _gated(hub_id) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"The hub has no model {hub_id}, or it is private. Check the name, log in with “hf "
            f"auth login” if it is yours, {instead}."
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise ModelUnsupported(
            f"{hub_id} is no diffusers pipeline: it has no model_index.json. {WHAT_IS_SUPPORTED}."
        ) from error
    except errors.HFValidationError as error:
        raise ModelNotFound(f"“{hub_id}” is no hub id: {error}. Write owner/model.") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, OSError) as error:
        raise ModelNotFound(
            f"{hub_id} is not on this machine and the hub cannot be reached ({_first(error)}). "
            f"Check the connection (and HF_HUB_OFFLINE), {instead}."
        ) from error


def _checked_kind(place: Path | str, index: Mapping[str, Any]) -> str:
    kind = str(index.get("_class_name", "StableDiffusionPipeline"))
    if kind not in SUPPORTED:
        known = ", ".join(SUPPORTED)
        raise ModelUnsupported(f"{place} is a {kind}. {WHAT_IS_SUPPORTED} ({known}).")
    return kind


def _check_parts(place: Path | str, pipeline: Any) -> None:
    """What loads without a word and cannot work."""
    parts = pipeline.components.items()
    reading = ("tokenizer", "text_encoder")
    if missing := [name for name, part in parts if part is None and name.startswith(reading)]:
        raise ModelUnsupported(f"{place} has no {' and no '.join(missing)}. {WHAT_IS_SUPPORTED}.")
    for number, encoder in enumerate(text_encoders(pipeline)):
        known, rows = len(encoder.tokenizer), encoder.model.config.vocab_size
        if not rows / 2 < known <= rows:  # without its files a tokenizer comes out almost empty
            folder = "tokenizer_2" if number else "tokenizer"
            raise ModelNotFound(
                f"{place} is incomplete: its tokenizer knows {known} tokens, its text encoder "
                f"{rows}. Get the folder “{folder}” again."
            )
    channels = int(pipeline.unet.config.in_channels)
    if channels != int(pipeline.vae.config.latent_channels):
        raise ModelUnsupported(
            f"The UNet of {place} takes {channels} channels: an inpainting or editing model. "
            f"{WHAT_IS_SUPPORTED}."
        )


def _kind_of_file(path: Path) -> str:
    """The name of the shipped configs for a single checkpoint. Raises ModelUnsupported."""
    if path.suffix != ".safetensors":
        raise ModelUnsupported(
            f"{path} is a {path.suffix or 'nameless'} file: a pickle may run code, so none is "
            f"loaded. Get the model as .safetensors. {WHAT_IS_SUPPORTED}."
        )
    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
            channels = file.get_slice(UNET_IN).get_shape()[1] if UNET_IN in keys else 0
    except (SafetensorError, OSError) as error:
        raise _explained(path, error) from error
    marks = (what for mark, what in CHECKPOINTS.items() if any(mark in key for key in keys))
    kind = next(marks, "of an unknown kind")
    if channels not in (0, 4):
        kind = f"a checkpoint for inpainting or editing ({channels} channels)"
    if kind not in SHIPPED:
        raise ModelUnsupported(f"{path} is {kind}. {WHAT_IS_SUPPORTED}.")
    return kind


def _explained(place: Path | str, error: Exception) -> ModelNotFound | ModelUnsupported:
    """Why loading failed, by the cause at the bottom."""
    from huggingface_hub import errors

    causes: list[BaseException] = [error]
    while (below := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(below)
    if any(isinstance(cause, errors.GatedRepoError) for cause in causes):
        return _gated(place)
    if any(isinstance(cause, SafetensorError) for cause in causes):
        return ModelNotFound(
            f"A file of {place} is damaged or was downloaded in part ({_first(error)}). Delete "
            "it and get it again."
        )
    if isinstance(error, OSError):
        again = "Copy the folder again" if isinstance(place, Path) else "Connect and try again"
        return ModelNotFound(
            f"{place} is incomplete: {_first(error)}. {again}, or use the bundled model: --model "
            "toonville."
        )
    return ModelUnsupported(
        f"The files of {place} do not fit the architecture that its configs name "
        f"({_first(error)}). {WHAT_IS_SUPPORTED}."
    )


def _gated(place: Path | str) -> ModelNotFound:
    return ModelNotFound(
        f"{place} is given only to those who accept its licence. Do that on its page and log in "
        "with “hf auth login”, or use the bundled model: --model toonville."
    )


def _first(error: BaseException) -> str:
    """The first line of a library's message, without its full stop."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(". ")
