"""Numbers, texts and choices that may be anything: a page's requests are only JSON."""

import math
from collections.abc import Collection
from typing import Any

from celeb_core.errors import SettingsError, quote

MOST = 99_999  # of whole numbers that have no limit of their own
SEEDS = (-(2**63), 2**63 - 1)  # what torch takes, with room for counting up
LEAST_SIDE = 0.05  # of a box, as a share of the image's


def number(value: Any, label: str, low: float, high: float, *, whole: bool = True) -> Any:
    """Return a finite number from `low` to `high`; an int if it is to be `whole`, else a float.

    Raises:
        SettingsError: It is something else; the message has the label, the value and the range.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        if low <= value <= high and (not whole or value == int(value)):
            return int(value) if whole else float(value)
    kind = "whole number" if whole else "number"
    first, last = (f"{end:,g}" if isinstance(end, float) else f"{end:,}" for end in (low, high))
    raise SettingsError(f"{label} is {shown(value)}: give a {kind} from {first} to {last}.")


def text(value: Any, label: str, most: int) -> str:
    """Return a text of at most `most` characters, without lone surrogates; None is an empty one.

    Raises:
        SettingsError: It is longer, or no text.
    """
    if value is None or isinstance(value, str) and len(value) <= most:
        return (value or "").encode(errors="ignore").decode()
    if isinstance(value, str):
        raise SettingsError(f"{label} has {len(value):,} characters. Shorten it to {most:,}.")
    raise SettingsError(f"{label} is {shown(value)}: give a text.")


def texts(value: Any, label: str, most: int) -> list[str]:
    """Return a list of texts of at most `most` characters each; None is an empty one.

    Raises:
        SettingsError: It is something else.
    """
    if isinstance(value, list | tuple | None) and all(isinstance(one, str) for one in value or ()):
        return [text(one, label, most) for one in value or ()]
    raise SettingsError(f"{label} is {shown(value)}: give a list of texts.")


def choice(value: Any, label: str, choices: Collection[Any]) -> Any:
    """Return a value that is among the choices, which are hashable.

    Raises:
        SettingsError: It is not; the message has the choices.
    """
    if isinstance(value, str | int) and value in choices:
        return value
    listed = quote(", ".join(str(one) for one in choices if one != ""))
    raise SettingsError(f"{label} is {shown(value)}: choose one of {listed}.")


def box(value: Any, label: str) -> tuple[float, float, float, float]:
    """Return a box as shares of an image's width and height: left, top, right, bottom.

    Raises:
        SettingsError: It is something else, or a side is below LEAST_SIDE.
    """
    if not isinstance(value, list | tuple) or len(value) != 4:
        what = f"of {len(value):,} numbers" if isinstance(value, list | tuple) else shown(value)
        raise SettingsError(f"{label} is {what}: give left, top, right, bottom, each from 0 to 1.")
    edges = zip(("left", "top", "right", "bottom"), value, strict=True)
    left, top, right, bottom = (
        number(edge, f"{label}, {which},", 0.0, 1.0, whole=False) for which, edge in edges
    )
    if min(right - left, bottom - top) < LEAST_SIDE - 1e-6:
        raise SettingsError(
            f"{label} is {right - left:.3g} wide and {bottom - top:.3g} high: make both at least "
            f"{LEAST_SIDE:g} of the image; it is left, top, right, bottom."
        )
    return (left, top, right, bottom)


def shown(value: Any) -> str:
    """Return how a message shows a value that may be of any type and size."""
    if value is None:
        return "empty"
    if isinstance(value, str):
        return f"“{quote(value)}”"
    if isinstance(value, float) and not math.isfinite(value):
        return "not a finite number"
    short = isinstance(value, float) or isinstance(value, int) and value.bit_length() < 128
    return str(value) if short else f"of a wrong kind ({type(value).__name__})"
