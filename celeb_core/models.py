"""The loaded diffusion model, frozen, and what its folder says about it.

Optional files of a model folder, each turning a feature on: `studio.json` (title, note for photos
without a face, defaults, whether its images need a safety check, its vocabulary), `faces/`
(insightface pack), `clip/`, `judge.onnx`, `reader.onnx` with `reader.json`, `names.txt`,
`basis.pt`, `calibration.safetensors`, `evaluation/`, `examples/` (of the page).
"""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor

from celeb_core.device import (
    MIXED,
    Memory,
    best_device,
    best_dtype,
    best_mode,
    checked_device,
    checked_mode,
    dtype_of,
)
from celeb_core.errors import FeatureMissing, ModelError
from celeb_core.files import read_json
from celeb_core.loading import load_pipeline, resolve, unet_size
from celeb_core.precision import store_in_bfloat16
from celeb_core.text_encoder import TextEncoder, text_encoders
from celeb_core.vocabulary import Vocabulary, parse_vocabulary

RECOMPILES = (
    128  # per block class; a new one for each width, image size, LoRA, and kind of gradient
)


@dataclass(frozen=True, eq=False)
class Models:
    """A diffusion model with all weights frozen, and what its folder says about it."""

    id: str  # what identities are labelled with: a hub id or a folder's name
    title: str
    note: str  # why it was chosen, where it runs
    folder: Path | None
    pipeline: Any  # diffusers.StableDiffusionPipeline or StableDiffusionXLPipeline
    encoders: tuple[TextEncoder, ...]  # with their tokenizers: one, or SDXL's two
    names: tuple[str, ...]  # celebrities known to the model; may be empty
    width: int  # pixels of an image of one person
    height: int
    steps: int  # what SampleConfig's None means
    guidance_scale: float  # diffusers' default where the folder names none
    scheduler_name: str | None  # a key of sampling.SCHEDULERS; None: its default
    dtype: str  # of UNet and VAE, one of DTYPES
    memory: Memory  # gets leaner when memory runs out
    device: torch.device  # of the UNet
    tiny_vae: Any = None  # diffusers.AutoencoderTiny that decodes generated images
    vocabulary: Vocabulary | None = None  # None: it is not said

    @property
    def unet(self) -> Any:
        """diffusers.UNet2DConditionModel."""
        return self.pipeline.unet

    @property
    def vae(self) -> Any:
        """diffusers.AutoencoderKL."""
        return self.pipeline.vae

    @property
    def scheduler(self) -> Any:
        """The scheduler as the model's folder configures it."""
        return self.pipeline.scheduler

    @property
    def networks(self) -> tuple[Any, ...]:
        """All that has weights."""
        return (self.unet, self.vae, *(encoder.model for encoder in self.encoders))


def load_models(
    model: str | Path = "auto",
    device: str | None = None,
    dtype: str | None = None,
    memory: str | None = None,
    compiled: bool = False,
    vae: str | None = None,
    allow_pickle: bool = False,
) -> Models:
    """Load a model, frozen. Text encoders stay in float32: the basis is made of their embeddings.

    Args:
        model: What `resolve` takes.
        device: "cuda", "cuda:1", "mps" or "cpu"; None is the first of these that is there.
        dtype: Of UNet and VAE, one of DTYPES; None is `best_dtype`.
        memory: One of MODES; None is `best_mode`.
        compiled: Compile the UNet's blocks when they are first used.
        vae: AutoencoderKL in place of the model's: a file, a folder or a hub id.
        allow_pickle: Read the tensors of pickled weights, too.

    Raises:
        ModelNotFound, ModelUnsupported: See `load_pipeline`.
        ModelError: Unknown device, dtype or memory mode, or PyTorch is too old to compile.
    """
    source, note = resolve(str(model))
    device = checked_device(device or best_device())
    memory = memory and checked_mode(memory)
    precision = dtype or best_dtype(device, unet_size(source, allow_pickle))
    weights = torch.bfloat16 if precision == MIXED else dtype_of(precision)
    pipeline = load_pipeline(source, weights, vae, allow_pickle)
    return models_from_pipeline(pipeline, source, note, device, precision, memory, compiled)


