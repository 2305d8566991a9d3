"""JavaScript that inserts a text into the prompt at the cursor, which only the browser knows."""

from __future__ import annotations

import json

INSERT = """(...values) => {{
  const [text, extra] = [values[0] ?? "", {what}];
  if (!extra) return {result};
  const box = document.querySelector("#compose-prompt textarea");
  const at = box && box.selectionStart != null ? box.selectionStart : text.length;
  const end = box && box.selectionEnd != null ? box.selectionEnd : at;
  const before = text.slice(0, at), after = text.slice(end);
  const gap = before && !/\\s$/.test(before) ? " " : "";
  const now = before + gap + extra + after;
  setTimeout(() => {{
    const cursor = (before + gap + extra).length;
    box.focus(); box.setSelectionRange(cursor, cursor);
  }}, 50);
  return {filled};
}}"""


def insert(text: str) -> str:
    """Insert a fixed text."""
    return INSERT.format(what=json.dumps(text), result="text", filled="now")


def insert_chosen() -> str:
    """Insert the second value, which is emptied for the next choice."""
    return INSERT.format(what="values[1]", result="[text, null]", filled="[now, null]")
