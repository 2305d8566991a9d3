from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from celeb_core import load_calibration, save_calibration
from celeb_core.errors import CalibrationUnusable
from celeb_core.formats.calibration_file import CALIBRATED, read_calibration
from celeb_core.mapper import build_mapper
from celeb_core.types import Framing, MapperConfig, PersonPositions, PositionCurve


def test_file_round_trip_and_what_does_not_fit(calibration, tmp_path, caplog):
    count = calibration.directions.shape[1]
    correction = torch.arange(count * (count + 1.0)).reshape(count, count + 1) / 16
    framing = Framing(2.5, 0.4, 0.6)
    saved = replace(calibration, correction=correction, framing=framing)
    path = tmp_path / "calibration.safetensors"
    save_calibration(saved, path)
    paths = [tmp_path / "none", path]
    fits = (calibration.recogniser, calibration.basis_id)
    again = load_calibration(paths, *fits)
    assert not caplog.records
    for name in ("names", "framing", "basis_id", "base_model", "recogniser"):
        assert getattr(again, name) == getattr(saved, name)
    for name in (*CALIBRATED, "face_embeddings"):
        assert getattr(again, name).dtype == torch.float32
        assert torch.allclose(getattr(again, name), getattr(saved, name), atol=4e-3), name
    assert torch.equal(again.correction, correction)
    assert load_calibration(paths, "another", fits[1]) is None
    assert "another recogniser" in caplog.text
    assert load_calibration(paths, fits[0], "another") is None
    assert "another celeb basis" in caplog.text
    path.write_bytes(b"broken")
    assert load_calibration(paths, *fits) is None
    assert "damaged" in caplog.text
    with pytest.raises(CalibrationUnusable, match="damaged.*celeb-basis prepare"):
        read_calibration(path, *fits)


def rewritten(path: Path, tensors: dict, **metadata: str) -> Path:
    """The file of a calibration with other content."""
    with safe_open(path, framework="pt") as file:
        old, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    save_file(old | tensors, path, metadata=about | metadata)
    return path


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"down": torch.zeros(5, 511)}, {}),
        ({"up": torch.full((1024, 5), torch.nan)}, {}),
        ({"extra": torch.zeros(3)}, {}),
        ({"bias": torch.zeros(())}, {}),
        ({}, {"names": "[]"}),
        ({}, {"names": "no json"}),
        ({}, {"framing": '{"side": 2.0, "z": 1.0}'}),
        ({}, {"framing": '{"side": "2"}'}),
        ({}, {"framing": "[" * 100_000}),
        ({}, {"report": "[]"}),
        ({}, {"settings": "[]"}),
        ({}, {"settings": '{"steps": "many"}'}),
        ({}, {"settings": '{"steps": Infinity}'}),
        ({}, {"settings": '{"learning_rate": [1]}'}),
        ({"directions": torch.zeros(1024, 0)}, {}),
        ({"directions": torch.zeros(0, 100_000)}, {}),  # whose correction would be of 40 GB
    ],
)
def test_a_calibration_of_a_stranger_is_checked(tensors, metadata, calibration, tmp_path):
    save_calibration(calibration, tmp_path / "file")
    fits = (calibration.recogniser, calibration.basis_id)
    read_calibration(tmp_path / "file", *fits)
    with pytest.raises(CalibrationUnusable, match="file is no calibration to use"):
        read_calibration(rewritten(tmp_path / "file", tensors, **metadata), *fits)


def test_the_settings_of_a_calibration_may_be_infinite(calibration, tmp_path):
    """The self-check may choose the whole range of noise."""
    settings = {"min_log_snr": -math.inf, "steps": 30, "templates": "paper", "max_seconds": 9}
    save_calibration(replace(calibration, settings=settings), tmp_path / "file")
    fits = (calibration.recogniser, calibration.basis_id)
    assert read_calibration(tmp_path / "file", *fits).settings == settings


def test_a_calibration_with_too_few_coefficients_for_its_basis(calibration, basis, tmp_path):
    parts = {name: getattr(calibration, name)[:-2] for name in ("up", "bias", "directions")}
    save_calibration(replace(calibration, **parts), tmp_path / "file")
    short = read_calibration(tmp_path / "file", calibration.recogniser, calibration.basis_id)
    with pytest.raises(CalibrationUnusable, match="file is damaged: it has .* coefficients"):
        build_mapper(basis, MapperConfig(), short, 0)


def test_a_calibration_of_before_there_were_corrections(calibration, tmp_path):
    save_calibration(calibration, tmp_path / "new")
    with safe_open(tmp_path / "new", framework="pt") as file:
        names = set(file.keys()) - {"correction"}
        tensors, metadata = {name: file.get_tensor(name) for name in names}, file.metadata()
    save_file(tensors, tmp_path / "old", metadata=metadata)
    old = load_calibration([tmp_path / "old"], calibration.recogniser, calibration.basis_id)
    count = calibration.directions.shape[1]
    assert torch.equal(old.correction, torch.zeros(count, count + 1))


def test_the_first_calibration_that_fits_is_taken(calibration, tmp_path):
    for name, changes in (("a", {"recogniser": "other"}), ("b", {}), ("c", {"names": ("x",)})):
        save_calibration(replace(calibration, **changes), tmp_path / name)
    paths = [tmp_path / name for name in "abc"]
    found = load_calibration(paths, calibration.recogniser, calibration.basis_id)
    assert found.names == calibration.names


def test_celebrities_cost_half_a_kilobyte_each(calibration, tmp_path):
    sizes = []
    for count in (10, 20):
        known = {"face_embeddings": torch.zeros(count, 512), "names": ("Ada Berg",) * count}
        save_calibration(replace(calibration, **known), tmp_path / "file")
        sizes.append((tmp_path / "file").stat().st_size)
    assert sizes[1] - sizes[0] < 5_500


def test_positions_of_people_are_kept_and_checked(calibration, tmp_path):
    curve = PositionCurve((1, 4, 9), (1.0, 0.8, 0.1), 4)
    positions = PersonPositions(curve, replace(curve, limit=None))
    path, fits = tmp_path / "file", (calibration.recogniser, calibration.basis_id)
    save_calibration(replace(calibration, person_positions=positions), path)
    assert read_calibration(path, *fits).person_positions == positions
    good = asdict(positions)
    for field, value in (
        ("limit", "4"), ("limit", 4.5), ("positions", [1, 9, 4]), ("positions", [1, 4]),
        ("kept", [1, 2, 0]), ("kept", ["1", "0", "0"]), ("kept", None), ("more", 1),
    ):  # fmt: skip
        wrong = {**good, "later": {**good["later"], field: value}}
        rewritten(path, {}, person_positions=json.dumps(wrong))
        with pytest.raises(CalibrationUnusable, match="file is no calibration to use"):
            read_calibration(path, *fits)
    rewritten(path, {}, person_positions="{}")
    with pytest.raises(CalibrationUnusable):
        read_calibration(path, *fits)
