from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import celebrity_names, portrait
from PIL import Image

from celeb_core import list_identities, load_basis
from celeb_core.__main__ import main
from celeb_core.evaluation import ROWS


@pytest.fixture
def run(world, tmp_path, monkeypatch):
    """Run a command in a folder of its own on the tiny world."""
    monkeypatch.chdir(tmp_path)
    portrait(255).save("ada.png")
    portrait(200).save("bob.png")
    Image.new("RGB", (128, 128), "blue").save("blank.png")

    def call(*arguments: str, model: Path | str = world) -> int:
        return main([*arguments, "--model", str(model), "--cache", "cache", "--device", "cpu"])

    return call


def test_two_commands_from_photo_to_picture(run, capsys):
    assert run("train", "ada.png", "--name", "ada", "--steps", "2") == 0
    saved = capsys.readouterr().out.strip()
    assert Path(saved).is_file() and Path(saved).stat().st_size < 3072
    assert run("generate", "<ada> in space", "--count", "2", "--seed", "4") == 0
    files = capsys.readouterr().out.split()
    assert [Path(file).name for file in files] == ["ada-in-space-4.png", "ada-in-space-5.png"]
    assert all(Image.open(file).size == (128, 128) for file in files)


def test_several_people_and_several_photos(run):
    names = ("--name", "ada", "--name", "bob")
    assert run("train", "ada.png", "bob.png", *names, "--steps", "1", "--out", "people") == 0
    assert (
        run("train", "ada.png", "bob.png", "--name", "both", "--steps", "1", "--out", "people") == 0
    )
    assert list(list_identities(Path("people"))) == ["ada", "bob", "both"]


def test_stop_and_go_on(run, capsys):
    train = ("train", "ada.png", "--name", "ada", "--preset", "paper")
    assert run(*train, "--steps", "1", "--checkpoint", "state") == 0
    assert run(*train, "--steps", "2", "--resume", "state") == 0
    assert list_identities(Path("identities"))["ada"].settings["trained"] == 2


def test_interpolate_celebrities_and_identities(run, capsys):
    assert run("train", "ada.png", "--name", "ada", "--preset", "instant") == 0
    capsys.readouterr()
    assert run("interpolate", "<ada>", celebrity_names()[0], "--count", "3", "--out", "strip") == 0
    assert sorted(path.name for path in Path("strip").iterdir()) == [
        "mix-00.png",
        "mix-01.png",
        "mix-02.png",
    ]


def test_basis_and_calibrate(run, world, tmp_path, monkeypatch, capsys):
    from celeb_core import calibration as module

    assert run("basis", "--out", "basis.pt", "-p", "4") == 0
    assert load_basis(Path("basis.pt")).p == 4
    (tmp_path / "few.txt").write_text("\n".join(celebrity_names()[:12]))
    few = ("calibrate", "--names", "few.txt", "--mixtures", "4", "--out", "c.safetensors")
    assert run(*few) == 1  # what the tiny model draws has no face
    assert "8 are needed" in capsys.readouterr().err and Path("c.rows").is_file()
    Path("c.rows").unlink()
    monkeypatch.setattr(
        module, "generate_each", lambda prompts, models, basis, config: [portrait()] * len(prompts)
    )
    assert run(*few) == 0
    assert "of 16 pictures" in capsys.readouterr().out and Path("c.safetensors").is_file()
    assert not Path("c.rows").exists()
    assert run(*few, "--keep-start") == 1  # there is none yet
    assert "celeb_core calibrate" in capsys.readouterr().err
    place = world / "calibration.safetensors"
    Path("c.safetensors").rename(place)
    try:
        assert run(*few, "--keep-start") == 0
    finally:
        place.unlink()
    assert "of 12 pictures" in capsys.readouterr().out  # mixtures are not for these


def test_filter_names_in_two_shares(run, tmp_path, monkeypatch, capsys):
    from celeb_core import filter_names as module

    monkeypatch.setattr(module, "MADE_UP", 2)
    monkeypatch.setattr(
        module, "generate", lambda prompt, models, basis, config: [portrait()] * config.num_images
    )
    (tmp_path / "few.txt").write_text("\n".join(celebrity_names()[:6]))
    arguments = ("filter-names", "--names", "few.txt", "--count", "2", "--steps", "1")
    assert run(*arguments, "--shard", "1/2") == 0
    assert "still to come" in capsys.readouterr().out and not Path("names/report.html").exists()
    assert run(*arguments) == 0
    assert "of 6 names kept" in capsys.readouterr().out
    assert "<table>" in Path("names/report.html").read_text()
    with pytest.raises(SystemExit):
        run(*arguments, "--shard", "3/2")


def test_score_says_how_alike_a_picture_is(run, measured_world, capsys):
    assert run("score", "ada.png", "ada.png", "bob.png", "blank.png", model=measured_world) == 0
    ada, bob, blank = capsys.readouterr().out.splitlines()
    assert ada == "ada.png: recogniser 1.000, judge 1.000"
    assert blank == "blank.png: recogniser 0.000, judge 0.000" and bob != ada
    assert run("score", "ada.png", "ada.png") == 0
    assert "no judge" in capsys.readouterr().out


def test_evaluate_writes_its_json(run, measured_world, monkeypatch, capsys):
    import celeb_core.cli.measure as module

    row = dict(identity=0.5, identity_edits=0.5, prompt=0.5, seconds=1.0)
    result = {name: row for name in ("celebrities", "instant", "trained", "paper")}
    result |= {name: dict(found=1.0, rank1=0.5) for name in ("pairs", "pairs_with_celebrity")}
    seen = {}

    def quick(studio, seed, people, report, rows):
        seen.update(seed=seed, people=people, rows=rows)
        return result

    monkeypatch.setattr(module, "evaluate_quick", quick)
    arguments = ("evaluate", "--quick", "--seed", "3", "--json", "scores.json")
    assert run(*arguments, model=measured_world) == 0
    assert json.loads(Path("scores.json").read_text()) == result
    assert seen == {"seed": 3, "people": 20, "rows": ROWS} and "trained" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "blank.png", "--name", "x"), "No face found"),
        (("train", "none.png", "--name", "x"), "no file"),
        (("train", "ada.png", "--name", "a/b"), "1 to 64 characters"),
        (("train", "ada.png", "bob.png", "--name", "a", "--name", "b", "--name", "c"), "per photo"),
        (("generate", "<nobody>"), "library is empty"),
        (("evaluate", "--quick"), "no evaluation set"),
    ],
)
def test_errors_are_one_line_and_exit_code_one(arguments, message, run, capsys):
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert "error: " in error and message in error and "Traceback" not in error


def test_wrong_usage_is_exit_code_two(run):
    for arguments in (("train", "ada.png"), ("paint",), ("generate",)):
        with pytest.raises(SystemExit) as caught:
            run(*arguments)
        assert caught.value.code == 2


def test_interrupted_is_exit_code_130(run, monkeypatch):
    import celeb_core.cli.options as module

    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "load_studio", lambda *a, **k: interrupted(None))
    assert run("generate", "a photo") == 130
