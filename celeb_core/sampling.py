"""Prompt -> pictures, by the model's own diffusers pipeline."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from celeb_core.errors import ModelUnsupported, PromptError
from celeb_core.memory import within_memory
from celeb_core.previews import Previews
from celeb_core.prompt import encode_prompt, known_names, parse_prompt
from celeb_core.types import CelebBasis, Prompt, PromptEmbeds, SampleConfig

if TYPE_CHECKING:
    from celeb_core.models import Models

DEFAULT_SCHEDULER = "dpm++ 2m karras"
SCHEDULERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    DEFAULT_SCHEDULER: (
        "DPMSolverMultistepScheduler",
        {"use_karras_sigmas": True, "algorithm_type": "dpmsolver++"},
    ),
    "dpm++ 2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "ddim": ("DDIMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler a": ("EulerAncestralDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}
"""Name -> diffusers class and what is set on it."""


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
    """Draw `config.num_images` pictures; picture i depends on seed + i only.

    `on_step(done, total)` counts denoising steps over all pictures. When `should_stop()` turns
    true, the pictures finished so far are returned. Raises PromptTooLong, UnknownName,
    BasisMismatch, ModelUnsupported.
    """
    config = config or SampleConfig()
    prompts = [prompt] * config.num_images
    return generate_each(prompts, models, basis, config, on_step=on_step, should_stop=should_stop)


def generate_each(
    prompts: Sequence[Prompt],
    models: Models,
    basis: CelebBasis,
    config: SampleConfig | None = None,
    *,
    on_step: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    previews: Previews | None = None,
) -> list[Image.Image]:
    """Draw one picture for each prompt, number i from seed + i; otherwise like `generate`.

    `previews` shows the pictures under way now and then. With `config.delay` people come late, as
    by the delayed subject conditioning of FastComposer (Xiao et al. 2023, arXiv:2305.10431).
    """
    config = config or SampleConfig()
    if not 0 <= config.delay <= 1:
        raise PromptError(f"A delay of {config.delay} is no share of the steps. Take 0 to 1.")
    steps = models.steps if config.steps is None else config.steps
    states = first = _text_states(prompts, models, basis, config.negative_prompt)
    if late := round(config.delay * steps):
        first = _text_states(prompts, models, basis, config.negative_prompt, of_anybody=True)
    sizes = [picture_size(prompt, models, basis.names, config) for prompt in prompts]
    pipeline = _pipeline(models, config.scheduler)
    pictures: list[Image.Image] = []

    def draw() -> list[Image.Image]:
        """The next few."""
        most = models.memory.piece or config.batch_size
        batch = _next_batch(sizes, len(pictures), most)

        def after_step(pipe: Any, index: int, timestep: Any, state: dict[str, Any]) -> Any:
            if on_step is not None:
                now = len(pictures) * steps + (index + 1) * len(batch)
                on_step(now, len(prompts) * steps)
            if previews is not None:
                previews.look(pipe, state["latents"])
            if should_stop is not None and should_stop():
                raise _Stopped
            if index + 1 == late:
                state |= _from_now_on([states[i] for i in batch], pipe, state["latents"].device)
            return state

        width, height = sizes[batch[0]]
        drawn: list[Image.Image] = pipeline(
            **_as_arguments("", [first[i][0] for i in batch]),
            **_as_arguments("negative_", [first[i][1] for i in batch]),
            num_inference_steps=steps,
            guidance_scale=models.guidance if config.guidance is None else config.guidance,
            width=width,
            height=height,
            # On the CPU, so that a seed is the same picture on every device.
            generator=[torch.Generator().manual_seed(config.seed + i) for i in batch],
            callback_on_step_end=after_step,
        ).images
        return drawn

    try:
        while len(pictures) < len(prompts):
            pictures += within_memory(models, draw)
    except _Stopped:
        pass
    models.memory.rest()
    return pictures


def picture_size(
    prompt: Prompt, models: Models, names: Sequence[str], config: SampleConfig
) -> tuple[int, int]:
    """Width and height in pixels: as configured, or the model's, wider for two or more people.

    People are the prompt's identities and the celebrities among `names` that it mentions.

    Rounded to multiples that the VAE and the UNet halve without remainder.
    """
    people = len(prompt.identities) + len(known_names(prompt.text, names))
    width = config.width or models.width * (1.5 if people > 1 else 1.0)
    height = config.height or models.height
    unit = models.pipeline.vae_scale_factor * 2 ** (len(models.unet.config.down_block_types) - 1)
    return max(unit, round(width / unit) * unit), max(unit, round(height / unit) * unit)


def make_scheduler(models: Models, name: str | None = None) -> Any:
    """A fresh scheduler; None is the model's default, or DPM-Solver++ where it is compatible.

    Raises ModelUnsupported for an unknown name.
    """
    import diffusers

    chosen = name or models.scheduler_name or DEFAULT_SCHEDULER
    if chosen not in SCHEDULERS:
        raise ModelUnsupported(
            f"There is no scheduler “{chosen}”. Choose one of: {', '.join(SCHEDULERS)}."
        )
    kind, options = SCHEDULERS[chosen]
    cls = getattr(diffusers, kind)
    if name is None and cls not in models.scheduler.compatibles:
        return type(models.scheduler).from_config(models.scheduler.config)
    return cls.from_config(models.scheduler.config, **options)


def _text_states(
    prompts: Sequence[Prompt],
    models: Models,
    basis: CelebBasis,
    negative: str,
    of_anybody: bool = False,
) -> list[tuple[PromptEmbeds, PromptEmbeds]]:
    """What is wanted and what is not, per prompt; each distinct prompt encoded once.

    `of_anybody`: with the celebrities' mean in place of its people.
    """
    known: dict[int, tuple[PromptEmbeds, PromptEmbeds]] = {}
    # SDXL's answer to nothing that is not wanted: not the states of an empty text, but zeros.
    zeros = not negative and models.pipeline.config.get("force_zeros_for_empty_prompt", False)
    for prompt in prompts:
        if id(prompt) not in known:
            people = prompt.identities
            if of_anybody:
                people = dict.fromkeys(people, basis.mean)
            unwanted = encode_prompt(parse_prompt(negative, people), basis, models)
            known[id(prompt)] = (
                encode_prompt(Prompt(prompt.text, people), basis, models),
                unwanted.zeros() if zeros else unwanted,
            )
    return [known[id(prompt)] for prompt in prompts]


def _as_arguments(prefix: str, said: Sequence[PromptEmbeds]) -> dict[str, Tensor]:
    """As diffusers' pipelines take them."""
    arguments = {f"{prefix}prompt_embeds": torch.cat([one.states for one in said])}
    pooled = [one.pooled for one in said if one.pooled is not None]
    if pooled:
        arguments[f"{prefix}pooled_prompt_embeds"] = torch.cat(pooled)
    return arguments


