"""Values of options: argparse's `type` functions, and checks of the files that they name.

What either refuses is one message and exit code 2.
"""

import math
import os
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from celeb_core import checks
from celeb_core.errors import BadName, SettingsError, UsageError, quote
from celeb_core.identity import check_name
from celeb_core.types import Box

MAX_SEED = 2**63 - 1  # torch takes up to 2**64 - 1: room for the images that follow


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return the parser of a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        with suppress(ValueError):
            if least <= (value := int(text)) <= most:
                return value
        raise ArgumentTypeError(f"“{quote(text)}” is no whole number from {least} to {most}")

    return parse


def numbers(least: int, most: int) -> Callable[[str], tuple[int, ...]]:
    """Return the parser of whole numbers from `least` to `most` with commas between them."""
    parse = whole(least, most)
    return lambda text: tuple(sorted({parse(part.strip()) for part in text.split(",")}))


def real(least: float, most: float = math.inf) -> Callable[[str], float]:
    """Return the parser of a finite number from `least` to `most`."""

    def parse(text: str) -> float:
        with suppress(ValueError):
            if least <= (value := float(text)) <= most and math.isfinite(value):
                return value
        end = f"to {most:g}" if math.isfinite(most) else "on"
        raise ArgumentTypeError(f"“{quote(text)}” is no number from {least:g} {end}")

    return parse


def seed(text: str) -> int:
    """Parse the seed of everything random."""
    return whole(0, MAX_SEED)(text)


def shard(text: str) -> tuple[int, int]:
    """Parse “1/4”, the first of four."""
    with suppress(ValueError):
        index, count = map(int, text.split("/"))
        return range(1, count + 1).index(index), count  # ValueError unless 1 <= index <= count
    raise ArgumentTypeError(
        f"“{quote(text)}” is no part of a whole. Write 1/4 for the first of four"
    )


def line(text: str) -> str:
    """Parse text, which may be empty."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = quote(text.encode(errors="replace").decode())
        raise ArgumentTypeError(
            f"“{shown}” is no UTF-8 text. Check the terminal's encoding"
        ) from error
    return text


def word(text: str) -> str:
    """Parse text that is not empty."""
    if not line(text).strip() or "\0" in text:
        raise ArgumentTypeError("it holds a zero byte" if "\0" in text else "it is empty")
    return text


def device_name(text: str) -> str:
    """Parse cpu, cuda, cuda:1 or mps."""
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,2})?", text):
        raise ArgumentTypeError(f"“{quote(text)}” is no device. Choose cuda, cuda:1, mps or cpu")
    return text


def source(text: str) -> str:
    """Parse the name of a model or of another source: a word, a path or a hub id."""
    try:
        Path(word(text)).expanduser().exists()
    except (RuntimeError, OSError) as error:  # ~nobody; a name that is too long
        raise ArgumentTypeError(f"“{quote(text)}”: {_reason(error)}") from error
    return text


def person_name(text: str) -> str:
    """Parse the name of a person, which may be in < and >, as in a prompt."""
    try:
        return check_name(re.sub(r"^\s*<(.*)>\s*$", r"\1", text, flags=re.DOTALL))
    except BadName as error:
        raise ArgumentTypeError(str(error)) from error


def person(text: str) -> str | Path:
    """Parse the name of a person, or the path of an identity file."""
    if os.path.isfile(text) or re.search(r"[/\\]|\.safetensors$", text):
        return path(text)
    return person_name(text)


def box(text: str) -> tuple[str, Box]:
    """Parse “ada=0.5,0,1,1”: a person's name and left, top, right, bottom as shares."""
    name, equals, sides = line(text).rpartition("=")
    name = re.sub(r"^\s*<(.*)>\s*$", r"\1", name).strip()
    try:
        if not equals or not name:
            raise ValueError
        return name, checks.box([float(side) for side in sides.split(",")], f"The box of {name}")
    except ValueError as error:
        raise ArgumentTypeError(
            f"“{quote(text)}” is no box. Write name=left,top,right,bottom, as in ada=0.5,0,1,1"
        ) from error
    except SettingsError as error:
        raise ArgumentTypeError(str(error)) from error


def template(text: str) -> str:
    """Parse a prompt with {} for the person."""
    rest = line(text).replace("{}", "")
    if rest == text or "{" in rest or "}" in rest:
        what = "holds other braces than {}" if rest != text else "has no {} for the person"
        raise ArgumentTypeError(f"“{quote(text)}” {what}. Write for example “a photo of {{}}”")
    return text


def path(text: str) -> Path:
    """Parse a path; the functions below check what is there, before the command begins."""
    if not text or "\0" in text:
        raise ArgumentTypeError("it is empty" if not text else "it holds a zero byte")
    return Path(text)


def check_exists(path: Path | str) -> None:
    """Raise UsageError if a path leads nowhere; a name (str) is no path."""
    if isinstance(path, Path) and not _exists(path):
        raise UsageError(f"There is no file {quote(str(path))}. Check the path.")


def check_file(path: Path | str) -> None:
    """Raise UsageError if a path is not that of a regular file; a name (str) is no path."""
    check_exists(path)
    if isinstance(path, Path) and not path.is_file():
        what = "a folder" if path.is_dir() else "a pipe or a device"
        raise UsageError(f"{quote(str(path))} is {what}. Name a file.")


def check_folder(path: Path) -> None:
    """Raise UsageError if a path is not that of a folder."""
    check_exists(path)
    check_may_be_folder(path)


def check_may_be_folder(path: Path) -> None:
    """Raise UsageError if a path is not that of a folder, and none can be made there."""
    if not (there := _nearest(path)).is_dir():
        raise UsageError(f"{quote(str(there))} is no folder. Name another one.")


def check_out_folder(path: Path) -> None:
    """Raise UsageError if no file can be made in a folder."""
    check_may_be_folder(path)
    if not os.access(there := _nearest(path), os.W_OK | os.X_OK):
        raise UsageError(f"{quote(str(there))} is read-only. Name another folder.")


def check_out_file(path: Path) -> None:
    """Raise UsageError if a file cannot be made, or made anew."""
    if _exists(path) and path.is_dir():
        raise UsageError(f"{quote(str(path))} is a folder. Name a file.")
    check_out_folder(path.parent)


def check_options(options: Namespace, checks: Mapping[str, Callable[[Any], None]]) -> None:
    """Make the checks of all options that were given."""
    for name, check in checks.items():
        given = vars(options)[name]
        for one in given if isinstance(given, list) else [given]:
            if one is not None:
                check(one)


def _nearest(path: Path) -> Path:
    """Return the path or, of the folders around it, the innermost that is there."""
    path = path.absolute()
    return next(one for one in (path, *path.parents) if _exists(one))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise UsageError(f"{quote(str(path))}: {_reason(error)}. Check the path.") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
