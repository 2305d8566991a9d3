from __future__ import annotations

import json
import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from conftest import celebrity_names, portrait
from PIL import Image
from safetensors.torch import save_file

from celeb_core import (
    CelebError,
    list_identities,
    load_basis,
    load_calibration,
    load_identity,
    load_studio,
    save_calibration,
    save_identity,
)
from celeb_core import sampling as sampling_module
from celeb_core.__main__ import main
from celeb_core.evaluation.evaluate import EvaluationConfig, evaluate
from celeb_core.face_packs import PACKS, Pack
from celeb_core.prepare import names as names_module
from celeb_core.prepare import refinement as refinement_module
from celeb_core.prepare.preparation import PrepareStep
from celeb_core.types import Identity


def test_what_is_wrong_with_a_photo_is_said_before_anything_is_trained(run, caplog):
    portrait().resize((32, 32)).save("small.png")
    with mock.patch("celeb_core.cli.commands.fit_identities", side_effect=CelebError("It begins.")):
        assert run("train", "ada.png", "small.png", "--name", "ada") == 1
    notes = [record.getMessage() for record in caplog.records]
    assert any(note.startswith("small.png: Small: the face is 16 pixels high") for note in notes)


def test_two_commands_from_photo_to_image(run, capsys):
    assert run("train", "ada.png", "--name", "ada", "--steps", "2") == 0
    saved = capsys.readouterr().out.strip()
    assert Path(saved).is_file() and Path(saved).stat().st_size < 3072
    assert run("generate", "<ada> in space", "--num-images", "2", "--seed", "4") == 0
    files = capsys.readouterr().out.split()
    assert files == ["images/ada-in-space-4.png", "images/ada-in-space-5.png"]
    assert all(Image.open(file).size == (128, 128) for file in files)


def test_options_reach_the_sampler(run, monkeypatch):
    configs = []
    monkeypatch.setattr(
        sampling_module, "generate", lambda *args, **options: configs.append(args[3]) or []
    )
    options = "--steps 3 --guidance-scale 0 --negative-prompt hat --scheduler ddim"
    assert run("generate", "a photo", "--seed", "4", *options.split()) == 0
    config = configs.pop()
    assert (config.seed, config.steps, config.guidance_scale) == (4, 3, 0.0)
    assert (config.negative_prompt, config.scheduler) == ("hat", "ddim")


def test_several_people_have_regions(run, basis, monkeypatch):
    calls, (one, two) = [], basis.names[:2]
    monkeypatch.setattr(
        sampling_module, "generate", lambda *args, **options: calls.append(args) or []
    )
    for text, *options in (
        (f"{one} and {two}", "--box", f"<{two}>=0,0,0.5,1", "--box", f"{one}=0.5,0,1,1"),
        (f"{one} and {two}", "--region-strength", "0.5"),
        (f"{one} and {two}", "--no-regions"),
        (one,),
    ):
        assert run("generate", text, *options) == 0
    (placed, *_, first), (_, *_, weaker), (_, *_, off), (_, *_, alone) = calls
    assert placed.boxes == {one: (0.5, 0.0, 1.0, 1.0), two: (0.0, 0.0, 0.5, 1.0)}
    assert (first.regions.strength, weaker.regions.strength) == (1.0, 0.5)
    assert off.regions is None and alone.regions is None
    box = ("--box", f"{two}=0,0,1,1")
    assert run("generate", one, *box) == 1  # who is in no prompt
    assert run("generate", f"{one} and {two}", "--no-regions", *box) == 2


def test_several_people_and_several_photos(run):
    names = ("--name", "ada", "--name", "bob")
    assert run("train", "ada.png", "bob.png", *names, "--steps", "1", "--out", "people") == 0
    assert (
        run("train", "ada.png", "bob.png", "--name", "both", "--steps", "1", "--out", "people") == 0
    )
    assert list(list_identities(Path("people"))) == ["ada", "bob", "both"]


def test_instant_without_a_calibration_is_refused(run, capsys):
    assert run("train", "ada.png", "--name", "ada", "--preset", "instant") == 1
    assert "needs a calibration, and Tinyville has none" in capsys.readouterr().err
    assert not list_identities(Path("identities"))


