"""The loss curve as `gr.LinePlot` wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import pandas as pd

RAW, SMOOTH = "each step", "smoothed"
# Readable on white and on black. People have numbers: the plot must know its series beforehand.
COLOURS = {
    RAW: "#94a3b8",
    SMOOTH: "#6366f1",
    "person 1": "#6366f1",
    "person 2": "#f59e0b",
    "person 3": "#10b981",
    "person 4": "#f43f5e",
    "person 5": "#0ea5e9",
    "person 6": "#a855f7",
}
PEOPLE = [series for series in COLOURS if series.startswith("person")]
POINTS = 300  # more only slows the browser down
MEMORY = 0.9  # of the moving average

Losses: TypeAlias = Sequence[tuple[int, tuple[float, ...]]]
"""Step, and each person's loss."""


def curve(losses: Losses) -> pd.DataFrame:
    """Lay out the losses for the plot: about POINTS rows, and one of each series.

    One person, or too many to be told apart: the mean, each step and smoothed. Several: one
    smoothed line each. Every series is in every frame, as a row without a value: the plot never
    shows one that it meets later.

    Returns:
        Columns step (int), loss (float), series (str).
    """
    seeds = pd.DataFrame({"step": 0, "loss": float("nan"), "series": list(COLOURS)})
    if not losses:
        return _typed(seeds)
    steps = [step for step, _ in losses]
    each = pd.DataFrame([values for _, values in losses], index=steps)
    if 1 < each.shape[1] <= len(PEOPLE):
        lines = dict(zip(PEOPLE, _smoothed(each).T.values, strict=False))
    else:
        mean = each.mean(axis=1).to_frame()
        lines = {RAW: mean[0].to_numpy(), SMOOTH: _smoothed(mean)[0].to_numpy()}
    every = -(-len(steps) * len(lines) // POINTS)
    points = slice((len(steps) - 1) % every, None, every)  # the last one always
    frames = [
        pd.DataFrame({"step": steps[points], "loss": values[points], "series": series})
        for series, values in lines.items()
    ]
    return _typed(pd.concat([seeds, *frames], ignore_index=True))


def legend(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return what each line is, and its colour."""
    if 1 < len(names) <= len(PEOPLE):
        return [(name, COLOURS[line]) for name, line in zip(names, PEOPLE, strict=False)]
    mean = " (mean of all)" if len(names) > 1 else ""
    return [(RAW + mean, COLOURS[RAW]), (SMOOTH + mean, COLOURS[SMOOTH])]


def _smoothed(each: pd.DataFrame) -> pd.DataFrame:
    """Average every column over time, without a bias to the first value."""
    return each.ewm(alpha=1 - MEMORY, adjust=True).mean()


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({"step": "int64", "loss": "float64", "series": "str"})
