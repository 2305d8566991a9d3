"""The loss curve as `gr.LinePlot` wants it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

RAW, SMOOTH = "each step", "smoothed"
COLOURS = {RAW: "#94a3b8", SMOOTH: "#6366f1"}  # seen on white and on black
POINTS = 300  # more only slows the browser down
MEMORY = 0.9  # of the moving average


def curve(losses: Sequence[tuple[int, float]]) -> pd.DataFrame:
    """(step, loss) pairs -> step, loss, series: at most POINTS rows beside the two seeds.

    Every series is in the first frame, as a row without a value: the plot never draws one that
    it meets later.
    """
    each = POINTS // 2
    every = max(1, -(-len(losses) // each))
    kept = [index for index in range(len(losses)) if (len(losses) - 1 - index) % every == 0]
    smooth = smoothed([loss for _, loss in losses])
    rows = [(0, float("nan"), RAW), (0, float("nan"), SMOOTH)]
    rows += [(losses[index][0], losses[index][1], RAW) for index in kept]
    rows += [(losses[index][0], smooth[index], SMOOTH) for index in kept]
    frame = pd.DataFrame(rows, columns=["step", "loss", "series"])
    return frame.astype({"step": "int64", "loss": "float64", "series": "str"})


def smoothed(values: Sequence[float]) -> list[float]:
    """Moving average without a bias to the first value."""
    result, total, weight = [], 0.0, 0.0
    for value in values:
        total = MEMORY * total + (1 - MEMORY) * value
        weight = MEMORY * weight + (1 - MEMORY)
        result.append(total / weight)
    return result
