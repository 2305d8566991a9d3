"""Stable Diffusion 1.5 and SDXL at full size, random weights: the rows that `pytest -m gpu` prints.

In one process, so that it takes minutes; `python -m bench` measures in turns, each in its own.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from bench.variants import NAMES, begin_training, random_models
from bench.worker import forget_peak, measure, peak, summary, timed
from celeb_core.basis import build_basis, compose
from celeb_core.denoising_loss import DenoisingLoss
from celeb_core.device import best_dtype
from celeb_core.models import RECOMPILES
from celeb_core.prompt import parse_prompt
from celeb_core.sampling import generate
from celeb_core.training_run import Training
from celeb_core.types import CelebBasis, SampleConfig

TRAININGS = (
    "ours+bfloat16",
    "ours+float16",
    "ours+bfloat16+exact",
    "ours+bfloat16+compile",
    "textual-inversion",
    "official",
)
STEPS, IMAGE_STEPS = 20, 30
TINY_STEPS = 2
SCALE = 1024.0  # of the loss, for float16

HEAD = """| what | seconds | peak GiB | |
|---|---|---|---|"""


@dataclass(frozen=True)
class Row:
    """One line of the table; a comparison of gradients has a cosine in place of the costs."""

    what: str
    seconds: float | None = None
    peak: float | None = None
    note: str = ""
    cosine: float | None = None

    def __str__(self) -> str:
        costs = ["" if cost is None else f"{cost:.3g}" for cost in (self.seconds, self.peak)]
        note = self.note if self.cosine is None else f"cosine {self.cosine:.4f} {self.note}"
        return f"| {self.what} | {costs[0]} | {costs[1]} | {note.strip()} |"


def rows(device: str, tiny: bool = False) -> Iterator[Row]:
    """Measure everything on a device; with `tiny` sizes and few steps, to see that it runs.

    The tiny one compiles nothing: its blocks are only captured, as they are for compiling.
    """
    with ExitStack() as stack:
        if tiny:  # a compiler takes minutes on a CPU; forced backends ignore the model's own limit
            stack.enter_context(torch.compiler.set_stance(force_backend="eager"))
            stack.enter_context(torch._dynamo.config.patch(recompile_limit=RECOMPILES))
        yield from _basis_and_image("sd1", device, tiny)
        for name in TRAININGS:
            yield _training(name, device, tiny)
        yield from _gradients(device, tiny)
        yield from _basis_and_image("sdxl", device, tiny)


def _basis_and_image(family: str, device: str, tiny: bool) -> Iterator[Row]:
    _free()
    precision = best_dtype(device, 10**9)
    models = random_models(device, precision, family=family, tiny=tiny)
    bases: list[CelebBasis] = []
    images: list[Image.Image] = []
    forget_peak(device)
    seconds = timed(lambda: bases.append(build_basis(NAMES, models)), device)
    about = f"{len(NAMES)} names, ranks {bases[0].ranks}, the bundled model's tokenizer"
    yield Row(f"{family}: celeb basis", seconds, peak(device), about)
    config = SampleConfig(steps=TINY_STEPS if tiny else IMAGE_STEPS)
    prompt = parse_prompt("a photo", {})

    def sample() -> None:
        images[:] = generate(prompt, models, bases[0], config)

    warm = replace(config, steps=1)
    generate(prompt, models, bases[0], warm)  # libraries choose their kernels at the first call
    forget_peak(device)
    seconds = timed(sample, device)
    about = f"{precision}, memory mode {models.memory.mode}, {config.steps} steps with guidance"
    size = "{} x {}".format(*images[0].size)
    yield Row(f"{family}: an image of {size}", seconds, peak(device), about)


def _training(name: str, device: str, tiny: bool) -> Row:
    """A step of one image of SD 1.5, the median of some."""
    _free()
    steps = TINY_STEPS if tiny else STEPS
    result = measure(name + "+tiny" * tiny, device, 1, steps, image=False)
    cost = summary([result])
    about = f"{cost['about']}; {steps} steps, the first {result['steps'][0]:.3g} s"
    return Row(f"step: {name}", cost["with_share"], cost["peak"], about)


def _gradients(device: str, tiny: bool) -> Iterator[Row]:
    """Compare truncated with exact gradients, and compiled with eager ones, of the coefficients."""
    _free()
    models = random_models(device, best_dtype(device, 10**9), compiled=True, tiny=tiny)
    training, found = begin_training(models), {}
    batch = training.latents.batch(0)
    for mode in ("compiled", "eager"):
        for kind in ("truncated", "exact"):
            stance: AbstractContextManager[Any] = nullcontext()
            if mode == "eager":
                stance = torch.compiler.set_stance("force_eager")
            with stance:
                found[mode, kind] = _gradient(training, kind, batch)

    def cosine(a: Tensor, b: Tensor) -> float:
        return float(torch.cosine_similarity(a, b, dim=0))

    about = "random weights: says little about trained ones"
    both = found["eager", "truncated"], found["eager", "exact"]
    yield Row("gradients: truncated, exact", note=about, cosine=cosine(*both))
    for kind in ("truncated", "exact"):
        both = found["compiled", kind], found["eager", kind]
        yield Row(f"gradients: compiled, eager ({kind})", cosine=cosine(*both))


def _gradient(training: Training, kind: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    config = replace(training.loss.config, gradients=kind, nuisance_tokens=False)
    loss = DenoisingLoss(training.models, config, torch.Generator().manual_seed(0))
    coefficients = training.kept.detach().clone().requires_grad_()
    loss.backward(compose(training.basis, coefficients), *batch, SCALE)
    gradient: Tensor = coefficients.grad.flatten()  # type: ignore[union-attr]
    return gradient


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
