"""Widgets that several tabs use, and the type of what handlers return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import gradio as gr

from celeb_core import checks
from ui.errors import safe
from ui.jobs import SavedImage

Updates: TypeAlias = dict[Any, Any]
"""What a handler returns: component -> new value or update. The others stay as they are.

Gradio takes no empty dict: where nothing changes, one component gets `gr.skip()`.
"""


class Number(gr.Number):
    """A number field. Requests need not come from it: gradio's own check lets NaN through."""

    def preprocess(self, payload: Any) -> float | int | None:
        """Return the number, or None for an empty field; raises SettingsError."""
        return None if payload is None else checked(payload, self, self.precision == 0)


class Slider(gr.Slider):
    """A slider, checked as `Number` is."""

    def preprocess(self, payload: Any) -> float | int:
        """Return the number; raises SettingsError."""
        return checked(payload, self, self.step == 1)


def checked(value: Any, widget: Number | Slider, whole: bool) -> float | int:
    """Return the number of a request if it is one that the widget can have.

    Raises:
        SettingsError: It is not; the message has the widget's label and range.
    """
    low, high = widget.minimum, widget.maximum
    assert low is not None and high is not None  # every widget of ours has a range
    number: float | int = checks.number(value, str(widget.label), low, high, whole=whole)
    return number


def gallery(
    id: str,
    label: str,
    value: Any = None,
    size: Literal["small", "medium", "large", "whole"] = "small",
    opens: bool = False,
) -> gr.Gallery:
    """Make a gallery with captions below its images, hidden while it is empty.

    Args:
        id: Of the element.
        label: Above the images.
        value: Images with captions.
        size: Of a thumbnail.
        opens: A click opens an image, to be looked at and downloaded; otherwise it only selects.
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


def gallery_of(images: Sequence[SavedImage]) -> Any:
    """Update a gallery to show these images: by path, so that nothing is encoded again."""
    rows = [(str(image.path), image.caption) for image in images]
    return gr.update(value=rows, visible=bool(rows), selected_index=None)


def facts(rows: Mapping[str, str]) -> str:
    """Format terms and their values as an HTML list."""
    body = "".join(f"<dt>{safe(key)}</dt><dd>{safe(value)}</dd>" for key, value in rows.items())
    return f'<dl class="facts">{body}</dl>'


def colour_key(items: Sequence[tuple[str, str]]) -> str:
    """Format texts and their colours as an HTML list."""
    body = "".join(
        f'<li><i style="background:{colour}"></i>{safe(text)}</li>' for text, colour in items
    )
    return f'<ul class="legend">{body}</ul>'


def signal(id: str) -> gr.Textbox:
    """Make a hidden text whose change makes the page render something again.

    Not a gr.State: what an event outside of the queue changes in one starts nothing in the
    browser.
    """
    return gr.Textbox(visible="hidden", elem_id=id)


REVEAL = """() => setTimeout(() => {{
  const target = document.getElementById("{id}"), box = target?.getBoundingClientRect();
  if (box && (box.top < 0 || box.bottom > innerHeight))
    target.scrollIntoView({{ block: "start", behavior: "smooth" }});
}}, 150)"""  # later, because what an event changes is on the page a moment after it


def reveal(id: str) -> str:
    """Return JavaScript that scrolls to an element that is not wholly in view, as on a phone."""
    return REVEAL.format(id=id)


def message(id: str, html: str = "") -> gr.HTML:
    """Make room for a notice or a progress bar; it takes none while it is empty."""
    return gr.HTML(html, elem_id=id, elem_classes="message")