def test_stop_and_go_on(run, capsys):
    train = ("train", "ada.png", "--name", "ada", "--preset", "paper")
    assert run(*train, "--steps", "1", "--checkpoint", "state") == 0
    assert run(*train, "--steps", "2", "--resume", "state") == 0
    assert list_identities(Path("identities"))["ada"].settings["trained"] == 2
    state = Path("state").read_bytes()
    assert run(*train[:3], "eve", "--steps", "1", "--checkpoint", "state") == 2
    assert "state is there already. Go on from it with --resume state" in capsys.readouterr().err
    assert Path("state").read_bytes() == state


def test_a_template_may_name_people_of_the_library(run, basis, capsys):
    save_identity(Identity("eve", basis.std * 0, basis.id, "tinyville"), Path("identities"))
    strip = ("interpolate", *celebrity_names()[:2], "--num-images", "1", "--template")
    assert run(*strip, "{} with <eve>") == 0
    assert run(*strip, "{} with <evi>") == 1
    assert "Did you mean <eve>?" in capsys.readouterr().err


def test_photos_may_be_called_anything(run):
    names = ["with space.png", "line\nbreak.png", "写真.png"]
    for name in names:
        portrait().save(name)
    assert run("train", *names, "--name", "写真 ñ", "--steps", "0") == 0
    assert list(list_identities(Path("identities"))) == ["写真 ñ"]


def test_interpolate_celebrities_and_identities(run, capsys):
    assert run("train", "ada.png", "--name", "ada", "--steps", "1") == 0
    strip = ("--num-images", "3", "--out", "strip")
    assert run("interpolate", "<ada>", celebrity_names()[0], *strip) == 0
    files = sorted(Path("strip").iterdir())
    assert [file.name for file in files] == ["mix-00.png", "mix-01.png", "mix-02.png"]
    assert len({file.read_bytes() for file in files}) == 3
    capsys.readouterr()
    assert main(["check-image", "strip/mix-00.png"]) == 0
    assert "strip/mix-00.png: Made here" in capsys.readouterr().out
    assert main(["check-image", "ada.png", "--identities", "nowhere"]) == 0
    assert "proves nothing" in capsys.readouterr().out and not Path("nowhere").exists()


def test_export_and_import(run, basis, capsys):
    person = Identity("ada", (basis.std > 0).float(), basis.id, "tinyville")
    file = save_identity(person, Path("identities"))
    assert run("export", "<ada>") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == str(Path("embeddings/ada.safetensors")) and Path(out[0]).is_file()
    assert len(out) == 6 and "  ComfyUI: copy ada.safetensors" in out[3]
    assert run("export", str(file), "--format", "a1111", "--token", "eve") == 0
    assert run("import", "embeddings/eve.pt") == 0
    assert "<eve>, 100.0% within" in capsys.readouterr().out
    assert load_identity(Path("identities/eve.safetensors")).name == "eve"
    far = torch.randn(basis.mean.shape, generator=torch.Generator().manual_seed(0))
    save_file({"emb_params": far}, "far.safetensors")
    assert run("import", "far.safetensors", "--name", "zoe") == 1
    assert "--min-explained" in capsys.readouterr().err
    assert run("import", "embeddings/eve.pt", "--name", "zoe") == 0
    assert Path("identities/zoe.safetensors").is_file()
    assert run("import", "embeddings/eve.pt", "--name", "zoe") == 2
    assert "“zoe” is taken in identities" in capsys.readouterr().err
    assert run("import", "embeddings/eve.pt", "--name", "zoe", "--replace") == 0
    assert len(list(Path("identities/.studio/deleted").glob("*/zoe.safetensors"))) == 1


@pytest.mark.toonville
def test_the_samples_come_with_the_bundled_model(run, capsys):
    assert run("export", "<ada>", model="toonville") == 0
    assert Path(capsys.readouterr().out.splitlines()[0]).name == "ada-person.safetensors"
    assert run("export", "<ada>") == 1  # the tiny world is another model


