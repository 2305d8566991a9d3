"""Generation parameters as A1111 and others write them into images and on their pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from celeb_core import SCHEDULERS

MAX_CHARACTERS = 100_000
NEGATIVE = re.compile(r"(?:^|\s)Negative prompt:", re.IGNORECASE)
FIRST = re.compile(r"(?:^|\s)Steps:\s*\d+\s*(?:,|$)", re.IGNORECASE | re.MULTILINE)
PAIR = re.compile(r'([A-Za-z][\w \-/]{0,40}):\s*("(?:\\.|[^"\\])*"|[^,\n]*)')
NUMBERS: Mapping[str, tuple[str, type]] = {
    "steps": ("steps", int),
    "seed": ("seed", int),
    "cfg scale": ("guidance", float),
    "guidance scale": ("guidance", float),
}
"""Label in small letters -> our setting and its type."""
SAMPLERS = {
    "dpmpp_2m": "dpm++ 2m", "k_dpmpp_2m": "dpm++ 2m", "k_dpmpp_2m_ka": "dpm++ 2m karras",
    "euler ancestral": "euler a", "euler_ancestral": "euler a", "k_euler_a": "euler a",
    "k_euler": "euler", "k_euler_ancestral": "euler a", "uni_pc": "unipc", "ddim cfg++": "ddim",
}  # fmt: skip
"""Other names of schedulers, in small letters."""


def parse_parameters(text: str) -> dict[str, Any] | None:
    """Take a prompt apart that was copied with its settings, or that an image of A1111 holds.

    It is the prompt, then “Negative prompt: ...”, then “Steps: 20, Sampler: ..., Seed: 1, ...”;
    of the latter two, one may be missing.

    Returns:
        The settings that are in it and can be read, named as those of our own images; None if
        the text is a mere prompt. A scheduler may be one that is not known here.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    *_, first = [None, *FIRST.finditer(text)]
    end = first.start() if first else len(text)
    negative = NEGATIVE.search(text, 0, end)
    if negative is None and (first is None or len(PAIR.findall(text, end)) < 2):
        return None
    found: dict[str, Any] = {
        "prompt": _one_line(text[: negative.start() if negative else end]),
        "negative_prompt": _one_line(text[negative.end() : end]) if negative else "",
    }
    pairs = {name.strip().lower(): value.strip(' "') for name, value in PAIR.findall(text, end)}
    for label, (name, kind) in NUMBERS.items():
        with suppress(KeyError, ValueError):  # not there, or no number
            found.setdefault(name, kind(pairs[label]))
    if size := re.fullmatch(r"(\d{1,5})\s*[x×]\s*(\d{1,5})", pairs.get("size", "")):
        found["width"], found["height"] = int(size[1]), int(size[2])
    if sampler := pairs.get("sampler"):
        found["scheduler"] = _scheduler(sampler, pairs.get("schedule type", ""))
    return found


def _scheduler(sampler: str, schedule: str) -> str:
    """Return our name of a scheduler, or what was written."""
    name = " ".join(sampler.lower().split())
    name = SAMPLERS.get(name, name)
    if schedule.lower() in ("karras", "automatic") and f"{name} karras" in SCHEDULERS:
        name = f"{name} karras"
    return name if name in SCHEDULERS else sampler


def _one_line(text: str) -> str:
    """Return a prompt as one line: on the page, the next line is another prompt."""
    return " ".join(text.split())
