"""The training loop of all of Toonville's models: budget, schedule, weight average, checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from toonville.devices import autocast, clock
from toonville.layers import Network

LossFunction = Callable[[int], dict[str, Tensor]]
"""Step -> named losses, whose sum is minimised."""


@dataclass(frozen=True)
class Budget:
    """Length and hyperparameters of a training."""

    minutes: float
    """On a CPU these are CPU time, see devices.clock."""
    learning_rate: float
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay_share: float = 0.5
    """The learning rate falls linearly (to 2 %) over this last share of the time."""
    ema: float = 0.999
    """Decay of the exponential moving average of the weights, which is the result."""
    checkpoint_minutes: float = 3.0

    def learning_rate_at(self, step: int, elapsed_minutes: float) -> float:
        """Return the learning rate at a step and a time."""
        left = 1 - elapsed_minutes / self.minutes
        warm = min(1.0, (step + 1) / self.warmup_steps)
        return self.learning_rate * warm * max(0.02, min(1.0, left / self.decay_share))


@contextmanager
def _denormals_flushed() -> Iterator[None]:
    """Gradients so small are slow to compute and change nothing; it holds for the whole process."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@_denormals_flushed()
def train(
    name: str,
    model: Network,
    losses: LossFunction,
    budget: Budget,
    folder: Path,
    resume: bool = False,
    device: str = "cpu",
) -> Network:
    """Train a model until its minutes are over.

    Args:
        name: Of the checkpoint, `<folder>/<name>.pt`, and in the log.
        model: Changed in place.
        losses: Samples its batch from the step number, so that a resumed training has the batches
            of an uninterrupted one.
        budget: Minutes and hyperparameters.
        folder: Of the checkpoint.
        resume: Continue from the checkpoint, if there is one.
        device: "cpu" or "cuda". The model is moved there; the batches have to be there.

    Returns:
        A copy of the model with the average of its weights, on the CPU.
    """
    path, place = folder / f"{name}.pt", torch.device(device)
    model.to(place)
    average = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(
        model.parameters(),
        lr=budget.learning_rate,
        weight_decay=budget.weight_decay,
        betas=(0.9, 0.99),
        fused=True,
    )
    step, elapsed = 0, 0.0
    if resume and path.exists():
        state = torch.load(path, "cpu", weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, elapsed = int(state["step"]), float(state["elapsed"])

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "elapsed": elapsed,
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    folder.mkdir(parents=True, exist_ok=True)
    now = clock(place)
    last_tick = last_log = now()
    last_save, first_step = elapsed, step
    running: dict[str, float] = {}
    while elapsed < budget.minutes:
        for group in optimiser.param_groups:
            group["lr"] = budget.learning_rate_at(step, elapsed)
        with autocast(place):
            parts = {key: value.float() for key, value in losses(step).items()}
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(parts.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        _update_average(average, model, min(budget.ema, (step + 1) / (step + 10)))
        step += 1
        tick = now()
        elapsed, last_tick = elapsed + (tick - last_tick) / 60, tick
        for key, value in parts.items():
            running[key] = 0.98 * running.get(key, value.item()) + 0.02 * value.item()
        if tick - last_log > 20:
            last_log = tick
            text = " ".join(f"{k} {v:.4f}" for k, v in running.items())
            print(f"{name}: {elapsed:.1f} min, step {step}, {text}", flush=True)
        if elapsed - last_save > budget.checkpoint_minutes:
            last_save = elapsed
            save()
    if step > first_step:
        save()
    return average.cpu()


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    averaged: list[Tensor] = list(average.parameters())
    current: list[Tensor] = list(model.parameters())
    torch._foreach_lerp_(averaged, current, 1 - decay)
    for buffer, new in zip(average.buffers(), model.buffers(), strict=True):
        buffer.copy_(new)
