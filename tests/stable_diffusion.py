"""Tiny Stable Diffusion models with random weights, laid out as the real ones are on the hub."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from conftest import tiny_tokenizer
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.6.0",
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
UNSAFE = {  # 1.2 GB that is listed and must not be needed; the class has left transformers
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
}


@dataclass(frozen=True)
class Encoder:
    """A text encoder and its tokenizer."""

    width: int
    text: dict
    pad_token: str
    kind: type = CLIPTextModel


@dataclass(frozen=True)
class Family:
    """What sets SD 1.x, SD 2.x and SDXL apart."""

    index: dict
    unet: dict
    encoders: dict[str, Encoder]  # by the end of their folders' names
    scheduler: dict
    vae: dict

    @property
    def width(self) -> int:
        return sum(encoder.width for encoder in self.encoders.values())


CLIP_L = {"hidden_act": "quick_gelu", "num_hidden_layers": 2, "projection_dim": 32}
OPEN_CLIP = {"hidden_act": "gelu", "num_hidden_layers": 3, "projection_dim": 24}
SD1 = Family(
    index=INDEX | UNSAFE,
    unet={"block_out_channels": (32, 32, 64, 64), "attention_head_dim": 8},
    encoders={"": Encoder(32, CLIP_L, "<|endoftext|>")},
    scheduler={"_class_name": "PNDMScheduler", "skip_prk_steps": True},
    vae={},
)
SD2 = Family(
    index=INDEX | {"scheduler": ["diffusers", "DDIMScheduler"], "feature_extractor": [None, None]},
    unet={
        "block_out_channels": (32, 32, 64, 64),
        "attention_head_dim": [2, 4, 8, 8],
        "use_linear_projection": True,
        "upcast_attention": True,
    },
    encoders={"": Encoder(48, OPEN_CLIP, "!")},
    scheduler={"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"},
    vae={},
)
OLD_IDS = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}  # wrong, as they are there
SDXL = Family(
    index=INDEX
    | {
        "_class_name": "StableDiffusionXLPipeline",
        "force_zeros_for_empty_prompt": True,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
    },
    unet={
        "block_out_channels": (32, 32, 64),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": [1, 2, 3],
        "attention_head_dim": [2, 4, 8],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": OPEN_CLIP["projection_dim"] + 6 * 8,
    },
    encoders={
        "": Encoder(32, CLIP_L | OLD_IDS, "<|endoftext|>"),
        "_2": Encoder(48, OPEN_CLIP | OLD_IDS, "!", CLIPTextModelWithProjection),
    },
    scheduler={
        "_class_name": "EulerDiscreteScheduler",
        "prediction_type": "epsilon",
        "timestep_spacing": "leading",
        "interpolation_type": "linear",
    },
    vae={"scaling_factor": 0.13025},
)


def write_folder(folder: Path, family: Family, seed: int = 0) -> Path:
    """A model folder in the files and weight names of the first releases."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    _write_json(folder / "model_index.json", family.index)
    tokenizer = tiny_tokenizer()
    for suffix, encoder in family.encoders.items():
        _write_tokenizer(folder / f"tokenizer{suffix}", tokenizer, encoder.pad_token)
        text = CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=encoder.width,
            intermediate_size=64,
            num_attention_heads=2,
            max_position_embeddings=77,
            **encoder.text,
        )
        encoder.kind(text).save_pretrained(folder / f"text_encoder{suffix}")
        path = folder / f"text_encoder{suffix}" / "model.safetensors"
        weights = {_text_name(key): value for key, value in load_file(path).items()}
        weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        save_file(weights, path, {"format": "pt"})
    UNet2DConditionModel(
        sample_size=8,
        cross_attention_dim=family.width,
        norm_num_groups=8,  # in 32 groups, the lowest level's two numbers each are all rounding
        **family.unet,
    ).save_pretrained(folder / "unet")
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        norm_num_groups=8,
        sample_size=64,
        **family.vae,
    )
    vae.save_pretrained(folder / "vae")
    _rename(folder / "vae" / "diffusion_pytorch_model.safetensors", _old_attention)
    noising = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    noising |= {"set_alpha_to_one": False, "steps_offset": 1, "clip_sample": False}
    (folder / "scheduler").mkdir()
    _write_json(folder / "scheduler" / "scheduler_config.json", noising | family.scheduler)
    return folder


