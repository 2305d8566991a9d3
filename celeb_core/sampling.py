"""Prompt -> images by the model's own diffusers pipeline; schedulers, previews."""

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import diffusers
import torch
from PIL import Image
from torch import Tensor

from celeb_core.checks import MOST, SEEDS, number, shown
from celeb_core.device import exact_vae, within_memory
from celeb_core.errors import ModelUnsupported
from celeb_core.models import Models
from celeb_core.prompt import encode_negative, encode_prompt, known_names
from celeb_core.regions import RegionalAttention, RegionalPrompt, encode_regions
from celeb_core.types import CelebBasis, Prompt, PromptEmbeds, SampleConfig

DEFAULT_SCHEDULER = "dpm++ 2m karras"
DPM = ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"})
SCHEDULERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    DEFAULT_SCHEDULER: (DPM[0], {**DPM[1], "use_karras_sigmas": True}),
    "dpm++ 2m": DPM,
    "ddim": ("DDIMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler a": ("EulerAncestralDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}
"""Name -> diffusers class and the options that are set on it."""

MOST_STEPS = 1000  # as many timesteps as there are
COLUMN, MAX_COLUMNS = 0.75, 4  # width of each of several people, over that of an image of one
MAX_SIDE, MAX_GUIDANCE = 4096, 1000.0  # pixels; far beyond what gives an image


class _Stopped(Exception):
    """Carries a stop request out of the pipeline."""


def generate(
    prompt: Prompt,
    models: Models,
    basis: CelebBasis,
    config: SampleConfig | None = None,
    *,
    on_step: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Image.Image]:
    """Generate `config.num_images` images; image i depends on seed + i only.

    Args:
        prompt: Of `parse_prompt`.
        models: Of `load_models`.
        basis: Of the prompt's identities.
        config: Every number; the model's defaults without one.
        on_step: Gets the denoising steps that are done, over all images, and their total.
        should_stop: When it turns true, the images that are finished are returned.

    Returns:
        RGB images of the size of `image_size`.

    Raises:
        PromptTooLong: It has more tokens than the text encoder reads.
        BasisMismatch: An identity belongs to another basis.
        ModelUnsupported: There is no such scheduler.
        SettingsError: A number is out of its range.
        MemoryShort: Memory ran out in the leanest mode.
    """
    config = config or SampleConfig()
    prompts = [prompt] * number(config.num_images, "Number of images", 0, MOST)
    return generate_each(prompts, models, basis, config, on_step=on_step, should_stop=should_stop)


def generate_each(
    prompts: Sequence[Prompt],
    models: Models,
    basis: CelebBasis,
    config: SampleConfig | None = None,
    *,
    on_step: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_latents: Callable[[Any, Tensor], None] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Image.Image]:
    """Generate one image for each prompt, number i from seed + i; otherwise like `generate`.

    `seeds` are those of the images in place of seed + i. `on_latents` gets the pipeline and the
    latents (b, c, h, w) after each denoising step.
    """
    config = config or SampleConfig()
    check_config(config, models)
    steps = models.steps if config.steps is None else config.steps
    guidance = models.guidance_scale if config.guidance_scale is None else config.guidance_scale
    inputs = _encode_all(prompts, models, basis, config)
    pipeline = _pipeline(models, config.scheduler)
    images: list[Image.Image] = []
    every = seeds or range(config.seed, config.seed + len(prompts))

    def generate_batch() -> list[Image.Image]:
        most = models.memory.micro_batch or config.batch_size
        shape, rest = inputs[len(images)].shape, inputs[len(images) : len(images) + most]
        batch = list(itertools.takewhile(lambda one: one.shape == shape, rest))
        width, height = batch[0].size
        own = every[len(images) :][: len(batch)]
        attention = _regional_attention(batch, config, steps, pipeline)

        def after_step(pipe: Any, index: int, timestep: Any, state: dict[str, Any]) -> Any:
            if on_step is not None:
                on_step(len(images) * steps + (index + 1) * len(batch), len(prompts) * steps)
            if attention is not None:
                attention.after_step(index + 1)
            if on_latents is not None:
                on_latents(pipe, state["latents"])
            if should_stop is not None and should_stop():
                raise _Stopped
            return state

        half = models.vae.dtype == torch.float16
        try:
            with attention.applied(models.unet) if attention else contextlib.nullcontext():
                result: list[Image.Image] = pipeline(
                    **_as_arguments("", [one.positive for one in batch]),
                    **_as_arguments("negative_", [one.negative for one in batch]),
                    num_inference_steps=steps,
                    guidance_scale=guidance,
                    width=width,
                    height=height,
                    # On the CPU, so that a seed gives the same image on every device.
                    generator=[torch.Generator().manual_seed(seed) for seed in own],
                    callback_on_step_end=after_step,
                ).images
        finally:  # diffusers leaves a VAE that it upcast in float32 when memory runs out
            if half and models.vae.dtype != torch.float16:
                models.vae.half()
        return result

    try:
        while len(images) < len(prompts):
            images += within_memory(models.memory, generate_batch)
    except _Stopped:
        pass
    models.memory.offload_vae()
    return images


def check_config(config: SampleConfig, models: Models) -> None:
    """Check how images are to be generated, before anything is encoded or loaded.

    Raises:
        ModelUnsupported: There is no such scheduler.
        SettingsError: A number is out of its range; LCM has fewer steps than others.
    """
    schedule = make_scheduler(models, config.scheduler).config
    most = schedule.get("original_inference_steps") or schedule.num_train_timesteps
    name = f"Steps of {config.scheduler}" if most < MOST_STEPS and config.scheduler else "Steps"
    ranges = (
        (config.seed, "Seed", *SEEDS), (config.batch_size, "Batch size", 1, MOST),
        (config.steps, name, 1, min(most, MOST_STEPS)), (config.width, "Width", 1, MAX_SIDE),
        (config.height, "Height", 1, MAX_SIDE),
    )  # fmt: skip
    for value, label, low, high in ranges:
        if value is not None:  # the model's own
            number(value, label, low, high)
    if config.regions is not None:
        number(config.regions.strength, "Region strength", 0, 1, whole=False)
        number(config.regions.self_attention_share, "Share of steps", 0, 1, whole=False)
    if config.guidance_scale is not None:
        number(config.guidance_scale, "Guidance scale", 0, MAX_GUIDANCE, whole=False)


def image_size(
    prompt: Prompt, models: Models, names: Sequence[str], config: SampleConfig
) -> tuple[int, int]:
    """Return width and height in pixels: as configured, or the model's, wider for several people.

    People are the prompt's identities and the celebrities of `names` that it mentions. Rounded to
    multiples that VAE and UNet halve without remainder.
    """
    people = len(prompt.identities) + len(known_names(prompt.text, names))
    width = config.width or models.width * max(1.0, COLUMN * min(people, MAX_COLUMNS))
    height = config.height or models.height
    unit = models.pipeline.vae_scale_factor * 2 ** (len(models.unet.config.down_block_types) - 1)
    return max(unit, round(width / unit) * unit), max(unit, round(height / unit) * unit)


def make_scheduler(models: Models, name: str | None = None) -> Any:
    """Make a fresh scheduler; None is the model's default, or DPM-Solver++ where it fits.

    Raises:
        ModelUnsupported: There is no scheduler of that name.
    """
    chosen = name or models.scheduler_name or DEFAULT_SCHEDULER
    if not isinstance(chosen, str) or chosen not in SCHEDULERS:
        raise ModelUnsupported(
            f"There is no scheduler {shown(chosen)}. Choose one of: {', '.join(SCHEDULERS)}."
        )
    kind, options = SCHEDULERS[chosen]
    cls = getattr(diffusers, kind)
    if name is None and cls not in models.scheduler.compatibles:
        return type(models.scheduler).from_config(models.scheduler.config)
    return cls.from_config(models.scheduler.config, **options)


def decode_preview(pipeline: Any, latents: Tensor) -> list[Image.Image]:
    """Decode latents (b, c, h, w) after a step, without the noise where the scheduler knows it."""
    scheduler = pipeline.scheduler
    if scheduler.config.get("predict_x0") or "++" in scheduler.config.get("algorithm_type", ""):
        latents = scheduler.model_outputs[-1]  # its estimate of the finished latents
    shift = getattr(pipeline.vae.config, "shift_factor", None) or 0.0
    with torch.no_grad(), exact_vae(pipeline.vae) as vae:
        clean = latents.to(vae.dtype) / vae.config.scaling_factor + shift
        pixels = vae.decode(clean, return_dict=False)[0]
    return list(pipeline.image_processor.postprocess(pixels))


@dataclass(frozen=True, eq=False)
class _Input:
    """What the pipeline gets for one image."""

    positive: PromptEmbeds
    negative: PromptEmbeds
    size: tuple[int, int]  # width and height in pixels
    regional: RegionalPrompt | None  # whose embeds `positive` is

    @property
    def shape(self) -> Any:
        """Equal for all that can be in one batch."""
        return self.size, self.positive.hidden_states.shape, self.regional is None


def _encode_all(
    prompts: Sequence[Prompt], models: Models, basis: CelebBasis, config: SampleConfig
) -> list[_Input]:
    """Encode each prompt and the negative one, which may name all whom the prompt could name."""
    # SDXL's unconditional input is zeros instead of an empty text.
    force = models.pipeline.config.get("force_zeros_for_empty_prompt")
    zeros = not config.negative_prompt and force
    encoded: dict[int, _Input] = {}
    for key, prompt in {id(prompt): prompt for prompt in prompts}.items():
        _, negative = encode_negative(config.negative_prompt, prompt, basis, models)
        negative = negative.map(torch.zeros_like) if zeros else negative
        size = image_size(prompt, models, basis.names, config)
        regions = config.regions
        found = encode_regions(prompt, basis, models, regions) if regions else None
        if found:  # the same negative prompt for each text
            states = negative.hidden_states.repeat(1, found.texts, 1)
            negative = replace(negative, hidden_states=states)
        positive = found.embeds if found else encode_prompt(prompt, basis, models)
        encoded[key] = _Input(positive, negative, size, found)
    return [encoded[id(prompt)] for prompt in prompts]


def _regional_attention(
    batch: Sequence[_Input], config: SampleConfig, steps: int, pipeline: Any
) -> RegionalAttention | None:
    """Return the attention of a batch; None without regions."""
    prompts = [one.regional for one in batch if one.regional]
    if not config.regions or not prompts:
        return None
    width, height = (side // pipeline.vae_scale_factor for side in batch[0].size)
    bounded = round(config.regions.self_attention_share * steps)
    return RegionalAttention(prompts, (height, width), bounded)


def _as_arguments(prefix: str, embeds: Sequence[PromptEmbeds]) -> dict[str, Tensor]:
    """Name them as diffusers' pipelines do."""
    arguments = {f"{prefix}prompt_embeds": torch.cat([one.hidden_states for one in embeds])}
    pooled = [one.pooled for one in embeds if one.pooled is not None]
    if pooled:
        arguments[f"{prefix}pooled_prompt_embeds"] = torch.cat(pooled)
    return arguments


def _pipeline(models: Models, scheduler: str | None) -> Any:
    """Build a pipeline of the same weights with a scheduler of its own: schedulers have state.

    Without text encoders it takes the UNet's dtype for the embeds that it is given.
    """
    parts = {**models.pipeline.components, "scheduler": make_scheduler(models, scheduler)}
    parts |= {name: None for name in parts if name.startswith(("text_encoder", "tokenizer"))}
    parts["vae"] = models.tiny_vae or models.vae
    unchecked = {"requires_safety_checker": False} if "safety_checker" in parts else {}
    pipeline = type(models.pipeline)(**parts, **unchecked)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
