"""The Dockerfile: what it copies is there, what it runs is what the project runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.dockerfile import Instruction, entry_point, health_command, instructions

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def steps() -> list[Instruction]:
    return instructions()


def sources(steps: list[Instruction]) -> list[str]:
    return [source for step in steps if step.name == "COPY" for source in step.words()[:-1]]


def settings(steps: list[Instruction]) -> dict[str, str]:
    words = [word for step in steps if step.name == "ENV" for word in step.words()]
    return dict(word.split("=", 1) for word in words)


def test_an_instruction_may_have_many_lines_and_two_forms(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text('# one\nFROM a\n\nRUN b \\\n    && c\n# two\nENTRYPOINT ["d e", "f"]\n')
    found = instructions(path)
    assert [step.name for step in found] == ["FROM", "RUN", "ENTRYPOINT"]
    assert found[1].text.split() == ["b", "&&", "c"]
    assert entry_point(found) == ["d e", "f"]


def test_what_is_copied_is_there_and_reaches_the_builder(steps: list[Instruction]) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    reaching = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert lines[1] == "*"  # nothing else reaches it
    for source in sources(steps):
        assert (ROOT / source).exists() and source in reaching


def test_the_image_has_all_that_a_wheel_has(steps: list[Instruction]) -> None:
    assert {"app.py", "assets", "celeb_core", "identities", "ui"} <= {*sources(steps)}


def test_the_people_of_whoever_builds_it_stay_at_home() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[-2:] == ["identities/*", "!identities/*.sample.safetensors"]


def test_it_does_not_run_as_root(steps: list[Instruction]) -> None:
    assert [step.text for step in steps if step.name == "USER"] == ["studio"]
    names = [step.name for step in steps]
    assert "COPY" not in names[names.index("USER") :]  # the program is not its user's


def test_people_and_models_are_in_volumes(steps: list[Instruction]) -> None:
    (volumes,) = [step.words() for step in steps if step.name == "VOLUME"]
    variables = settings(steps)
    home, temporary = variables["HOME"], variables["TMPDIR"]
    *_, start = [step.text for step in steps if step.name == "WORKDIR"]
    assert {home, temporary, start} == {*volumes}


def test_the_port_is_the_same_everywhere(steps: list[Instruction]) -> None:
    variables = settings(steps)
    (exposed,) = [step.text for step in steps if step.name == "EXPOSE"]
    assert (
        variables["GRADIO_SERVER_PORT"] == exposed and variables["GRADIO_SERVER_NAME"] == "0.0.0.0"
    )
    assert f"127.0.0.1:{exposed}/gradio_api/" in health_command(steps)[-1]


def test_both_devices_are_installed_by_the_same_versions(steps: list[Instruction]) -> None:
    installs = [step.text for step in steps if step.name == "RUN" and "pip install" in step.text]
    assert len(installs) == 2 and all("-c constraints.txt" in text for text in installs)
    assert re.search(r"onnxruntime-gpu==", (ROOT / "constraints.txt").read_text())