def test_basis(run, capsys):
    assert run("basis", "--out", "basis.pt", "--components", "4") == 0
    assert load_basis(Path("basis.pt")).p == 4
    assert "40 names" in capsys.readouterr().out


def test_prepare(run, tmp_path, calibration, monkeypatch, capsys):
    few = ("--names", "few.txt", "--out", "c.safetensors", "--workers", "1")
    (tmp_path / "few.txt").write_text("\n".join(celebrity_names()[:12]))
    assert run("prepare", *few) == 1  # what the tiny model generates has no face
    assert "8 are needed" in capsys.readouterr().err
    seen = []

    def prepare_model(studio, folder, level, seed, made_by, makers):
        seen.append((folder, level, seed, made_by, makers.shard))
        report = {"self_check": ["result | 0.9"]}
        made = replace(calibration, report=report)
        yield PrepareStep(1, 2, "portrait 1 of 2", None)
        yield PrepareStep(2, 2, "done", 0.0, made)

    monkeypatch.setattr("celeb_core.cli.model_commands.prepare_model", prepare_model)
    assert run("prepare", *few, "--level", "full", "--made-by", "Ada") == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["result | 0.9", "c.safetensors"]
    assert "portrait 1 of 2" in captured.err
    assert seen.pop() == (Path("c"), "full", 0, "Ada", (0, 1))
    found = load_calibration([Path("c.safetensors")], calibration.recogniser, calibration.basis_id)
    assert found is not None and found.report["self_check"] == ["result | 0.9"]
    assert run("prepare", *few, "--shard", "2/3") == 0
    assert seen.pop()[-1] == (1, 3)
    assert run("prepare", *few[:-1], "2", "--shard", "2/3") == 2
    assert "A shard is made by one process" in capsys.readouterr().err and not seen


