from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from celeb_core import (
    Identity,
    TrainConfig,
    find_identity,
    fit,
    list_identities,
    load_identity,
    rename_identity,
    save_identity,
)
from celeb_core.basis import person_embeddings
from celeb_core.errors import (
    BadName,
    BasisMismatch,
    IdentityNotFound,
    IdentityUnreadable,
    SaveFailed,
)
from celeb_core.identity import (
    KEY_FILE,
    MAX_BYTES,
    SAMPLE_SUFFIX,
    SAMPLES,
    add_samples,
    check_name,
    file_name,
    identity_bytes,
    identity_path,
    save_identities,
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


def test_the_same_person_is_the_same_file(ada):
    assert len({identity_bytes(ada) for _ in range(20)}) == 1  # safetensors' own order is random


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
    """The samples; their settings have the names that the config's fields had at first."""
    for name in ("ada", "bob", "cleo"):
        person = load_identity(SAMPLES / f"{name}{SAMPLE_SUFFIX}")
        assert person.name == name and person.coefficients.shape == (2, 512) and person.basis_id
        assert person.settings["preset"] == "best" and person.settings["trained"] == 60


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


def written(folder, numbers=None, **metadata: str):
    """An identity file with other content than `save_identity` would write."""
    about = {"format": "celeb-identity 1", "name": "x", "basis_id": "b", "settings": "{}"}
    numbers = torch.zeros(2, 512) if numbers is None else numbers
    tensors = numbers if isinstance(numbers, dict) else {"coefficients": numbers}
    save_file(tensors, folder / "x.safetensors", about | metadata)
    return folder / "x.safetensors"


@pytest.mark.parametrize(
    ("numbers", "metadata", "message"),
    [
        (torch.full((2, 512), 70_000.0), {}, "not finite in float16"),
        (torch.full((2, 512), torch.nan), {}, "not finite"),
        (torch.zeros(3, 7), {}, r"coefficients are \(3, 7\) .* not \(2, …\) floats"),
        (torch.zeros(2, 0), {}, r"coefficients are \(2, 0\)"),
        (torch.zeros(1, 2, 512), {}, "coefficients are"),
        (torch.tensor(1.0), {}, "coefficients are"),
        (torch.zeros(2, 512, dtype=torch.int32), {}, "torch.int32"),
        (torch.zeros(2, 10_000), {}, "bytes; at most"),
        ({"other": torch.zeros(2, 512)}, {}, "tensors .'other'., not coefficients"),
        (
            {"coefficients": torch.zeros(2, 512), "another": torch.zeros(1)},
            {},
            "not coefficients",
        ),
        (None, {"settings": "[1]"}, r"settings are \[1\], not names"),
        (None, {"settings": '{"a": {"b": 1}}'}, "not names with texts and numbers"),
        (None, {"settings": '{"a": null}'}, "not names with texts"),
        (None, {"settings": "[" * 500}, "no identity file, or damaged"),
        (None, {"settings": "{}" + " " * 1000}, "too long"),
        (None, {"settings": '{"a": "' + "模" * 280 + '"}'}, "too long"),  # as it is written
        (None, {"basis_id": "b" * 1000}, "too long"),
        (None, {"format": "celeb-identity 9"}, "its format is 'celeb-identity 9'"),
        (None, {"name": "a<b"}, "contains '<'"),
        (None, {"name": "n" * 10_000}, "no identity file, or damaged"),
    ],
)
def test_what_is_wrong_with_an_identity_file(numbers, metadata, message, ada, tmp_path, caplog):
    path = written(tmp_path, numbers, **metadata)
    with pytest.raises(IdentityUnreadable, match=message):
        load_identity(path)
    save_identity(ada, tmp_path)
    assert list(list_identities(tmp_path)) == ["ada"]
    assert [record.message.startswith("skipped: ") for record in caplog.records] == [True]


def test_who_can_be_read_can_be_saved(tmp_path):
    """Under the longest name too, and with all that another program may have written."""
    long = {"base_model": "模" * 900, "recogniser": "r" * 900, "basis_id": "b" * 64}
    settings = json.dumps({"a": -math.inf, "b": True, "c": "\\" * 280}, ensure_ascii=False)
    person = load_identity(written(tmp_path, settings=settings, **long))
    renamed = rename_identity("x", '"' * 64, tmp_path)
    again = find_identity(renamed.name, tmp_path)
    assert dict(again.settings) == dict(person.settings) and again.base_model == "模" * 200


def test_odd_entries_of_a_folder_are_skipped(ada, tmp_path, caplog):
    save_identity(ada, tmp_path)
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "dangling.safetensors").symlink_to("nowhere")
    (tmp_path / "loop.safetensors").symlink_to("loop.safetensors")
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "two\nlines.safetensors").write_text("x")
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert list(list_identities(tmp_path)) == ["ada"]
    assert len(caplog.records) == 6
    assert not any("\n" in record.message for record in caplog.records)
    for name in ("folder", "dangling"):  # their places can be taken
        with pytest.raises(IdentityNotFound):
            find_identity(name, tmp_path)
    save_identity(replace(ada, name="dangling"), tmp_path)
    assert find_identity("dangling", tmp_path).name == "dangling"
    with pytest.raises(SaveFailed):
        save_identity(replace(ada, name="folder"), tmp_path)
    assert not list_identities(tmp_path / "missing") and not list_identities(
        tmp_path / "ada.safetensors"
    )


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 70_000.0])
def test_what_could_not_be_read_again_is_not_saved(value, ada, tmp_path):
    with pytest.raises(SaveFailed, match="<ada> cannot be saved: .* not finite"):
        save_identity(replace(ada, coefficients=torch.full((2, 512), value)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_all_are_saved_or_none(ada, tmp_path):
    bad = replace(ada, name="bob", coefficients=ada.coefficients * torch.nan)
    with pytest.raises(SaveFailed):
        save_identities([ada, bad], tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "bob.safetensors").mkdir()
    with pytest.raises(SaveFailed):
        save_identities([ada, replace(ada, name="bob")], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bob.safetensors"]
    earlier = save_identity(ada, tmp_path)
    with pytest.raises(SaveFailed):
        save_identities([ada, replace(ada, name="bob")], tmp_path)
    assert earlier.is_file()  # of before
    paths = save_identities([ada, replace(ada, name="eve")], tmp_path)
    assert paths == [earlier, tmp_path / "eve.safetensors"]


def test_coefficients_that_do_not_fit_the_basis_that_they_name(basis, models, tmp_path, caplog):
    numbers = torch.zeros(2, basis.p + 1)
    odd = Identity("odd", numbers, basis.id)
    path = save_identity(odd, tmp_path)
    assert load_identity(path).name == "odd"
    with pytest.raises(IdentityUnreadable, match="The file of <odd> is damaged: it has"):
        load_identity(path, basis)
    with pytest.raises(IdentityUnreadable, match="<odd>"):
        person_embeddings(odd, basis, models)
    save_identity(replace(odd, name="other", basis_id="another"), tmp_path)
    assert list(list_identities(tmp_path)) == ["odd", "other"]
    assert list(list_identities(tmp_path, basis=basis)) == ["other"]
    assert "skipped: The file of <odd>" in caplog.text


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


def test_a_library_with_nothing_but_the_key_of_marks_still_gets_the_samples(tmp_path):
    (tmp_path / ".studio").mkdir()
    (tmp_path / ".studio" / KEY_FILE).write_text("key")
    add_samples(tmp_path)
    added = set(list_identities(tmp_path))
    assert added
    for path in tmp_path.glob(f"*{SAMPLE_SUFFIX}"):
        path.unlink()
    (tmp_path / "notes").write_text("")
    add_samples(tmp_path)
    assert not list_identities(tmp_path)


def test_what_is_known_of_consent_is_in_the_file(people, models, basis, tmp_path):
    asked = replace(people[0], consent="2026-11-30, stated by the user")
    config = TrainConfig(steps=0)
    made = fit([asked, people[1]], models, basis, config)
    path = save_identity(made["ada"], tmp_path)
    assert load_identity(path).settings["consent"] == asked.consent
    assert path.stat().st_size <= MAX_BYTES
    assert "consent" not in made["bob"].settings
