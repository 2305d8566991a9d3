"""The way from a face to coefficients, refined by photos of people whom nobody has to know.

The closed form of `celeb_core.start` learns from faces that the model drew, and those are never
quite the faces of the words that they were drawn from. A photo needs no words: the recogniser
says whose face it is, and the denoising loss (METHOD.md §1.5) how well words say it. So one
linear map is trained for all photos at once, as the paper's mapper is for ten people, and what it
gives for a face that it never saw is the start of a new person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from celeb_core.basis import compose
from celeb_core.denoising import Denoising
from celeb_core.descent import decay, descend
from celeb_core.devices import loss_scaler
from celeb_core.errors import FeatureMissing
from celeb_core.memory import within_memory
from celeb_core.presets import PRESETS
from celeb_core.start import check_basis
from celeb_core.types import Calibration, CelebBasis, Face, Person

if TYPE_CHECKING:
    from celeb_core.models import Models

FEWEST_PHOTOS = 100  # fewer would be learned by heart: the map has 512 numbers per coefficient
RANK = 128  # of the map as it is stored


@dataclass(frozen=True)
class RefineConfig:
    """Every number of a refinement."""

    steps: int = 3000
    people: int = 16  # photos per step
    learning_rate: float = 1e-3  # falls linearly to a tenth of itself
    ema: float = 0.98  # decay of the moving average of the map that is kept
    seed: int = 0


@dataclass(frozen=True, eq=False)
class RefineStep:
    """Progress of a refinement."""

    step: int
    steps: int
    loss: float
    result: Callable[[], Calibration]  # as after this step; call it before the next one


def refine_start(
    start: Calibration,
    photos: Sequence[Face],
    models: Models,
    basis: CelebBasis,
    config: RefineConfig | None = None,
) -> Iterator[RefineStep]:
    """Train the map of `start` on photos, one of each person; yields after every step.

    Only the map changes. Deterministic for a seed. Raises FeatureMissing below FEWEST_PHOTOS,
    BasisMismatch if `start` is of another basis, TrainingDiverged.
    """
    config = config or RefineConfig()
    check_basis(start, basis)
    if len(photos) < FEWEST_PHOTOS:
        raise FeatureMissing(
            f"{len(photos)} photos with a face are too few to learn from; {FEWEST_PHOTOS} are "
            "needed, and a few thousand are better. Add photos of other people."
        )
    people = [Person(f"photo {i}", (face,)) for i, face in enumerate(photos)]
    # Exact gradients: once per model, no time has to be saved. And none of so many photos is
    # learned by heart.
    plain = replace(
        PRESETS["best"], seed=config.seed, smallest=1.0, gradients="exact", photo_words=False
    )
    denoising = Denoising(people, models, plain)
    faces = torch.stack([face.embedding for face in photos]).float().to(models.device)
    seen = [denoising.encode(i, 1, 0) for i in range(len(people))]
    latents = torch.stack([one[0] for one in seen])  # (n, 1, c, h, w)
    heads = torch.stack([one[1] for one in seen])
    weight = (start.up @ start.down).to(faces).requires_grad_()
    bias = start.bias.clone().to(faces).requires_grad_()
    kept = [weight.detach().clone(), bias.detach().clone()]
    optimizer = torch.optim.Adam([weight, bias], betas=(0.9, 0.99))
    scaler = loss_scaler(models.device, models.unet.dtype)
    generator = torch.Generator().manual_seed(config.seed)

    def losses_of(rows: Tensor, scale: float) -> Tensor:
        flat = faces[rows] @ weight.T + bias
        words = compose(basis, flat.unflatten(1, (basis.k, basis.p)))
        return denoising.losses(words, latents[rows], heads[rows], scale)

    def update(step: int, rows: Tensor, drawn: Tensor) -> Tensor:
        denoising.generator.set_state(drawn)  # every attempt sees the same noise
        return descend(partial(losses_of, rows), optimizer, scaler, step)

    def result() -> Calibration:
        down, up = _in_two(kept[0])
        return replace(start, down=down.cpu(), up=up.cpu(), bias=kept[1].cpu().clone())

    for step in range(1, config.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * decay(step - 1, config.steps)
        rows = torch.randperm(len(faces), generator=generator)[: config.people].to(faces.device)
        drawn = denoising.generator.get_state()
        losses = within_memory(models, partial(update, step, rows, drawn))
        # Of the start's own map little shall be left, so the average is short at first.
        share = 1 - min(config.ema, step / (step + 10))
        for average, now in zip(kept, (weight, bias), strict=True):
            average.lerp_(now.detach(), share)
        yield RefineStep(step, config.steps, losses.mean().item(), result)


def _in_two(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A map (k * p, 512) -> down (r, 512), up (k * p, r) of its RANK largest singular values."""
    u, s, vh = torch.linalg.svd(weight, full_matrices=False)
    roots = s[:RANK].sqrt()
    return roots[:, None] * vh[:RANK], u[:, :RANK] * roots
