"""The closed-form initialisation, refined by photos of people whose names nobody has to know.

The closed form learns from faces that the model generated, and those are never quite the faces of
the embeddings that they were generated from. A photo needs no embeddings: the recogniser says
whose face it is, and the denoising loss how well embeddings fit it. So one linear map is trained
for all photos at once, as the paper's mapper is for ten people.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from celeb_core.augmentation import AugmentedLatents
from celeb_core.basis import compose
from celeb_core.denoising_loss import DenoisingLoss
from celeb_core.device import loss_scaler, within_memory
from celeb_core.errors import FeatureMissing
from celeb_core.formats.calibration_file import check_basis
from celeb_core.mapper import linear_decay, optimiser_step
from celeb_core.models import Models
from celeb_core.types import PRESETS, Calibration, CelebBasis, Face, Person

MIN_PHOTOS = 100  # fewer would be learned by heart: the map has 512 numbers per coefficient
RANK = 128  # of the map as it is stored


@dataclass(frozen=True)
class RefineConfig:
    """Every number of a refinement."""

    steps: int = 3000
    batch_size: int = 16  # photos per step
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


def refine_initialisation(
    initial: Calibration,
    photos: Sequence[Face],
    models: Models,
    basis: CelebBasis,
    config: RefineConfig | None = None,
) -> Iterator[RefineStep]:
    """Train the map of a calibration on photos, one of each person; nothing else of it changes.

    Yields:
        A step after every update; they are deterministic for the seed of the config.

    Raises:
        FeatureMissing: There are fewer than MIN_PHOTOS photos.
        BasisMismatch: `initial` is of another basis.
        TrainingDiverged: The loss is not finite.
    """
    config = config or RefineConfig()
    check_basis(initial, basis)
    if len(photos) < MIN_PHOTOS:
        raise FeatureMissing(
            f"{len(photos)} photos with a face are too few to learn from; {MIN_PHOTOS} are "
            "needed, and a few thousand are better. Add photos of other people."
        )
    people = [Person(f"photo {i}", (face,)) for i, face in enumerate(photos)]
    # Exact gradients: once per model, no time has to be saved. No nuisance tokens: none of so many
    # photos is learned by heart.
    plain = PRESETS["best"].changed(
        seed=config.seed, min_scale=1.0, gradients="exact", nuisance_tokens=False
    )
    generator = torch.Generator().manual_seed(plain.seed)
    loss = DenoisingLoss(models, plain.loss, generator)
    views = AugmentedLatents(people, models, plain, generator)
    encoded = [views.encode(i, 1, 0) for i in range(len(people))]
    latents, masks = (torch.stack(part) for part in zip(*encoded, strict=True))  # (n, 1, ...)
    faces = torch.stack([face.embedding for face in photos]).float().to(models.device)
    weight = (initial.up @ initial.down).to(faces).requires_grad_()
    bias = initial.bias.clone().to(faces).requires_grad_()
    kept = [weight.detach().clone(), bias.detach().clone()]
    optimiser = torch.optim.Adam([weight, bias], betas=(0.9, 0.99))
    scaler = loss_scaler(models.device, models.unet.dtype)
    shuffle = torch.Generator().manual_seed(config.seed)

    def backward(rows: Tensor, scale: float) -> Tensor:
        coefficients = (faces[rows] @ weight.T + bias).unflatten(1, (basis.k, basis.p))
        return loss.backward(compose(basis, coefficients), latents[rows], masks[rows], scale)

    def update(step: int, rows: Tensor, state: Tensor) -> Tensor:
        generator.set_state(state)  # every attempt has the same noise
        return optimiser_step(partial(backward, rows), optimiser, scaler, step)

    def result() -> Calibration:
        u, s, vh = torch.linalg.svd(kept[0], full_matrices=False)
        roots = s[:RANK].sqrt()
        down, up = roots[:, None] * vh[:RANK], u[:, :RANK] * roots
        return replace(initial, down=down.cpu(), up=up.cpu(), bias=kept[1].cpu().clone())

    for step in range(1, config.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * linear_decay(step - 1, config.steps)
        rows = torch.randperm(len(faces), generator=shuffle)[: config.batch_size].to(faces.device)
        losses = within_memory(models.memory, partial(update, step, rows, generator.get_state()))
        # Little of the initial map is to be left, so the average is short at first.
        share = 1 - min(config.ema, step / (step + 10))
        for average, now in zip(kept, (weight, bias), strict=True):
            average.lerp_(now.detach(), share)
        yield RefineStep(step, config.steps, losses.mean().item(), result)
