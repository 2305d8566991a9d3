"""The training loop of Toonville's models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from toonville.trainer import Budget, train

TARGET = torch.tensor([[1.0, -2.0]])


def fit(folder: Path, minutes: float, resume: bool = False) -> tuple[list[int], Tensor]:
    """Train towards TARGET; return the steps that were taken and the result."""
    model = nn.Linear(1, 2)
    steps: list[int] = []

    def losses(step: int) -> dict[str, Tensor]:
        steps.append(step)
        return {"fit": (model(torch.ones(1, 1)) - TARGET).square().mean()}

    budget = Budget(minutes, learning_rate=0.05, warmup_steps=1, ema=0.9)
    average = train("line", model, losses, budget, folder, resume)
    return steps, average(torch.ones(1, 1)).detach()


def test_learns_and_resumes_where_it_stopped(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, learned = fit(tmp_path, minutes=0.01)
    assert first == list(range(len(first)))
    torch.testing.assert_close(learned, TARGET, atol=0.05, rtol=0)
    none, resumed = fit(tmp_path, minutes=0.01, resume=True)
    assert none == []
    torch.testing.assert_close(resumed, learned)
    more, _ = fit(tmp_path, minutes=0.015, resume=True)
    assert more[0] == len(first)


def test_what_comes_after_a_training_has_denormals(tmp_path: Path) -> None:
    seen = []

    def losses(step: int) -> dict[str, Tensor]:
        seen.append(torch.tensor(1e-30) * 1e-10)
        return {"loss": model(torch.ones(1, 1)).sum()}

    model = nn.Linear(1, 1)
    train("model", model, losses, Budget(0.0001, learning_rate=0.1), tmp_path)
    assert not seen[0] and torch.tensor(1e-30) * 1e-10 > 0


def test_learning_rate_warms_up_and_falls_with_the_time() -> None:
    budget = Budget(10.0, learning_rate=1.0, warmup_steps=100, decay_share=0.5)
    assert budget.learning_rate_at(0, 0.0) == pytest.approx(0.01)
    assert budget.learning_rate_at(500, 5.0) == 1.0
    assert budget.learning_rate_at(500, 7.5) == pytest.approx(0.5)
    assert budget.learning_rate_at(500, 10.0) == pytest.approx(0.02)
