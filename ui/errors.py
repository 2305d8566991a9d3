"""Errors -> text on the page: the one place where that is decided."""

from __future__ import annotations

import html
import logging
import re

from celeb_core.errors import CelebError

log = logging.getLogger(__name__)

BUG = "Something went wrong here that is not your fault ({kind}). The log of the app says more."

# An absolute path, which does not follow a word, a scheme or a drive; its last part is a file.
PATH = re.compile(
    r"(?<![\w.:/<\\])(?:/|[A-Za-z]:\\)(?:[^\s/\\:“”'\"<>]+[/\\])*([^\s/\\:“”'\"<>]*[^\s/\\:“”'\"<>.,;)])[/\\]?"
)


def explain(
    error: BaseException, path: str = "", label: str = "", whole_paths: bool = False
) -> str:
    """Return what the user reads: a `CelebError`'s message, a bug as an apology and a log entry.

    Without options of the command line and, but for their last part, without paths of the server.

    Args:
        error: What was raised.
        path: A path of the server that the message may hold.
        label: What is shown instead of the path: the name that the user knows.
        whole_paths: Show them: the user is the owner of the machine and has to find the place.
    """
    if not isinstance(error, CelebError):
        log.error("a bug", exc_info=error)
        return BUG.format(kind=type(error).__name__)
    text = error.message.replace(path, f"“{label}”") if path else error.message
    # Half a surrogate pair, which JSON may have, would be none in an answer.
    text = text if whole_paths else PATH.sub(r"\1", text)
    return text.encode(errors="replace").decode()


def explain_file(error: BaseException, path: str, label: str) -> str:
    """Return what the user reads about a file, with its name; otherwise as `explain`."""
    text = explain(error, path, label)
    return text if label in text else f"{label}: {text}"


def safe(text: str) -> str:
    """Escape text for HTML: names and file names are the user's.

    Braces and dollars too, because `gr.HTML` treats its value as a part of a template.
    """
    escaped = html.escape(text)
    for character in "{}$`\\":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return escaped


def notice(*lines: str, kind: str = "error") -> str:
    """Format an inline message as HTML.

    Args:
        *lines: Plain text; empty ones are left out, and without any there is no message.
        kind: "error", "hint" or "good".
    """
    paragraphs = [safe(line) for line in lines if line]
    if not paragraphs:
        return ""
    role = "alert" if kind == "error" else "status"
    body = "".join(f"<p>{line}</p>" for line in paragraphs)
    return f'<div class="notice {kind}" role="{role}">{body}</div>'
