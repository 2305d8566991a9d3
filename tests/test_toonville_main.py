"""The command line: stages and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from toonville import __main__ as cli


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["toonville", *arguments, "--threads", "1"])
    with np.errstate():  # which main() sets for good
        cli.main()


def test_samples_writes_a_grid_and_prints_captions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "samples", "--work", str(tmp_path))
    assert Image.open(tmp_path / "samples.png").size == (8 * 132, 6 * 132)
    assert len(capsys.readouterr().out.splitlines()) == 48 + 1


@pytest.mark.parametrize(
    ("stage", "options", "own"),
    [
        ("vae", [], {}),
        ("clip", ["--name-weight", "0"], {"name_weight": 0.0, "attribute_weight": 3.0}),
        ("unet", ["--fine-tune"], {"fine_tune": True}),
    ],
)
def test_a_training_gets_its_own_options(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    stage: str,
    options: list[str],
    own: dict[str, Any],
) -> None:
    calls = []

    def record(*arguments: Any, **options: Any) -> None:
        calls.append((arguments, options))

    monkeypatch.setitem(cli.TRAININGS, stage, (record, 7.0))
    run(monkeypatch, stage, "--resume", "--work", str(tmp_path), *options)
    assert calls == [((tmp_path / "data", tmp_path / "models", 7.0, True), own)]
