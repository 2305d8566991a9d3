"""Errors -> words on the page: the one place where that is decided."""

from __future__ import annotations

import html
import logging

from celeb_core.errors import CelebError

log = logging.getLogger(__name__)

OURS = "Something went wrong here that is not your fault ({kind}). The log of the app says more."


def explain(error: BaseException, path: str = "", label: str = "") -> str:
    """What the user reads: a `CelebError` as it is, a bug as an apology (and a line in the log).

    A `path` of the server in the message is shown as `label`, the name the user knows.
    """
    if not isinstance(error, CelebError):
        log.error("a bug", exc_info=error)
        return OURS.format(kind=type(error).__name__)
    text = str(error)
    return text.replace(path, f"“{label}”") if path else text


def safe(text: str) -> str:
    """Text as HTML. Names and file names are the user's: never put them on the page raw.

    Braces and dollars too, because `gr.HTML` treats its value as a part of a template.
    """
    escaped = html.escape(text)
    for character in "{}$`\\":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return escaped


def notice(*lines: str, kind: str = "error") -> str:
    """Lines of text as an inline message (none: no message); kind is "error", "hint" or "good"."""
    shown = [safe(line) for line in lines if line]
    if not shown:
        return ""
    role = "alert" if kind == "error" else "status"
    body = "".join(f"<p>{line}</p>" for line in shown)
    return f'<div class="notice {kind}" role="{role}">{body}</div>'
