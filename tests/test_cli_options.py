"""Wrong usage of every command: one message and exit code 2, before a model is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import portrait

from celeb_core.__main__ import main
from celeb_core.cli.options import build_parser

HUGE = "9" * 20
TRAIN = ("train", "ada.png", "--name", "x")
SCORE = ("score", "ada.png", "ada.png")
SAMPLING = (("generate", "hi"), ("interpolate", "a", "b"), ("filter-names",))
TRAIN_MANY = ("train-many", "photos", "--out", "out")
GENERATE_MANY = ("generate-many", "photos", "ada.png", "--out", "out")
SEEDED = (
    *SAMPLING,
    TRAIN_MANY,
    GENERATE_MANY,
    TRAIN,
    SCORE,
    ("prepare",),
    ("refine", "photos"),
    ("evaluate",),
)


@pytest.fixture
def usage_error(tmp_path, monkeypatch, capsys):
    """Run a command that must be refused before a model is loaded, and return the message."""
    monkeypatch.chdir(tmp_path)
    portrait().save("ada.png")
    Path("photos").mkdir()
    Path("dangling").symlink_to("nowhere")

    def loaded(*_, **__):
        raise AssertionError("a model is loaded")

    for name in ("engines.load_studio", "commands.load_models"):
        monkeypatch.setattr(f"celeb_core.cli.{name}", loaded)

    def call(*arguments: str) -> str:
        try:
            code: int | str | None = main(arguments)
        except SystemExit as end:
            code = end.code
        error = capsys.readouterr().err
        assert code == 2 and error.count("error: ") == 1 and "Traceback" not in error, error
        return error

    return call


NUMBERS = [
    *((one, "--steps", bad) for one in SAMPLING for bad in ("-3", "0", "1001")),
    *((TRAIN, "--steps", bad) for bad in ("-1", "2.5", "x", "", "9" * 6000)),
    (("refine", "photos"), "--steps", "0"),
    *((one, "--seed", bad) for one in SEEDED for bad in ("-1", HUGE)),
    *((one, "--num-images", bad) for one in SAMPLING for bad in ("0", "-1", "1000000000")),
    *((SAMPLING[0], "--guidance-scale", bad) for bad in ("nan", "inf", "-inf", "-1", "1e30", "x")),
    *((TRAIN, "--max-seconds", bad) for bad in ("nan", "inf", "-1", "x")),
    *((TRAIN, "--face", bad) for bad in ("0", "-2", "left")),
    (SCORE, "--face", "0"),
    *((("import", "ada.png"), "--min-explained", bad) for bad in ("1.1", "-0.1", "nan")),
    *((("basis",), "--components", bad) for bad in ("0", "-5", "513")),
    *((("evaluate",), "--people", bad) for bad in ("0", "9", "2,x", "2,", "", HUGE)),
    *((("evaluate",), f"--{one}", bad) for one in ("count", "groups") for bad in ("0", HUGE)),
    (("evaluate",), "--workers", "0"),
    *((("refine", "photos"), "--batch-size", bad) for bad in ("0", "-1", HUGE)),
    *((TRAIN, "--people-per-step", bad) for bad in ("0", "x")),
    *((TRAIN_MANY, f"--{name}", "-1") for name in ("workers", "portraits", "people-at-once")),
    *((GENERATE_MANY, "--shard", bad) for bad in ("5/4", "1")),
    *((("filter-names",), "--shard", bad) for bad in ("5/4", "0/2", "1/0", "1", "a/b", "1/2/3")),
]


@pytest.mark.parametrize(("command", "option", "bad"), NUMBERS)
def test_a_number_out_of_range_is_named_with_its_range(command, option, bad, usage_error):
    error = usage_error(*command, option, bad)
    assert f"argument {option}" in error and len(error) < 500
    assert " no " in error or "expected one argument" in error  # argparse takes -inf for an option


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "ada.png", "--name", ""), "0 characters"),
        (("train", "ada.png", "--name", "<ada"), "contains '<'"),
        (("train", "ada.png", "--name", "<<ada>>"), "contains '<' '>'"),
        (("train", "ada.png", "--name", "a/b"), "contains '/'"),
        (("train", "ada.png", "--name", "x" * 65), "65 characters"),
        (("train", "ada.png", "--name", "a\udcff"), "contains '\\udcff'"),
        (("train", "ada.png", "ada.png", "--name", "x", "--name", "<x>"), "Two people are called"),
        ((*TRAIN, "--name", "y"), "2 names, 1 photos"),
        (("export", "<ada"), "contains '<'"),
        (("export", ""), "0 characters"),
        (("import", "ada.png", "--name", "a>b"), "contains '>'"),
        (("interpolate", "", "b"), "it is empty"),
        (("interpolate", "a", "b", "--template", "a photo"), "has no {}"),
        (("interpolate", "a", "b", "--template", "{0}"), "has no {}"),
        (("interpolate", "a", "b", "--template", "{"), "has no {}"),
        (("interpolate", "a", "b", "--template", "{} {name}"), "other braces"),
        (("generate", "a \udcff b"), "“a ? b” is no UTF-8 text"),
        (("generate", "a", "--negative-prompt", "\udcff"), "no UTF-8 text"),
        (("generate", "a", "--fast-lora", ""), "it is empty"),
        (("generate", "a", "--box", "ada"), "“ada” is no box"),
        (("generate", "a", "--box", "=0,0,1,1"), "is no box. Write name=left,top,right,bottom"),
        (("generate", "a", "--box", "ada=0,0,1"), "The box of ada is of 3 numbers"),
        (("generate", "a", "--box", "ada=0,0,1,x"), "is no box"),
        (("generate", "a", "--box", "ada=0,0,1,nan"), "bottom, is not a finite number"),
        (("generate", "a", "--box", "ada=0,0,2,1"), "right, is 2.0"),
        (("generate", "a", "--box", "\udcff=0,0,1,1"), "no UTF-8 text"),
        ((*TRAIN, "--model", ""), "--model: it is empty"),
        ((*TRAIN, "--model", "~no-such-user/x"), "--model: “~no-such-user/x”"),
        ((*TRAIN, "--model", "x" * 5000), "name too long"),
        ((*TRAIN, "--calibration", " "), "--calibration: it is empty"),
        ((*TRAIN, "--device", "tpu"), "“tpu” is no device"),
        ((*TRAIN, "--device", "cpu:x"), "“cpu:x” is no device"),
        (("pack", ""), "it is empty"),
        (("paint" * 10_000,), "invalid choice"),
    ],
)
def test_a_text_that_cannot_be_is_named(arguments, message, usage_error):
    error = usage_error(*arguments)
    assert message in error and len(error) < 2500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "none.png", "--name", "x"), "There is no file none.png"),
        (("train", "dangling", "--name", "x"), "There is no file dangling"),
        (("train", "photos", "--name", "x"), "photos is a folder"),
        (("train", "/dev/null", "--name", "x"), "a pipe or a device"),
        (("train", "", "--name", "x"), "it is empty"),
        (("train", "a\0.png", "--name", "x"), "a zero byte"),
        (("train", "a" * 5000, "--name", "x"), "name too long"),
        (("train", "\udcff.png", "--name", "x"), "There is no file"),
        ((*TRAIN, "--out", "ada.png"), "ada.png is no folder"),
        ((*TRAIN, "--out", "ada.png/people"), "ada.png is no folder"),
        ((*TRAIN, "--cache", "ada.png"), "ada.png is no folder"),
        ((*TRAIN, "--checkpoint", "photos"), "photos is a folder"),
        ((*TRAIN, "--checkpoint", "ada.png/state"), "ada.png is no folder"),
        ((*TRAIN, "--checkpoint", "ada.png"), "ada.png is there already"),
        ((*TRAIN, "--resume", "none"), "There is no file none"),
        ((*TRAIN, "--names", "photos"), "photos is a folder"),
        (("generate", "a", "--identities", "ada.png"), "ada.png is no folder"),
        (("generate", "a", "--out", "ada.png"), "ada.png is no folder"),
        (("export", "none.safetensors"), "There is no file none.safetensors"),
        (("export", "photos/ada"), "There is no file photos/ada"),
        (("import", "none.pt"), "There is no file none.pt"),
        (("score", "ada.png", "none.png"), "There is no file none.png"),
        (("score", "photos", "ada.png"), "photos is a folder"),
        (("refine", "none"), "There is no file none"),
        (("refine", "ada.png"), "ada.png is no folder"),
        (("basis", "--out", "photos"), "photos is a folder"),
        (("doctor", "--json", "photos"), "photos is a folder"),
        (("evaluate", "--json", "ada.png/x"), "ada.png is no folder"),
        (("evaluate", "--markdown", "photos"), "photos is a folder"),
        (("evaluate", "--photos", "none"), "There is no file none"),
        (("evaluate", "--out", "ada.png"), "ada.png is no folder"),
        (("pack", "buffalo_l", "--root", "ada.png"), "ada.png is no folder"),
    ],
)
def test_a_path_that_leads_nowhere_or_to_something_else_is_named(arguments, message, usage_error):
    error = usage_error(*arguments)
    assert message in error and len(error) < 500


def test_a_folder_that_cannot_be_written_is_named(usage_error, monkeypatch, tmp_path):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert f"{tmp_path} is read-only" in usage_error(*TRAIN, "--out", "people")


def test_numbers_of_people_are_written_with_commas():
    parse = build_parser().parse_args
    assert parse(["evaluate"]).people is None
    assert parse(["evaluate", "--people", "3, 2,3"]).people == (2, 3)


def test_a_name_may_be_written_as_in_a_prompt():
    parse = build_parser().parse_args
    assert parse(["train", "a.png", "--name", " <ada> "]).name == ["ada"]
    assert parse(["train", "a.png", "--name", "ñandú 你"]).name == ["ñandú 你"]
    assert parse(["export", "<ada>"]).person == "ada"
    assert parse(["export", "people/ada.safetensors"]).person == Path("people/ada.safetensors")
