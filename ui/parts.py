"""Widgets that several tabs use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import gradio as gr

from ui.errors import safe
from ui.jobs import Drawn


def gallery(
    id: str,
    label: str,
    value: Any = None,
    size: Literal["small", "medium", "large", "whole"] = "small",
    opens: bool = False,
) -> gr.Gallery:
    """Pictures with words under them; not there while there is none.

    Either to be chosen by a click, or to be opened and downloaded.
    """
    return gr.Gallery(
        value=value,
        label=label,
        height="auto",
        visible=bool(value),
        interactive=False,
        allow_preview=opens,
        buttons=["fullscreen", "download"] if opens else [],
        elem_id=id,
        elem_classes=["cards", size],
    )


def pictures(drawn: Sequence[Drawn]) -> Any:
    """What a gallery is to show: by path, so that nothing is encoded again."""
    rows = [(str(picture.path), picture.caption) for picture in drawn]
    return gr.update(value=rows, visible=bool(rows), selected_index=None)


def facts(rows: Mapping[str, str]) -> str:
    """Words and what they are, as an HTML list."""
    body = "".join(f"<dt>{safe(key)}</dt><dd>{safe(value)}</dd>" for key, value in rows.items())
    return f'<dl class="facts">{body}</dl>'


def colour_key(items: Sequence[tuple[str, str]]) -> str:
    """Texts and their colours, as an HTML list."""
    body = "".join(
        f'<li><i style="background:{colour}"></i>{safe(text)}</li>' for text, colour in items
    )
    return f'<ul class="legend">{body}</ul>'


def signal(id: str) -> gr.Textbox:
    """A hidden text whose change makes the page draw something anew.

    Not a gr.State: what an event outside of the queue changes in one starts nothing in the
    browser.
    """
    return gr.Textbox(visible="hidden", elem_id=id)


REVEAL = """() => setTimeout(() => {{
  const place = document.getElementById("{id}"), box = place?.getBoundingClientRect();
  if (box && (box.top < 0 || box.bottom > innerHeight))
    place.scrollIntoView({{ block: "start", behavior: "smooth" }});
}}, 150)"""  # once it is drawn: what an event changes is on the page a moment later


def reveal(id: str) -> str:
    """JavaScript that scrolls to something that is not in view as a whole, as on a phone."""
    return REVEAL.format(id=id)


def message(id: str, html: str = "") -> gr.HTML:
    """A place for a notice or a progress bar; takes no room while it is empty."""
    return gr.HTML(html, elem_id=id, elem_classes="message")
