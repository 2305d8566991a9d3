"""Stable Diffusion at full size on a GPU: `pytest -m gpu` prints one table, in some minutes.

`pytest -m gpu --tiny` makes the same table of shrunk models on the CPU.
"""

from __future__ import annotations

import math

import pytest
import torch

from bench import gpu

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]


def test_costs_and_gradients(request, capsys):
    tiny = request.config.getoption("--tiny")
    if not tiny and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; with --tiny it runs on the CPU, shrunk")
    rows = []
    with capsys.disabled():
        print("\n" + gpu.HEAD)
        for row in gpu.rows("cpu" if tiny else "cuda", tiny):
            print(row, flush=True)
            rows.append(row)
    costs = [row for row in rows if row.cosine is None]
    assert len(costs) == 4 + len(gpu.TRAININGS)
    assert all(row.seconds > 0 and math.isfinite(row.seconds) and row.peak > 0 for row in costs)
    compared = {row.what: row.cosine for row in rows if row.cosine is not None}
    assert len(compared) == 3
    for what, cosine in compared.items():
        assert cosine > (0.0 if "truncated, exact" in what else 0.99), what
