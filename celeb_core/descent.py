"""Steps down a loss, in any precision, and shorter ones towards the end."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from celeb_core.errors import TrainingDiverged

LEAST_SCALE = 1.0  # of a loss in float16: overflow below it is no matter of the scale


def descend(
    losses_at: Callable[[float], Tensor],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    step: int,
) -> Tensor:
    """One step of the optimizer down the mean of losses (n,) -> the losses.

    `losses_at` computes them, given the scale of the loss whose gradients will be asked for
    (`losses_in_pieces`). Gradients that overflow float16 are taken anew, of a loss scaled to half
    as much. Raises TrainingDiverged, which says that it was step number `step`.
    """
    while True:
        with torch.enable_grad():
            scale = scaler.get_scale()
            losses = losses_at(scale)
            loss = losses.mean()
            if not torch.isfinite(loss) or scale < LEAST_SCALE:
                raise TrainingDiverged(
                    f"The loss is no longer a number at step {step}. "
                    "Train again with a lower learning rate, or in float32."
                )
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() >= scale:  # it falls after an overflow, and only then
            return losses.detach()


def decay(step: int, steps: int) -> float:
    """Share of the learning rate after `step` of `steps` updates: linear, down to a tenth."""
    return 1 - 0.9 * step / max(1, steps)
