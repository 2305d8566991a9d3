"""The command line: stages and their options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toonville import __main__ as cli
from toonville.stage_runs import Numbers, Settings


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["toonville", *arguments, "--threads", "1"])
    with np.errstate():  # which main() sets for good
        return cli.main()


def test_samples_writes_a_grid_and_prints_captions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "samples", "--work", str(tmp_path)) == 0
    assert Image.open(tmp_path / "samples.png").size == (8 * 132, 6 * 132)
    assert len(capsys.readouterr().out.splitlines()) == 48 + 1


@pytest.mark.parametrize(
    ("stage", "given", "own", "minutes"),
    [
        ("vae", [], {}, 40.0),
        (
            "clip",
            ["--name-weight", "0", "--minutes", "7"],
            {"name_weight": 0.0, "attribute_weight": 0.05},
            7.0,
        ),
        ("basis", [], {}, 0.0),
    ],
)
def test_a_stage_gets_its_own_options(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    stage: str,
    given: list[str],
    own: dict[str, float],
    minutes: float,
) -> None:
    calls: list[Settings] = []

    def record(settings: Settings) -> Numbers:
        calls.append(settings)
        return {}

    stages = [replace(one, run=record) for one in cli.STAGES]
    monkeypatch.setattr(cli, "STAGES", stages)
    assert run(monkeypatch, stage, "--work", str(tmp_path), "--device", "cpu", *given) == 0
    (call,) = calls
    assert (call.work, call.assets, call.start) == (tmp_path, cli.SHIPPED, cli.SHIPPED)
    assert (call.minutes, call.options, call.threads) == (minutes, own, 1)


def test_only_trainings_can_be_told_to_resume(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    resumed: list[bool] = []

    def record(settings: Settings) -> Numbers:
        resumed.append(settings.resume)
        return {}

    monkeypatch.setattr(cli, "STAGES", [replace(one, run=record) for one in cli.STAGES])
    run(monkeypatch, "unet", "--work", str(tmp_path))
    run(monkeypatch, "unet", "--resume", "--work", str(tmp_path))
    assert resumed == [False, True]
    with pytest.raises(SystemExit):
        run(monkeypatch, "export", "--resume", "--work", str(tmp_path))


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    options = ("--work", str(work), "--minutes-total", "600", "--dry-run")
    assert run(monkeypatch, "all", *options) == 0
    printed = capsys.readouterr().out
    assert "unet" in printed and "recogniser" not in printed
    assert printed.splitlines()[-1].split() == ["total", "600.00", "minutes"]
    assert list(tmp_path.iterdir()) == []


def test_too_few_minutes_are_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "all", "--work", str(tmp_path), "--minutes-total", "3") == 2
    assert "--until" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_chain_writes_into_its_own_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[Settings] = []

    def record(settings: Settings) -> Numbers:
        calls.append(settings)
        return {"examples": 3}

    stages = [replace(one, run=record, needs=()) for one in cli.STAGES]
    monkeypatch.setattr(cli.chain, "select", lambda *_: tuple(stages))
    assert run(monkeypatch, "all", "--tiny", "--work", str(tmp_path), "--device", "cpu") == 0
    assert len(calls) == len(stages)
    for call in calls:
        assert call.start == cli.SHIPPED and call.tiny and call.resume
        for path in (call.assets, call.basis, call.identities, call.images):
            assert path.is_relative_to(tmp_path / "assets")
