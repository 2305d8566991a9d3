"""The face detector: its file, its targets and its training data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from insightface.utils.face_align import arcface_dst

from toonville.detector import CELL, LEVELS, Detector, export_detector, targets
from toonville.detector_data import LABEL_WIDTH, WHOLE, face_outline
from toonville.identity import sample_traits
from toonville.random_specs import varied_spec
from toonville.render import render


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Detector]:
    """An untrained detector and its file."""
    path = tmp_path_factory.mktemp("detector") / "det.onnx"
    torch.manual_seed(0)
    detector = Detector((8, 8, 8, 8)).eval()
    export_detector(detector, path)
    return path, detector


@pytest.mark.parametrize("size", [(128, 128), (192, 192), (256, 160)])
def test_outputs_are_scrfd_s(exported: tuple[Path, Detector], size: tuple[int, int]) -> None:
    path, detector = exported
    width, height = size
    x = torch.randn(1, 3, height, width)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    rows = [2 * (height // (CELL * level)) * (width // (CELL * level)) for level in LEVELS]
    assert [o.shape for o in outputs] == [(n, k) for k in (1, 4, 10) for n in rows]
    assert all((o >= 0).all() and (o <= 1).all() for o in outputs[:3])
    with torch.no_grad():
        for expected, output in zip(detector(x), outputs, strict=True):
            np.testing.assert_allclose(expected.numpy(), output, atol=2e-2)


def test_targets_decode_to_the_label() -> None:
    points = arcface_dst * 0.3 + 11
    label = np.zeros((1, 2, LABEL_WIDTH), np.float32)
    label[0, 1] = [20, 16, 50, 56, *points.ravel(), WHOLE]
    wanted, values = targets(label)
    assert (wanted[0, 0] == 0).all()  # too large for the first anchor
    ys, xs = np.nonzero(wanted[0, 1].numpy() > 0.9)
    assert len(xs) > 0
    assert (wanted[0, 1] == -1).any()
    for y, x in zip(ys, xs, strict=True):
        row = values[0, 1, :, y, x].numpy()
        box = np.concatenate([(x, y) - row[:2], (x, y) + row[2:4]]) * CELL
        np.testing.assert_allclose(box, label[0, 1, :4], atol=1e-4)
        decoded = (row[4:].reshape(5, 2) + (x, y)) * CELL
        np.testing.assert_allclose(decoded, points, atol=1e-4)


def test_the_outline_follows_from_traits_and_landmarks() -> None:
    rng = np.random.default_rng(5)
    rendering = render(varied_spec(rng, sample_traits(rng, 2)))
    for truth, person in zip(rendering.people, rendering.spec.people, strict=True):
        outline = face_outline(person.traits, truth.landmarks)
        np.testing.assert_allclose(outline, truth.face_outline, atol=1e-3)
