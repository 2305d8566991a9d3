"""The celebrity map: all celebrities and the user's people in two dimensions, and who is near."""

from __future__ import annotations

import functools
from typing import Any

import gradio as gr

from celeb_core import CelebError, CelebMap, Mixture, build_map, locate, nearest_mixture, words_of
from ui.errors import explain, notice, safe
from ui.mixing import choices, percent, refilled, somebody
from ui.parts import colour_key, message
from ui.scatter import CELEBRITY, CHOSEN, COLOURS, NEAR, PERSON, Place, chart
from ui.studio import PRIVATE, Shared

COMPONENTS = 6
NEAREST = 5
LEAD = (
    '<p class="lead">Every celebrity is a dot, every person of your library too: the words of '
    "their names, seen in the two directions in which celebrities differ most. Point at a dot "
    "for its name.</p>"
)


class CelebMapPanel:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    @functools.cached_property
    def atlas(self) -> CelebMap:
        """Made when it is first looked at."""
        return build_map(self.shared.core.basis, self.shared.core.models, COMPONENTS)

    # --- handlers -------------------------------------------------------------------------------

    def refresh(self, person: str | None, session: str) -> list[Any]:
        """The list of people as it is now, one of the user's first; then as `show` has it."""
        known = choices(self.shared, session)
        [update] = refilled([person], known, known)
        return [update, *self.show(update["value"], session)]

    def show(self, person: str | None, session: str) -> list[Any]:
        """The map with one person in the foreground, and who is near in words (HTML)."""
        core, workspace = self.shared.core, self.shared.workspace(session)
        if not person:
            return [gr.skip(), notice("Choose a person to see who is near.", kind="hint")]
        try:
            words = words_of(somebody(person, workspace), core.basis, core.models)
        except CelebError as error:
            return [gr.skip(), notice(explain(error))]
        near = nearest_mixture(words, self.atlas, NEAREST, leave_out=person)
        people = {
            f"<{name}>": self._place(words_of(who, core.basis, core.models))
            for name, who in workspace.people().items()
        }
        shown = chart(self.atlas, people, {person: self._place(words)}, near.names)
        return [gr.update(value=shown, visible=True), described(person, near)]

    def _place(self, words: Any) -> Place:
        x, y = locate(words, self.atlas)[:2].tolist()
        return x, y

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.BrowserState) -> None:
        """Lay out and wire it."""
        gr.HTML(f'<h2 class="section">Celebrity map</h2>{LEAD}')
        with gr.Row():
            with gr.Column(scale=6, min_width=320):
                self.plot = gr.Plot(
                    label="Celebrity map",
                    show_label=False,
                    visible=False,
                    elem_id="map-plot",
                    container=False,
                )
                gr.HTML(colour_key(list(LEGEND.items())), elem_id="map-legend")
            with gr.Column(scale=4, min_width=320):
                self.person = gr.Dropdown(
                    [], label="Person", interactive=True, elem_id="map-person",
                    info="One of yours or a celebrity.",
                )  # fmt: skip
                self.near = message("map-near")
        self.shown = [self.person, self.plot, self.near]
        self.person.input(self.show, [self.person, session], self.shown[1:], **PRIVATE)


LEGEND = {
    "chosen person": COLOURS[CHOSEN],
    "your people": COLOURS[PERSON],
    "nearest celebrities": COLOURS[NEAR],
    "celebrities": COLOURS[CELEBRITY],
}


def described(person: str, near: Mixture) -> str:
    """Who is near and by how much, as HTML."""
    if not near.names:
        return notice(f"{person} is as average as can be: nobody is near.", kind="hint")
    largest = near.weights[0]
    rows = "".join(
        f'<dt><bdi>{safe(name)}</bdi></dt><dd><i style="width:{100 * weight / largest:.0f}%"></i>'
        f"<span>{weight:.2f}</span></dd>"
        for name, weight in zip(near.names, near.weights, strict=True)
    )
    return (
        f'<h3 class="section">Nearest celebrities to <bdi>{safe(person)}</bdi></h3>'
        f'<dl class="weights">{rows}</dl>'
        f'<p class="lead">Mixed by these weights, their words come nearest to those of '
        f"<bdi>{safe(person)}</bdi>: they go {percent(near.share)} of the squared "
        f"distance from the average celebrity. Near in words is not alike in looks: names are "
        "arbitrary.</p>"
    )