def _from_now_on(
    said: Sequence[tuple[PromptEmbeds, PromptEmbeds]], pipe: Any, device: torch.device
) -> dict[str, Tensor]:
    """What is wanted and what is not, as a callback of diffusers' pipelines puts it in place of
    what they were called with."""
    both = {"prompt_embeds": "prompt_embeds", "add_text_embeds": "pooled_prompt_embeds"}
    wanted = _as_arguments("", [one for one, _ in said])
    unwanted = _as_arguments("", [other for _, other in said])
    parts = [unwanted, wanted] if pipe.do_classifier_free_guidance else [wanted]
    return {
        theirs: torch.cat([part[ours] for part in parts]).to(device, pipe.unet.dtype)
        for theirs, ours in both.items()
        if ours in wanted
    }


def _next_batch(sizes: Sequence[tuple[int, int]], first: int, most: int) -> list[int]:
    """Indices from `first` on, of one size and at most `most`."""
    same = itertools.takewhile(lambda i: sizes[i] == sizes[first], range(first, len(sizes)))
    return list(itertools.islice(same, most))


def _pipeline(models: Models, scheduler: str | None) -> Any:
    """A pipeline of the same weights with a scheduler of its own: schedulers have state.

    Without text encoders it takes the UNet's precision for the text states that it is given.
    """
    parts = {**models.pipeline.components, "scheduler": make_scheduler(models, scheduler)}
    parts |= {name: None for name in parts if name.startswith(("text_encoder", "tokenizer"))}
    unchecked = {"requires_safety_checker": False} if "safety_checker" in parts else {}
    pipeline = type(models.pipeline)(**parts, **unchecked)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