def models_from_pipeline(
    pipeline: Any,
    source: Path | str,
    note: str,
    device: str,
    precision: str,
    memory: str | None = None,
    compiled: bool = False,
) -> Models:
    """Freeze a pipeline that was loaded from `source`, move it to its device and describe it.

    UNet and VAE are in `precision`, one of DTYPES (in bfloat16 if that is MIXED). `note` says why
    this model was chosen; the rest is as in `load_models`.
    """
    encoders = text_encoders(pipeline)
    for part in (pipeline.unet, pipeline.vae, *(encoder.model for encoder in encoders)):
        part.requires_grad_(False).eval()
    if precision == MIXED:
        store_in_bfloat16(pipeline.unet)
        store_in_bfloat16(pipeline.vae)
    mode = memory or best_mode(pipeline, torch.device(device), dtype_of(precision))
    (pipeline.unet if mode == "offload" else pipeline).to(device)
    make_detachable(pipeline.unet)
    if compiled:
        try:  # not by torch.compiler.config: what is set there holds in one thread only
            pipeline.unet.compile_repeated_blocks(fullgraph=True, recompile_limit=RECOMPILES)
        except TypeError as error:
            raise ModelError("Compiling needs PyTorch 2.13 or later. Go on without it.") from error
    folder = source if isinstance(source, Path) and source.is_dir() else None
    about = read_about(folder)
    defaults = about.get("defaults", {})
    size = pipeline.unet.config.sample_size
    side = (size if isinstance(size, int) else max(size)) * pipeline.vae_scale_factor
    guidance = inspect.signature(type(pipeline).__call__).parameters["guidance_scale"].default
    name = source if isinstance(source, str) else source.stem if source.is_file() else source.name
    title = about.get("title") or name
    return Models(
        id=name,
        title=title,
        note=f"{title} on {device}: {note}",
        folder=folder,
        pipeline=pipeline,
        encoders=encoders,
        names=read_names(folder / "names.txt") if folder else (),
        width=int(defaults.get("width", side)),
        height=int(defaults.get("height", side)),
        steps=int(defaults.get("steps", 30)),
        guidance_scale=float(defaults.get("guidance", guidance)),
        scheduler_name=defaults.get("scheduler"),
        dtype=precision,
        memory=Memory(pipeline, torch.device(device), mode),
        device=torch.device(pipeline.unet.device),
        vocabulary=parse_vocabulary(about.get("vocabulary"), f"{folder}/studio.json"),
    )


def read_about(folder: Path | None) -> dict[str, Any]:
    """Read the studio.json of a model's folder; empty if there is none, or a damaged one."""
    return read_json(folder / "studio.json") if folder else {}


def make_detachable(unet: Any) -> None:
    """Let `denoising_loss.truncated_backward` detach what enters down blocks and self-attention.

    The hooks are never removed: compiled code has no guard on hooks, but one on the flag.
    """

    def detach(module: Any, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        if not module.detached:
            return None
        inputs = [x.detach() if isinstance(x, Tensor) else x for x in (*args, *kwargs.values())]
        return tuple(inputs[: len(args)]), dict(zip(kwargs, inputs[len(args) :], strict=True))

    attention = [module for module in unet.modules() if isinstance(module, Attention)]
    own = (module for module in attention if not module.is_cross_attention)
    for module in (*unet.down_blocks, *own):
        module.detached = False
        module.register_forward_pre_hook(detach, with_kwargs=True)


def read_names(path: Path) -> tuple[str, ...]:
    """Read a text file of names, one per line; empty if there is none.

    Raises:
        FeatureMissing: It is not UTF-8.
    """
    try:  # Windows' editor writes a mark in front
        text = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise FeatureMissing(f"{path} is no UTF-8 text ({error}). Save it as UTF-8.") from error
    return tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
