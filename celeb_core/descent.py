"""Steps down a loss, in any precision, and shorter ones towards the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from celeb_core.errors import TrainingDiverged

BETAS = (0.9, 0.999)  # of both moments, Adam's own defaults
LEAST_SCALE = 1.0  # of a loss in float16: overflow below it is no matter of the scale


class TensorAdam(torch.optim.Optimizer):
    """Adam whose second moment is one number per tensor, as NovoGrad's is per layer (Ginsburg et
    al. 2019, arXiv:1905.11286).

    Adam makes every coordinate's step as long, also of those whose gradients are noise alone. Here
    what the loss says little of moves little. Groups with `single=True` are treated so, others as
    by Adam. Bias is corrected as Adam's (Kingma & Ba 2015, algorithm 1).
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float) -> None:
        super().__init__(params, {"lr": lr, "single": True})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of all parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state, gradient = self.state[parameter], parameter.grad
                square = gradient.square()
                square = square.mean() if group["single"] else square
                if not state:
                    state["step"] = torch.zeros(())
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(square)
                state["step"] += 1
                state["exp_avg"].lerp_(gradient, 1 - BETAS[0])
                state["exp_avg_sq"].lerp_(square, 1 - BETAS[1])
                first, second = (1 - beta ** state["step"].item() for beta in BETAS)
                length = (state["exp_avg_sq"] / second).sqrt() + 1e-12
                parameter.sub_(group["lr"] * state["exp_avg"] / first / length)


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
