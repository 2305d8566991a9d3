"""The Dockerfile, read: its instructions, and what they copy."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Instruction(NamedTuple):
    """One instruction: “COPY”, “app.py ./”."""

    name: str
    text: str

    def words(self) -> list[str]:
        """Return its words, of either form: COPY a b, ENTRYPOINT ["a", "b"]."""
        if self.text.startswith("["):
            return [str(word) for word in json.loads(self.text)]
        return shlex.split(self.text)


def instructions(path: Path = ROOT / "Dockerfile") -> list[Instruction]:
    """Return the instructions of a Dockerfile, in their order."""
    lines = path.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = text.replace("\\\n", " ").splitlines()
    parts = [line.split(maxsplit=1) for line in joined if line.strip()]
    return [Instruction(name.upper(), text.strip()) for name, text in parts]


def health_command(steps: list[Instruction]) -> list[str]:
    """Return the command of HEALTHCHECK."""
    (check,) = [step.text for step in steps if step.name == "HEALTHCHECK"]
    return Instruction("CMD", check.partition("CMD")[2].strip()).words()


def entry_point(steps: list[Instruction]) -> list[str]:
    """Return the command of ENTRYPOINT."""
    (entry,) = [step for step in steps if step.name == "ENTRYPOINT"]
    return entry.words()
