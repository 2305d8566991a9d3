from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest
import torch

from celeb_core import (
    Identity,
    find_identity,
    list_identities,
    load_identity,
    rename_identity,
    save_identity,
)
from celeb_core.errors import (
    BadName,
    BasisMismatch,
    IdentityNotFound,
    IdentityUnreadable,
    SaveFailed,
)
from celeb_core.identity import (
    MAX_BYTES,
    SAMPLE_SUFFIX,
    SAMPLES,
    check_name,
    file_name,
    identity_path,
)

SETTINGS = {"preset": "best", "trained": 60, "seed": 12345, "learning_rate": 0.0005}


@pytest.fixture
def ada() -> Identity:
    numbers = torch.randn(2, 512).half().float()
    return Identity("ada", numbers, "0123456789abcdef", "toonville", "toonville-01234567", SETTINGS)


def test_round_trip_is_exact_in_half_precision(ada, tmp_path):
    again = load_identity(save_identity(ada, tmp_path))
    assert torch.equal(again.coefficients, ada.coefficients)
    assert (again.name, again.basis_id, again.recogniser) == ("ada", ada.basis_id, ada.recogniser)
    assert dict(again.settings) == SETTINGS


def test_file_holds_2048_bytes_of_numbers_and_is_small(ada, tmp_path):
    size = save_identity(ada, tmp_path).stat().st_size
    assert 2048 < size < 2600
    longest = replace(
        ada,
        name="\N{FAMILY}" * 64,
        base_model="m" * 300,
        settings={**SETTINGS, "padding": "black", "templates": "paper", "gradients": "truncated"},
    )
    assert save_identity(longest, tmp_path).stat().st_size <= MAX_BYTES
    with pytest.raises(ValueError, match="settings are too long"):
        save_identity(replace(ada, settings={"note": "x" * 1000}), tmp_path)


def test_files_of_before_still_load():
    """The samples were written before the modules and the config's fields were renamed."""
    for name in ("ada", "bob", "cleo"):
        person = load_identity(SAMPLES / f"{name}{SAMPLE_SUFFIX}")
        assert person.name == name and person.coefficients.shape == (2, 512) and person.basis_id
        assert dict(person.settings) == {"preset": "best", "trained": 60}


@pytest.mark.parametrize("name", ["", "  ", "a<b", "a>b", "a/b", "a\\b", "a\nb", "\x00", "x" * 300])
def test_bad_names_are_refused_with_the_rule(name):
    with pytest.raises(BadName, match="1 to 64 characters"):
        check_name(name)


@pytest.mark.parametrize(
    "name", ["ada", "Ada Lovelace", "José", "李小龙", "👩‍🚀", ".", "..", "con", "a:b"]
)
def test_good_names_survive_the_disk(name, ada, tmp_path):
    path = save_identity(replace(ada, name=name), tmp_path)
    assert path.parent == tmp_path and path.name.isascii() and not path.name.startswith(".")
    assert find_identity(name, tmp_path).name == check_name(name)


def test_file_names_are_distinct_and_safe_on_windows():
    names = ["ada", "Ada", "ADA", "a da", "a-da", "adá", "con", "李", "龙", "👩‍🚀"]
    files = [file_name(name).lower() for name in names]
    assert len(set(files)) == len(files)
    assert not any(file.split(".")[0] in ("con", "aux", "nul") for file in files)


def test_another_basis_is_refused(ada, basis, tmp_path):
    with pytest.raises(BasisMismatch, match="toonville"):
        load_identity(save_identity(ada, tmp_path), basis)


def test_two_text_encoders_have_twice_as_many_numbers(basis, sdxl_basis, tmp_path):
    numbers = torch.randn(2, sdxl_basis.p).half().float()
    person = Identity("ada", numbers, sdxl_basis.id, "sdxl", settings=SETTINGS)
    path = save_identity(person, tmp_path)
    assert path.stat().st_size < 2 * numbers.numel() + 1024
    assert torch.equal(load_identity(path, sdxl_basis).coefficients, numbers)
    with pytest.raises(BasisMismatch, match="sdxl"):
        load_identity(path, basis)


def test_damaged_and_foreign_files(ada, tmp_path):
    path = save_identity(ada, tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(IdentityUnreadable, match="damaged"):
        load_identity(path)
    (tmp_path / "text.safetensors").write_text("hello")
    save_identity(replace(ada, name="bob"), tmp_path)
    assert list(list_identities(tmp_path)) == ["bob"]
    with pytest.raises(IdentityNotFound):
        load_identity(tmp_path / "nobody.safetensors")


def test_full_disk_keeps_the_old_file(ada, tmp_path, monkeypatch):
    path = save_identity(ada, tmp_path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SaveFailed, match="No space left"):
        save_identity(replace(ada, coefficients=ada.coefficients + 1), tmp_path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_long_names_are_refused_by_their_length():
    for name in ("x" * 200_000_000, "<" * 10**6, "\u1100\u1161\u11a8" * 65):
        with pytest.raises(BadName) as caught:
            check_name(name)
        assert len(str(caught.value)) < 400
    assert check_name("  ada" + " " * 1000) == "ada"
    assert len(check_name("\u1100\u1161\u11a8" * 64)) == 64  # as composed


def test_unknown_names_list_the_nearest(ada, tmp_path):
    save_identity(ada, tmp_path)
    with pytest.raises(IdentityNotFound, match="ada"):
        find_identity("adda", tmp_path)


def test_rename(ada, tmp_path):
    save_identity(ada, tmp_path)
    save_identity(replace(ada, name="bob"), tmp_path)
    with pytest.raises(BadName, match="taken"):
        rename_identity("ada", "bob", tmp_path)
    assert rename_identity("ada", "Ada L.", tmp_path).name == "Ada L."
    assert list(list_identities(tmp_path)) == ["Ada L.", "bob"]
    identity_path("bob", tmp_path).unlink()
    assert list(list_identities(tmp_path)) == ["Ada L."]


def test_a_persons_own_file_goes_before_a_sample_of_the_same_name(ada, tmp_path):
    path = save_identity(ada, tmp_path)
    path.rename(path.with_suffix(".sample.safetensors"))
    assert dict(find_identity("ada", tmp_path).settings) == SETTINGS
    save_identity(replace(ada, settings={"trained": 7}), tmp_path)
    assert dict(list_identities(tmp_path)["ada"].settings) == {"trained": 7}
    assert dict(find_identity("ada", tmp_path).settings) == {"trained": 7}
    identity_path("ada", tmp_path).unlink()
    assert dict(list_identities(tmp_path)["ada"].settings) == SETTINGS
