"""The benchmark on a model of toy size: all variants run and the table has their ratios."""

from __future__ import annotations

import json
import math
import sys

import pytest

from bench import __main__ as command
from bench import variants, worker
from celeb_core import load_models
from celeb_core.denoising import Denoising


@pytest.fixture(autouse=True)
def toy(world, monkeypatch):
    def pipeline(dtype):
        loaded = load_models(world, device="cpu").pipeline
        loaded.unet.to(dtype)
        loaded.vae.to(dtype)
        loaded.set_progress_bar_config(disable=True)
        return loaded

    monkeypatch.setattr(variants, "random_pipeline", pipeline)
    monkeypatch.setattr(variants, "SIDE", 128)
    names = (world / "names.txt").read_text(encoding="utf-8").splitlines()
    monkeypatch.setattr(variants, "NAMES", names)


@pytest.mark.parametrize("name", ["ours", "ours+float32+full", "ours+vae", "official"])
def test_every_variant_is_measured(name):
    found = worker.measure(name, "cpu", batch=1, steps=2, picture=False)
    assert len(found["steps"]) == 2 and all(seconds > 0 for seconds in found["steps"])
    assert 0 < found["loaded"] < 100 and found["peak"] > 0
    assert found["once_share"] == (0.05 if name.startswith("ours") else 0)


def test_a_photo_is_encoded_once_by_us_and_at_every_step_by_the_official_settings(monkeypatch):
    encoded, encode = [], Denoising.encode

    def counted(self, *arguments):
        encoded.append(arguments)
        return encode(self, *arguments)

    monkeypatch.setattr(Denoising, "encode", counted)
    for name, times in (("ours", 1), ("official", 3)):
        encoded.clear()
        worker.measure(name, "cpu", batch=1, steps=3, picture=False)
        assert len(encoded) == times


def test_a_table_of_ratios(monkeypatch, tmp_path, capsys):
    def process(name, options, picture):
        ours = name == "ours"
        seconds, peak = (1.0, 3.0) if ours else (2.0, 6.0)
        row = {"variant": name, "about": "x", "steps": [seconds] * 2, "peak": peak}
        return row | ({"once": 2.0, "once_share": 0.05} if ours else {})

    monkeypatch.setattr(command, "_in_a_process", process)
    path = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["bench", "--json", str(path)])
    assert command.main() == 0
    table = capsys.readouterr().out
    assert "0.55x (goal 0.55) | 0.50x (goal 0.6)" in table and "0.55x (goal 0.4)" in table
    rows = {row["variant"]: row for row in json.loads(path.read_text())["rows"]}
    assert math.isclose(rows["ours"]["with_share"], 1.1)
