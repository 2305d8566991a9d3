"""The attribute reader's file and training data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from celeb_core.scoring import AttributeReader
from toonville.reader import IMAGES_FILE, LABELS_FILE, ReaderNet, export_reader, render_labelled
from toonville.world import GROUPS


def test_reader_file(tmp_path: Path) -> None:
    export_reader(ReaderNet((8, 8, 16, 16)).eval(), tmp_path)
    reader = AttributeReader(tmp_path / "reader.onnx")
    answers = reader.read(Image.new("RGB", (128, 128)))
    assert list(answers) == list(GROUPS)
    assert all(answer in GROUPS[group] for group, answer in answers.items())


def test_labelled_images(tmp_path: Path) -> None:
    render_labelled(tmp_path, 12, seed=1, workers=1)
    assert np.load(tmp_path / IMAGES_FILE).shape == (12, 128, 128, 3)
    labels = np.load(tmp_path / LABELS_FILE)
    assert labels.shape == (12, len(GROUPS))
    assert (labels.max(0) < [len(values) for values in GROUPS.values()]).all()