def test_refine(run, world, studio, basis, calibration, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(refinement_module, "MIN_PHOTOS", 20)
    (tmp_path / "photos").mkdir()
    for i, shade in enumerate(range(255, 175, -4)):
        portrait(shade).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    refine = ("--out", "c.safetensors", "--steps", "2", "--batch-size", "3")
    assert run("refine", "photos", *refine) == 1
    assert "celeb-basis prepare" in capsys.readouterr().err
    own = world / "calibration.safetensors"
    save_calibration(replace(calibration, basis_id=studio.basis.id), own)
    try:
        assert run("refine", "nowhere", *refine) == 2
        assert "There is no file nowhere" in capsys.readouterr().err
        assert run("refine", "photos", *refine) == 0
    finally:
        own.unlink()
    captured = capsys.readouterr()
    assert "refined with 20 photos" in captured.out
    assert "left out: notes.txt" in captured.out + captured.err
    refined = load_calibration([Path("c.safetensors")], studio.faces.id, studio.basis.id)
    assert refined is not None and not torch.allclose(refined.bias, calibration.bias, atol=1e-3)


def test_filter_names_in_two_shards(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(names_module, "MADE_UP", 2)
    monkeypatch.setattr(
        names_module,
        "generate",
        lambda prompt, models, basis, config: [portrait()] * config.num_images,
    )
    (tmp_path / "few.txt").write_text("\n".join(celebrity_names()[:6]))
    some = ("--num-images", "2", "--steps", "1", "--workers", "1")
    arguments = ("filter-names", "--names", "few.txt", *some)
    assert run(*arguments, "--shard", "1/2") == 0
    assert "4 of 8 names done" in capsys.readouterr().out
    assert not Path("names/report.html").exists()
    assert run(*arguments) == 0
    assert "of 6 names are known" in capsys.readouterr().out
    assert "<table>" in Path("names/report.html").read_text()
    for shard in ("3/2", "0/2", "1", "a/b"):
        with pytest.raises(SystemExit) as caught:
            run(*arguments, "--shard", shard)
        assert caught.value.code == 2


@pytest.mark.slow
def test_two_workers_filter_names_as_one_process_does(run, forking, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(names_module, "MADE_UP", 1)
    (tmp_path / "few.txt").write_text("\n".join(celebrity_names()[:4]))
    filter_names = ("filter-names", "--names", "few.txt", "--num-images", "1", "--steps", "1")
    pages = []
    for workers in "12":
        assert run(*filter_names, "--workers", workers, "--out", workers) == 0
        assert "of 4 names are known" in capsys.readouterr().out
        faces = Path(workers, "faces").iterdir()
        pages.append({path.name: path.read_bytes() for path in faces})
        pages[-1]["report"] = Path(workers, "report.html").read_bytes()
    assert pages[0] == pages[1] and len(pages[0]) == 6
    assert not multiprocessing.active_children()


def test_score_says_how_alike_an_image_is(run, measured_world, capsys):
    assert run("score", "ada.png", "ada.png", "bob.png", "blank.png", model=measured_world) == 0
    ada, bob, blank = capsys.readouterr().out.splitlines()
    assert ada == "ada.png: recogniser 1.000, judge 1.000"
    assert blank == "blank.png: recogniser 0.000, judge 0.000" and bob != ada
    assert run("score", "ada.png", "ada.png") == 0
    assert capsys.readouterr().out == "ada.png: recogniser 1.000\n"


def test_evaluate_prints_its_table_and_writes_its_files(
    run, measured_world, calibration, capsys, monkeypatch
):
    save_calibration(calibration, Path("mine.safetensors"))
    some = ("--quick", "--count", "2", "--people", "1,2", "--groups", "1", "--rows", "trained")
    made = ("--calibration", "mine.safetensors", "--preset", "instant")
    files = ("--json", "scores.json", "--markdown", "scores.md", "--out", "run")
    assert run("evaluate", "--seed", "3", *some, *made, *files, model=measured_world) == 0
    written, printed = json.loads(Path("scores.json").read_text()), capsys.readouterr()
    assert f"{written['trained']['prompt']:.3f}" in printed.out
    groups = "2 mixed, regions reversed"
    for done in ("loading", "portraits (celebrities)", "training p", "smiling” (trained)", groups):
        assert done in printed.err
    assert Path("scores.md").read_text().startswith("| | identity | over edits |")
    # In Python, and going on where the command has ended: nothing is left to do.
    studio = load_studio(measured_world, device="cpu", calibration="mine.safetensors")
    config = EvaluationConfig((1, 2), 2, None, "instant", ("trained",), groups=1, seed=3)
    monkeypatch.setattr("celeb_core.evaluation.images.generate_each", None)
    assert evaluate(studio, config, Path("run")) == written
    assert run("evaluate", "--seed", "4", *some, *made, *files, model=measured_world) == 2
    assert "other settings (seed: 3, now 4" in capsys.readouterr().err


def test_a_face_pack_on_request(world, tmp_path, monkeypatch, capsys):
    archive = Path(shutil.make_archive(str(tmp_path / "pack"), "zip", world / "faces"))
    monkeypatch.setitem(PACKS, "antelopev2", Pack(archive.as_uri(), "for research only"))
    assert main(["pack", "antelopev2", "--root", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(tmp_path / "models" / "antelopev2")
    assert "for research only" in captured.err
    assert main(["pack", "antelope", "--root", str(tmp_path)]) == 1
    assert "antelopev2" in capsys.readouterr().err


def test_only_what_needs_faces_needs_a_face_pack(run, faceless, capsys):
    assert run("train", "ada.png", "--name", "ada", model=faceless) == 1
    assert "celeb-basis pack buffalo_l" in capsys.readouterr().err
    assert run("generate", "a house", "--steps", "1", model=faceless) == 0
    assert capsys.readouterr().out.strip() == "images/a-house-0.png"


def test_a_calibration_is_named(run, calibration, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    save_calibration(calibration, Path("mine.safetensors"))
    train = ("train", "ada.png", "--name", "ada", "--preset", "instant", "--calibration")
    assert run(*train, "mine.safetensors") == 0
    with_it = list_identities(Path("identities"))["ada"].coefficients
    assert with_it.abs().max() > 0.1  # without one it is the mean person
    assert run(*train, "other.safetensors", "--replace") == 1
    assert "no file other.safetensors" in capsys.readouterr().err


def test_fast_mode(run, lora, tiny_vae, monkeypatch, capsys):
    configs, generate = [], sampling_module.generate

    def watched(prompt, models, basis, config, **options):
        configs.append((config.steps, config.guidance_scale, config.scheduler))
        return generate(prompt, models, basis, config, **options)

    monkeypatch.setattr(sampling_module, "generate", watched)
    hat = ("generate", "a hat", "--fast-lora")
    assert run(*hat, str(lora), "--vae", str(tiny_vae)) == 0
    assert run(*hat, str(lora), "--steps", "2", "--scheduler", "euler") == 0
    assert configs == [(6, 1.5, "lcm"), (2, 1.5, "euler")]
    files = capsys.readouterr().out.split()
    assert all(Image.open(file).size == (128, 128) for file in files) and len(files) == 2
    assert run(*hat, "none.safetensors") == 1
    assert "error: The LoRA none.safetensors is not there" in capsys.readouterr().err


def test_sdxl(run, sdxl_world, sdxl_basis, capsys):
    numbers = (sdxl_basis.std > 0).float()
    save_identity(Identity("ada", numbers, sdxl_basis.id, "sdxl"), Path("identities"))
    assert run("basis", model=sdxl_world) == 0
    assert f"{sdxl_basis.id}: 40 names" in capsys.readouterr().out
    assert run("export", "ada", model=sdxl_world) == 0
    assert "clip_g" in capsys.readouterr().out
    assert run("import", "embeddings/ada.safetensors", "--name", "eve", model=sdxl_world) == 0
    assert "<eve>, 100.0% within" in capsys.readouterr().out
    assert run("train", "bob.png", "--name", "bob", "--steps", "1", model=sdxl_world) == 0
    assert run("generate", "<bob> with <eve>", "--steps", "2", model=sdxl_world) == 0
    image = Image.open(capsys.readouterr().out.splitlines()[-1])
    assert image.size == (96, 64)  # wider for two


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "blank.png", "--name", "x"), "No face found"),
        (("generate", "<nobody>"), "library is empty"),
        (("interpolate", "<nobody>", "Grezin"), "library is empty"),
        (("export", "nobody"), "Nobody is called"),
        (("export", "eve", "--token", "A B"), "trigger word"),
        (("refine", "."), "no calibration"),
        (("evaluate", "--quick"), "no evaluation set"),
    ],
)
def test_errors_are_one_line_and_exit_code_one(arguments, message, run, basis, capsys):
    if "eve" in " ".join(arguments):
        save_identity(Identity("eve", basis.std * 0, basis.id, "tinyville"), Path("identities"))
        assert run("export", "eve") == 0
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert "error: " in error and message in error and "Traceback" not in error


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "ada.png"),
        ("paint",),
        ("generate",),
        ("export", "ada", "--format", "zip"),
        ("generate", "a photo", "--memory", "pieces"),
    ],
)
def test_wrong_usage_is_exit_code_two(arguments, run):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2


def test_interrupted_is_exit_code_130(run, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("celeb_core.cli.engines.load_studio", interrupted)
    assert run("generate", "a photo") == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "train", "filter-names", "pack"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert f"usage: celeb-basis {command}".strip() in capsys.readouterr().out


def test_people_in_the_negative_prompt_and_hints(run, caplog, capsys):
    for name in ("ada", "bob"):
        assert run("train", f"{name}.png", "--name", name, "--steps", "1") == 0
    negative = ("--negative-prompt", "＜BOB＞", "--steps", "1")
    assert run("generate", "a photo of <Ada>, (smiling:1.2)", *negative) == 0
    assert "Weights as in (word:1.3)" in caplog.text
    assert run("interpolate", "<ada>", "<bob>", "--num-images", "1", *negative) == 0
    assert run("generate", "<ada>", "--negative-prompt", "<eve>") == 1
    assert run("generate", "<ada") == 2
    assert "Negative prompt: Nobody here is called <eve>" in capsys.readouterr().err
