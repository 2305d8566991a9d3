"""Single file of weights -> its kind and the components of a diffusers pipeline."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    create_diffusers_clip_model_from_ldm,
)
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from celeb_core.downloads import (
    NETWORK_ERRORS,
    PICKLED,
    STABLE_DIFFUSION,
    USE_BUNDLED,
    download,
)
from celeb_core.errors import ModelNotFound, ModelUnsupported
from celeb_core.formats.tensor_file import PICKLE, ZIP, map_pickle, parsing

SUPPORTED = (
    "Supported are Stable Diffusion 1.x, 2.x, SDXL and their fine-tunes, as a diffusers folder or "
    "a hub id, and 1.x and SDXL as a single .safetensors file too."
)
COMPONENTS: dict[str, Any] = {  # those with weights
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}
UNET_IN = "model.diffusion_model.input_blocks.0.0.weight"
VAE_PREFIXES = ("first_stage_model.", "vae.")
KINDS = {  # part of a weight's name -> kind of the single file; the first that occurs counts
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
    "input_blocks.": "a UNet without its text encoder",
    "decoder.conv_in.": "a VAE (see --vae)",
}
OLD_TEXT = re.compile(r"^(cond_stage_model\.transformer\.)(?!text_model\.)")
NEW = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_ATTENTION = re.compile(rf"(?<=mid_block\.attentions\.0\.)({'|'.join(NEW)})(?=\.)")
UNFINISHED = (".part", ".crdownload", ".incomplete", ".download", ".tmp")
STRANGERS = {  # how a file begins, or its suffix -> what it is
    "GGUF": "a file of quantised weights for other programs",
    "version https://git-lfs": "Git LFS's pointer to the model: run “git lfs pull”",
    "<": "a web page, perhaps of a site that wanted a login: download the model again",
    ".onnx": "an ONNX file",
}


def read_weights(path: Path, allow_pickle: bool = False) -> dict[str, Tensor]:
    """Read a file of weights, memory-mapped, under the names of today.

    Raises:
        ModelNotFound: It is damaged, or a part of a download.
        ModelUnsupported: It is of another format, or pickled and `allow_pickle` is false.
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        begin = file.read(32)
    if path.suffix.lower() in UNFINISHED:
        raise ModelNotFound(f"{path} is an unfinished download. Let it end, or begin it anew.")
    suffix, marks = path.suffix.lower(), STRANGERS.items()
    known = [what for m, what in marks if begin.startswith(m.encode()) or suffix == m]
    if begin.startswith((ZIP, PICKLE)) and begin[8:9] != b"{":
        weights = _read_pickle(path, allow_pickle)
    elif begin[8:9] == b"{" or (suffix == ".safetensors" and not known):
        weights = _read_safetensors(path)
    else:
        raise ModelUnsupported(f"{path} is {[*known, 'no file of weights'][0]}. {SUPPORTED}")
    # Old merges lack “text_model.”; some files were saved with what was around the weights.
    weights = {key.removeprefix("state_dict."): value for key, value in weights.items()}
    return {OLD_TEXT.sub(r"\1text_model.", key): value for key, value in weights.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with parsing():
            return load_file(path)  # type: ignore[no-any-return]
    except ValueError as error:
        what = f"{path} is damaged or was downloaded in part ({error}): get it again"
        raise ModelNotFound(f"{what}, {USE_BUNDLED}") from error


def _read_pickle(path: Path, allow_pickle: bool) -> dict[str, Tensor]:
    if not allow_pickle:
        raise ModelUnsupported(f"{path} {PICKLED}")
    try:
        weights = map_pickle(path)
        if not isinstance(weights, dict):
            raise ValueError(f"it holds a {type(weights).__name__}, not weights by name")
    except ValueError as error:
        what = f"{path} is damaged or holds more than tensors, and is not read ({error})"
        raise ModelUnsupported(f"{what}. Get the model as .safetensors. {SUPPORTED}") from error
    while isinstance(weights.get("state_dict"), dict):
        weights = weights["state_dict"]
    return {str(key): value for key, value in weights.items() if isinstance(value, Tensor)}


def checkpoint_kind(path: Path, weights: dict[str, Tensor]) -> str:
    """Tell "sd1" from "sdxl" by the names of a single file's weights; refuse all others.

    Raises:
        ModelUnsupported: It is of another kind, or for inpainting.
    """
    kinds = (kind for part, kind in KINDS.items() if any(part in key for key in weights))
    kind = next(kinds, "of an unknown kind")
    channels = weights[UNET_IN].shape[1:2].numel() if UNET_IN in weights else 4
    if channels != 4:
        kind = f"a checkpoint for inpainting or editing ({channels} channels)"
    if kind not in ("sd1", "sdxl"):
        raise ModelUnsupported(f"{path} is {kind}. {SUPPORTED}")
    return kind


def components(
    weights: dict[str, Tensor], configs: Path, parts: Collection[str], dtype: torch.dtype
) -> dict[str, Any]:
    """Make those components of a pipeline whose weights are there; text encoders in float32.

    Weights that are missing are on the device “meta”.
    """
    made = {}
    for name in parts:
        if name.startswith("text_encoder"):
            options: Any = {"config": str(configs), "torch_dtype": torch.float32}
            make = create_diffusers_clip_model_from_ldm
            made[name] = make(COMPONENTS[name], weights, name, **options)
        elif name != "vae" or any(key.startswith(VAE_PREFIXES) for key in weights):
            config = COMPONENTS[name].load_config(configs, subfolder=name)
            made[name] = network_from(name, weights, config, dtype)
    return made


def network_from(name: str, weights: dict[str, Tensor], config: Any, dtype: torch.dtype) -> Any:
    """Make a UNet or VAE of weights in the original's names; a VAE's may be diffusers', too."""
    with torch.device("meta"):
        network = COMPONENTS[name].from_config(config)
    weights = {OLD_ATTENTION.sub(lambda m: NEW[m[0]], key): weights[key] for key in weights}
    if "mid_block." not in "".join(weights):  # which is in diffusers' names only
        convert = convert_ldm_vae_checkpoint if name == "vae" else convert_ldm_unet_checkpoint
        weights = convert(weights, config=config)
    weights = {key: value.to(dtype) for key, value in weights.items()}
    network.load_state_dict(weights, strict=False, assign=True)
    return network.eval()


def clip_tokenizer(folder: Path, pad_token: str = "<|endoftext|>") -> Any:
    """Load CLIP's tokenizer for a single file, from beside it or else from Stable Diffusion 1.5.

    Raises:
        ModelNotFound: Neither is there.
    """
    tokenizer = folder / "tokenizer"
    try:
        if not tokenizer.is_dir():
            tokenizer = download(STABLE_DIFFUSION, ()) / "tokenizer"
        return CLIPTokenizer.from_pretrained(tokenizer, pad_token=pad_token)
    except (*NETWORK_ERRORS, ValueError) as error:
        raise ModelNotFound(
            "A single checkpoint has no tokenizer, and CLIP's is not on this machine. Connect once "
            f"(2 MB, for good), or copy the folder “tokenizer” of any SD 1.x model to {folder}."
        ) from error
