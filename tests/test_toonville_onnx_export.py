"""Files of networks that only measure, with weights of one byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch

from toonville.judge import JudgeNet, export_judge
from toonville.onnx_export import store_in_bytes


def test_weights_of_one_byte_change_next_to_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    export_judge(JudgeNet((16, 32, 64, 64)).eval(), tmp_path)
    halves, small = tmp_path / "judge.onnx", tmp_path / "small.onnx"
    store_in_bytes(halves, small)
    assert small.stat().st_size < 0.62 * halves.stat().st_size
    crops = np.random.default_rng(0).uniform(-1, 1, (4, 3, 112, 112)).astype(np.float32)
    before, after = (
        onnxruntime.InferenceSession(path).run(["embedding"], {"crop": crops})[0]
        for path in (halves, small)
    )
    assert (before * after).sum(1).min() > 0.999
    assert not np.array_equal(before, after)
    store_in_bytes(small, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == small.read_bytes()