def write_models(root: Path) -> dict[str, Path]:
    """A folder of each family, single files of those that come as such, and their `configs`."""
    families = {"sd1": SD1, "sd2": SD2, "sdxl": SDXL}
    models = {kind: write_folder(root / kind, family) for kind, family in families.items()}
    for kind in ("sd1", "sdxl"):
        models[f"{kind} file"] = write_checkpoint(models[kind], root / f"{kind}-tuned.safetensors")
        write_configs(models[kind], root / "configs" / kind)
    return models | {"configs": root / "configs"}


def write_checkpoint(folder: Path, path: Path) -> Path:
    """The weights of an SD 1.x or SDXL folder as one .safetensors file in the original's names."""
    text = load_file(folder / "text_encoder" / "model.safetensors")
    second = folder / "text_encoder_2" / "model.safetensors"
    prefix = "conditioner.embedders.0" if second.is_file() else "cond_stage_model"
    weights = {f"{prefix}.transformer.{key}": value for key, value in text.items()}
    if second.is_file():
        weights |= _open_clip("conditioner.embedders.1.model.", load_file(second))
    unet = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    attended = {key.split(".")[1] for key in unet if re.match(r"up_blocks\.\d\.attentions", key)}
    weights |= {"model.diffusion_model." + _unet_name(k, attended): v for k, v in unet.items()}
    vae = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    for key, value in vae.items():
        name = _vae_name(key)
        linear = ".attn_1." in name and value.ndim == 2  # there a 1 x 1 convolution
        weights["first_stage_model." + name] = value[:, :, None, None] if linear else value
    weights["alphas_cumprod"] = torch.linspace(1, 0, 1000)
    if second.is_file():  # what is there, too, and is not used
        weights["conditioner.embedders.1.model.logit_scale"] = torch.tensor(4.6)
        weights["denoiser.sigmas"] = torch.linspace(0.03, 14.6, 1000)
    else:
        weights["model_ema.decay"] = torch.tensor(0.9999)
        weights["model_ema.diffusion_modelinput_blocks00weight"] = torch.zeros(32, 4, 3, 3)
    save_file({key: value.contiguous() for key, value in weights.items()}, path)
    return path


def change_file(path: Path, out: Path, change) -> Path:
    """A copy of a .safetensors file with changed weights; `change` takes and returns a dict."""
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(change(load_file(path)), out, {"format": "pt"})
    return out


def in_dtype(dtype: torch.dtype):
    """A change for `change_file`."""
    return lambda weights: {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in weights.items()
    }


def old_merge(weights: dict) -> dict:
    """The text encoder's names as merges of the first year have them; for `change_file`."""
    new, old = "cond_stage_model.transformer.text_model.", "cond_stage_model.transformer."
    return {key.replace(new, old): value for key, value in weights.items()}


def without(*prefixes: str):
    """A change for `change_file`: without the weights whose names begin so."""
    return lambda weights: {k: v for k, v in weights.items() if not k.startswith(prefixes)}


def copy_layout(
    folder: Path, out: Path, half: tuple = (), full: tuple = (), pickled: tuple = ()
) -> Path:
    """A copy of a folder whose components `half` have weights in float16.

    Those in `full`, too, have full ones beside them. Those in `pickled` have .bin files only.
    """
    shutil.copytree(folder, out)
    for part in half:
        (path,) = (out / part).glob("*.safetensors")
        change_file(path, path.with_suffix(".fp16.safetensors"), in_dtype(torch.float16))
        if part not in full:
            path.unlink()
    for part in pickled:
        (path,) = (out / part).glob("*.safetensors")
        name = "pytorch_model.bin" if "text" in part else "diffusion_pytorch_model.bin"
        torch.save(load_file(path), path.with_name(name))
        path.unlink()
    return out


def write_configs(folder: Path, configs: Path) -> None:
    """The configs of a folder, as `assets/configs` has the full-size ones."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index = {key: value for key, value in index.items() if key not in UNSAFE}
    for path in folder.glob("*/*config.json"):
        if "tokenizer" not in path.parent.name:
            (configs / path.parent.name).mkdir(parents=True)
            (configs / path.parent.name / path.name).write_bytes(path.read_bytes())
    _write_json(configs / "model_index.json", index)


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_tokenizer(folder: Path, tokenizer, pad_token: str) -> None:
    """vocab.json and merges.txt, as before there was a tokenizer.json."""
    learned = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    folder.mkdir()
    _write_json(folder / "vocab.json", learned["vocab"])
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in learned["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    marks = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    marks |= {"unk_token": "<|endoftext|>", "pad_token": pad_token}
    _write_json(folder / "special_tokens_map.json", marks)
    about = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    _write_json(folder / "tokenizer_config.json", marks | about)


def _rename(path: Path, name) -> None:
    weights = {name(key): value for key, value in load_file(path).items()}
    save_file(weights, path, {"format": "pt"})


def _old_attention(key: str) -> str:
    """The VAE's attention as diffusers first called it."""
    for new, old in (
        ("to_q", "query"),
        ("to_k", "key"),
        ("to_v", "value"),
        ("to_out.0", "proj_attn"),
    ):
        key = key.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
    return key


