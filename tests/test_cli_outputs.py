"""What commands write takes the place of nothing else, and is never lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from conftest import celebrity_names

from celeb_core import library, list_identities, load_identity, save_identity
from celeb_core import sampling as sampling_module
from celeb_core.errors import SaveFailed
from celeb_core.identity import SAMPLES
from celeb_core.types import Identity


def test_a_taken_name_is_refused_before_the_training(run, basis, monkeypatch, capsys):
    zeros = basis.std * 0
    for name in ("ada", "bob"):
        save_identity(Identity(name, zeros, basis.id, "tinyville"), Path("identities"))
    train = ("train", "ada.png", "bob.png", "--name", "eve", "--name", "<ada>", "--steps", "1")
    with monkeypatch.context() as patch:
        patch.setattr("celeb_core.cli.engines.load_studio", None)  # an error if it is called
        assert run(*train) == 2
    error = capsys.readouterr().err
    assert "“ada” is taken in identities" in error and "--replace" in error
    assert list(list_identities(Path("identities"))) == ["ada", "bob"]
    assert run(*train, "--replace") == 0
    captured = capsys.readouterr()
    assert captured.out.split() == ["identities/eve.safetensors", "identities/ada.safetensors"]
    assert "The earlier <ada> is in identities/.studio/deleted" in captured.err
    assert load_identity(Path("identities/ada.safetensors")).settings["trained"] == 1
    (earlier,) = Path("identities/.studio/deleted").glob("*/*")
    assert earlier.name == "ada.safetensors"
    assert torch.equal(load_identity(earlier).coefficients, zeros)


def test_a_sample_does_not_take_a_name(run):
    Path("identities").mkdir()
    shutil.copy(SAMPLES / "ada.sample.safetensors", "identities")
    assert run("train", "ada.png", "--name", "ada", "--steps", "1") == 0
    assert len(list(Path("identities").iterdir())) == 2


def test_a_trained_person_is_never_lost(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    Path("temporary").mkdir()
    write = library.save_identity
    monkeypatch.setattr(
        library, "save_identity", lambda one, to: write(one, full(to) if to.name == "out" else to)
    )
    train = ("train", "ada.png", "--name", "ada", "--steps", "1", "--out", "out")
    assert run(*train, "--checkpoint", "state") == 1
    error = capsys.readouterr().err
    (rescued,) = Path("temporary").glob("*/ada.safetensors")
    assert (
        f"<ada> is in {tmp_path / rescued}" in error and "go on from state with --resume" in error
    )
    assert load_identity(rescued).settings["trained"] == 1


def full(folder: Path) -> Path:
    """A folder where nothing can be saved."""
    (folder / "file").write_text("")
    return folder / "file"


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_training(run, monkeypatch, capsys):
    def save_checkpoint(step, path):
        raise SaveFailed("The disk is full.")

    monkeypatch.setattr("celeb_core.cli.commands.save_checkpoint", save_checkpoint)
    assert run("train", "ada.png", "--name", "ada", "--steps", "1", "--checkpoint", "state") == 0
    assert "warning: The disk is full." in capsys.readouterr().err
    assert Path("identities/ada.safetensors").is_file()


def test_no_image_takes_the_place_of_another(run, capsys):
    for steps, prompt in (("1", "a hat"), ("2", "a hat"), ("1", "a hat?")):
        assert run("generate", prompt, "--steps", steps) == 0
    files = capsys.readouterr().out.split()
    assert files == ["images/a-hat-0.png", "images/a-hat-0-2.png", "images/a-hat-0-3.png"]
    assert len({Path(file).read_bytes() for file in files}) == 3
    strip = ("interpolate", *celebrity_names()[:2], "--num-images", "1")
    assert run(*strip) == run(*strip, "--template", "a {} in {}") == 0
    assert capsys.readouterr().out.split() == ["images/mix-00.png", "images/mix-00-2.png"]


def test_images_that_are_done_are_kept_when_it_is_interrupted(run, monkeypatch, capsys):
    seeds, generate = [], sampling_module.generate

    def interrupted(prompt, models, basis, config, **options):
        seeds.append(config.seed)
        if len(seeds) == 2:
            raise KeyboardInterrupt
        return generate(prompt, models, basis, config, **options)

    monkeypatch.setattr(sampling_module, "generate", interrupted)
    assert run("generate", "a hat", "--num-images", "6", "--seed", "7", "--steps", "1") == 130
    assert seeds == [7, 11]
    assert sorted(path.name for path in Path("images").iterdir()) == [
        "a-hat-10.png", "a-hat-7.png", "a-hat-8.png", "a-hat-9.png"
    ]  # fmt: skip


def test_an_export_takes_the_place_of_its_like_alone(run, basis, capsys):
    for name, numbers in (("ada", basis.std > 0), ("eve", basis.std < 0)):
        save_identity(Identity(name, numbers.float(), basis.id, "tinyville"), Path("identities"))
    assert run("export", "ada", "--token", "x-1") == run("export", "ada", "--token", "x-1") == 0
    before = Path("embeddings/x-1.safetensors").read_bytes()
    assert run("export", "eve", "--token", "x-1") == 2
    assert "x-1.safetensors is there already, and holds something else" in capsys.readouterr().err
    assert Path("embeddings/x-1.safetensors").read_bytes() == before
    assert run("export", "eve", "--token", "x-1", "--replace") == 0
    assert Path("embeddings/x-1.safetensors").read_bytes() != before
