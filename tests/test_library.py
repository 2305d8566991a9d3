from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from celeb_core import find_identity, load_identity, save_identity
from celeb_core.errors import IdentityNotFound, SaveFailed
from celeb_core.library import (
    bin_folder,
    copy_to_bin,
    portrait_path,
    replace_identity,
    save_people,
)
from celeb_core.types import Identity

ADA = Identity("ada", torch.zeros(2, 3), "a basis", "a model")


def test_an_earlier_person_goes_to_the_bin_with_the_portrait(tmp_path):
    replace_identity(ADA, tmp_path)
    assert not bin_folder(tmp_path).exists()
    portrait_path("ada", tmp_path).write_bytes(b"portrait")
    path = replace_identity(replace(ADA, coefficients=torch.ones(2, 3)), tmp_path)
    assert path == tmp_path / "ada.safetensors"
    assert find_identity("ada", tmp_path).coefficients.sum() == 6
    assert not portrait_path("ada", tmp_path).exists()
    (kept,) = bin_folder(tmp_path).iterdir()
    assert load_identity(kept / "ada.safetensors").coefficients.sum() == 0
    assert (kept / "ada.png").read_bytes() == b"portrait"


def test_a_sample_is_not_replaced_but_comes_second(tmp_path):
    sample = save_identity(ADA, tmp_path)
    sample = sample.rename(tmp_path / "ada.sample.safetensors")
    replace_identity(ADA, tmp_path)
    assert sample.is_file() and not bin_folder(tmp_path).exists()


def test_nobody_can_be_copied_to_the_bin(tmp_path):
    with pytest.raises(IdentityNotFound, match="Nobody is called “ada”"):
        copy_to_bin("ada", tmp_path)


def blocked(monkeypatch, tmp_path: Path, name: str) -> Path:
    """A library where this person cannot be saved, and a temporary folder that is empty."""
    (tmp_path / "library" / f"{name}.safetensors").mkdir(parents=True)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return tmp_path / "library"


def test_who_cannot_be_saved_is_saved_elsewhere_and_the_others_in_their_place(
    tmp_path, monkeypatch
):
    library = blocked(monkeypatch, tmp_path, "bob")
    people = [replace(ADA, name=name) for name in ("ada", "bob", "cleo")]
    with pytest.raises(SaveFailed, match="<bob> is in .*temporary.*bob.safetensors") as caught:
        save_people(people, library)
    assert find_identity("ada", library) and find_identity("cleo", library)
    (rescued,) = (tmp_path / "temporary").glob("*/*")
    assert load_identity(rescued).name == "bob" and str(rescued) in str(caught.value)


def test_without_any_place_the_error_says_so(tmp_path, monkeypatch):
    library = blocked(monkeypatch, tmp_path, "ada")
    shutil.rmtree(tmp_path / "temporary")
    with pytest.raises(SaveFailed, match="<ada> could not be saved in the system's temporary"):
        save_people([ADA], library)