def _text_name(key: str) -> str:
    """A weight of a text encoder as transformers first called it."""
    return key if key.startswith(("text_model.", "text_projection.")) else "text_model." + key


def _open_clip(prefix: str, weights: dict) -> dict:
    """transformers' weights of a text encoder -> those of OpenCLIP, queries, keys and values in
    one."""
    fixed = {
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.final_layer_norm.weight": "ln_final.weight",
        "text_model.final_layer_norm.bias": "ln_final.bias",
    }
    found = {name: weights[key] for key, name in fixed.items()}
    found["text_projection"] = weights["text_projection.weight"].T
    for key, value in weights.items():
        match = re.match(r"text_model\.encoder\.layers\.(\d+)\.(.*)\.(weight|bias)", key)
        if not match:
            continue
        layer, name, leaf = match.groups()
        block = f"transformer.resblocks.{layer}."
        if name == "self_attn.q_proj":
            parts = [weights[key.replace("q_proj", f"{x}_proj")] for x in "qkv"]
            found[f"{block}attn.in_proj_{leaf}"] = torch.cat(parts)
        elif not name.startswith(("self_attn.k", "self_attn.v")):
            for new, old in (
                ("self_attn", "attn"),
                ("layer_norm", "ln_"),
                ("fc1", "c_fc"),
                ("fc2", "c_proj"),
            ):
                name = name.replace(new, old)
            found[f"{block}{name}.{leaf}"] = value
    return {prefix + name: value for name, value in found.items()}


def _unet_name(key: str, attended: set[str]) -> str:
    """diffusers' name of a weight of an SD 1.x or SDXL UNet -> the original's.

    `attended` are the up blocks with attention.
    """
    per_block = 3  # two layers and a sampler
    fixed = {
        "conv_in": "input_blocks.0.0",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    stem, leaf = key.rsplit(".", 1)
    if stem in fixed:
        return f"{fixed[stem]}.{leaf}"
    if match := re.match(r"down_blocks\.(\d)\.(resnets|attentions|downsamplers)\.(\d)\.(.*)", key):
        block, kind, layer, rest = match.groups()
        if kind == "downsamplers":
            prefix = f"input_blocks.{per_block * int(block) + 3}.0.op"
            return f"{prefix}.{rest.removeprefix('conv.')}"
        prefix = f"input_blocks.{per_block * int(block) + int(layer) + 1}"
        return f"{prefix}.{int(kind == 'attentions')}.{_resnet(rest)}"
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key):
        kind, layer, rest = match.groups()
        number = 1 if kind == "attentions" else 2 * int(layer)
        return f"middle_block.{number}.{_resnet(rest)}"
    match = re.match(r"up_blocks\.(\d)\.(resnets|attentions|upsamplers)\.(\d)\.(.*)", key)
    block, kind, layer, rest = match.groups()
    if kind == "upsamplers":  # comes after the attention, where there is one
        return f"output_blocks.{per_block * int(block) + 2}.{1 + (block in attended)}.{rest}"
    prefix = f"output_blocks.{per_block * int(block) + int(layer)}"
    return f"{prefix}.{int(kind == 'attentions')}.{_resnet(rest)}"


def _resnet(rest: str) -> str:
    names = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "time_emb_proj": "emb_layers.1",
        "conv_shortcut": "skip_connection",
    }
    stem, leaf = rest.rsplit(".", 1)
    return f"{names.get(stem, stem)}.{leaf}"


def _vae_name(key: str) -> str:
    """The first diffusers' name of a weight of the VAE -> the original's."""
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    key = key.replace("mid_block.attentions.0.", "mid.attn_1.")
    for old, new in (
        ("group_norm", "norm"),
        ("query", "q"),
        ("key", "k"),
        ("value", "v"),
        ("proj_attn", "proj_out"),
    ):
        key = key.replace(f"mid.attn_1.{old}.", f"mid.attn_1.{new}.")
    key = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(
        r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}", key
    )
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", key)


def settled(pipeline):
    """The pipeline, frozen, each weight at the start of memory of its own.

    The last bits of a product depend on where its factors lie, and on whether they could be
    trained; files are read to wherever they lie in the file.
    """
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)
            for weight in part.parameters():
                weight.data = weight.data.clone(memory_format=torch.contiguous_format)
    return pipeline
