"""The report: what is measured, the speed beside a baseline, the table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from toonville import report
from toonville.generated import ImageGenerator, mean, ratio
from toonville.report import GOALS, MEASUREMENTS, Subject, parse_keys, run_report, seconds, table

SLOW, FAST = 3.0, 2.0


def test_every_goal_is_measured() -> None:
    assert GOALS.keys() <= MEASUREMENTS.keys()


def test_keys_are_parsed() -> None:
    assert parse_keys("sharpness, assets_mb") == ["sharpness", "assets_mb"]
    with pytest.raises(argparse.ArgumentTypeError, match=r"^blur: not measured; .*sharpness"):
        parse_keys("sharpness,blur")


def test_the_table_says_what_is_missing() -> None:
    numbers = {"sharpness": 0.39, "assets_mb": 49.976}
    rows = table(numbers, ["sharpness", "seconds_ratio", "assets_mb", "negative_costs"])
    assert rows.splitlines()[1:] == [
        "sharpness                         0.3900 >= 0.4    MISSED",
        "seconds_ratio                          - <= 1.2    not measured",
        "assets_mb                        49.9760 <= 50     ok",
    ]


def test_only_measures_once_what_belongs_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def both(subject: Subject) -> dict[str, float]:
        calls.append(subject)
        return {"pair_found": 1.0, "pair_rank1": 0.5, "pair_extra": 0.25}

    monkeypatch.setitem(MEASUREMENTS, "pair_found", both)
    monkeypatch.setitem(MEASUREMENTS, "pair_rank1", both)
    keys = ["pair_rank1", "pair_found"]
    run_report(tmp_path, 3, tmp_path / "numbers.json", only=keys)
    assert calls == [Subject(tmp_path, 3)]
    stored = json.loads((tmp_path / "numbers.json").read_text())
    assert stored == {"pair_found": 1.0, "pair_rank1": 0.5, "pair_extra": 0.25}
    printed = capsys.readouterr().out
    assert "pair_rank1                        0.5000 >= 0.75   MISSED" in printed
    assert "sharpness" not in printed


class TimedGenerator(ImageGenerator):
    """Takes seconds of a clock that the test has."""

    now = 0.0
    asked: list[tuple[str, tuple[int, int]]] = []

    def __init__(self, assets: Path) -> None:
        self.name = assets.name

    def __call__(
        self, prompts: Sequence[str], seed: int, size: tuple[int, int] = (0, 0), *_: Any
    ) -> list[Image.Image]:
        TimedGenerator.now += SLOW if self.name == "new" else FAST
        TimedGenerator.asked.append((self.name, size))
        return []


def test_the_baseline_takes_turns_with_its_own_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, side in (("new", 256), ("old", 128)):
        (tmp_path / name).mkdir()
        defaults = {"defaults": {"width": side, "height": side}}
        (tmp_path / name / "studio.json").write_text(json.dumps(defaults))
    monkeypatch.setattr(report, "ImageGenerator", TimedGenerator)
    monkeypatch.setattr("time.perf_counter", lambda: TimedGenerator.now)
    new, old = tmp_path / "new", tmp_path / "old"
    assert seconds(Subject(new, 0, old)) == {
        "seconds_per_image": SLOW,
        "seconds_ratio": SLOW / FAST,
    }
    assert TimedGenerator.asked[:4] == [("new", (256, 256)), ("old", (128, 128))] * 2
    assert seconds(Subject(new, 0)) == {"seconds_per_image": SLOW}


def test_means_and_ratios_of_nothing_are_zero() -> None:
    assert mean([]) == ratio(1.0, 0.0) == 0
    assert mean([True, False]) == ratio(1.0, 2.0) == 0.5
