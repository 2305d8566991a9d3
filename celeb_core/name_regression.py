"""The initialisation without a calibration: a ridge regression over the names, per training.

The UNet predicts the noise of one noisy photo once for each celebrity's name. Regression leads from
these predictions to the names' coefficients; that of the true noise is the person's.
"""

from collections.abc import Generator
from functools import partial

import torch
from torch import Tensor

from celeb_core.basis import compose, person_embeddings, project
from celeb_core.denoising_loss import DenoisingLoss
from celeb_core.device import within_memory
from celeb_core.errors import TrainingDiverged
from celeb_core.formats.calibration_file import zero_correction
from celeb_core.prompt import PORTRAIT
from celeb_core.text_encoder import encode_texts
from celeb_core.types import CelebBasis

NAMES = 350  # at most, a random choice of the basis'
DIRECTIONS = 32  # of training, at most
PENALTY = 1.0  # of the regression, in mean squares of the names' predictions
NAMES_AT_ONCE = 16  # that pass the UNet


@torch.no_grad()
def regress_on_names(
    faces: Tensor, latents: Tensor, masks: Tensor, loss: DenoisingLoss, basis: CelebBasis
) -> Generator[None, None, dict[str, Tensor]]:
    """Fit the initialisation of n people, and the directions in which names differ on their photos.

    These are the leading principal components of the predictions, regressed to coefficients, one
    standard deviation of the names each. It is kernel regression: names are fewer than pixels.

    Args:
        faces: (n, 512) face embeddings of unit norm.
        latents: (n, b, c, h, w) b images of each, which get noise from `loss`.
        masks: (n, b, 1, h, w) as in `DenoisingLoss.backward`.
        loss: Of the training.
        basis: Of the names.

    Yields:
        After each of the n * b noisy latents, which takes a while.

    Returns:
        The tensors of a `CalibratedMapper`.

    Raises:
        TrainingDiverged: The predictions are not finite.
    """
    models, (n, b) = loss.models, latents.shape[:2]
    some = torch.randperm(len(basis.names), generator=torch.Generator().manual_seed(0))[:NAMES]
    names = torch.stack([person_embeddings(basis.names[i], basis, models) for i in some])
    coefficients, text = project(basis, names), PORTRAIT.format("<x>")
    embeddings = compose(basis, coefficients)
    noisy_latents, timesteps, target, weight = loss.add_noise(latents, masks)
    kernels = torch.zeros(n, len(names), len(names), dtype=torch.float64)
    products = torch.zeros(n, len(names), dtype=torch.float64)

    def predict(row: int) -> Tensor:
        predictions = []
        for part in embeddings.split(models.memory.micro_batch or NAMES_AT_ONCE):
            named, same = [{"x": one} for one in part], [row] * len(part)
            prompts = encode_texts([text] * len(part), named, basis.k, models.encoders)
            predictions.append(loss.predict(noisy_latents[same], timesteps[same], prompts))
        return torch.cat(predictions)

    for row in range(n * b):
        noise_pred = within_memory(models.memory, partial(predict, row))
        error, scale = target[row].float() - noise_pred.float(), weight[row].sqrt()
        mean = error.mean(0)
        centred = ((mean - error) * scale).flatten(1)
        kernels[row // b] += (centred @ centred.T).double().cpu()
        products[row // b] += (centred @ (mean * scale).flatten()).double().cpu()
        yield
    if not torch.isfinite(kernels).all():
        raise TrainingDiverged("The UNet's predictions are no numbers. Train in float32.")
    penalty = PENALTY * kernels.diagonal(dim1=1, dim2=2).mean(1)
    ridge = kernels + penalty[:, None, None] * torch.eye(len(names))
    rows = coefficients.flatten(1).double()
    centred = (rows - rows.mean(0)).T  # (k * p, names)
    found = rows.mean(0)[:, None] + centred @ torch.linalg.solve(ridge, products).T  # (k * p, n)
    _, vectors = torch.linalg.eigh(kernels.sum(0))  # the largest come last, the mean is the first
    directions = (centred @ vectors[:, 1:][:, -DIRECTIONS:] / len(names) ** 0.5).float()
    return {
        "down": torch.linalg.pinv(faces.cpu()).T.contiguous(),  # person i -> the unit vector i
        "up": found.float().contiguous(),
        "bias": torch.zeros(len(found)),
        "directions": directions,
        "correction": zero_correction(directions),
    }
