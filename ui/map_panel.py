"""The celebrity map: all celebrities and the user's people in two dimensions, and who is near."""

from __future__ import annotations

import functools

import gradio as gr
from torch import Tensor

from celeb_core import CelebError, person_embeddings
from ui.celeb_map import CelebMap, Mixture, build_map, locate, nearest_mixture
from ui.errors import explain, notice, safe
from ui.mixtures import choices, find_person, percent, refilled
from ui.scatter import CELEBRITY, CHOSEN, COLOURS, NEAR, PERSON, Position, chart
from ui.studio import PRIVATE, Shared
from ui.widgets import Updates, colour_key, message

COMPONENTS = 6
NEAREST = 5
LEAD = (
    '<p class="lead">Every celebrity is a dot, every person of your library too: the token '
    "embeddings of their names, in the two directions in which celebrities differ most. Point at "
    "a dot for its name.</p>"
)
LEGEND = {
    "chosen person": COLOURS[CHOSEN],
    "your people": COLOURS[PERSON],
    "nearest celebrities": COLOURS[NEAR],
    "celebrities": COLOURS[CELEBRITY],
}


class CelebMapPanel:
    """Widgets and what they do."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    @functools.cached_property
    def celeb_map(self) -> CelebMap:
        """Built when it is first needed: it takes a moment."""
        return build_map(self.shared.core.basis, self.shared.core.models, COMPONENTS)

    # --- handlers -------------------------------------------------------------------------------

    def refresh(self, person: str | None, session: str) -> Updates:
        """Update the list of people, one of the user's first; then as `show` does."""
        known = choices(self.shared, session)
        [update] = refilled([person], known, known)
        return {self.person: update, **self.show(update["value"], session)}

    def show(self, person: str | None, session: str) -> Updates:
        """Show the map with one person in the foreground, and the nearest celebrities."""
        core, workspace = self.shared.core, self.shared.workspace(session)
        if not person:
            return {self.near: notice("Choose a person to see who is near.", kind="hint")}
        try:
            chosen = find_person(person, workspace)
            embeddings = person_embeddings(chosen, core.basis, core.models)
        except CelebError as error:
            return {self.near: notice(explain(error))}
        near = nearest_mixture(embeddings, self.celeb_map, NEAREST, leave_out=person)
        people = {
            f"<{name}>": self._position(person_embeddings(identity, core.basis, core.models))
            for name, identity in workspace.people().items()
        }
        plot = chart(self.celeb_map, people, {person: self._position(embeddings)}, near.names)
        return {
            self.plot: gr.update(value=plot, visible=True),
            self.near: describe_mixture(person, near),
        }

    def _position(self, embeddings: Tensor) -> Position:
        x, y = locate(embeddings, self.celeb_map)[:2].tolist()
        return x, y

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.Textbox) -> None:
        """Lay out and wire it."""
        gr.HTML(f'<h2 class="section">Celebrity map</h2>{LEAD}')
        with gr.Row():
            with gr.Column(scale=6, min_width=320):
                self.plot = gr.Plot(
                    label="Celebrity map", show_label=False, visible=False, elem_id="map-plot",
                    container=False,
                )  # fmt: skip
                gr.HTML(colour_key(list(LEGEND.items())), elem_id="map-legend")
            with gr.Column(scale=4, min_width=320):
                self.person = gr.Dropdown(
                    [], label="Person", interactive=True, elem_id="map-person",
                    info="One of yours or a celebrity.",
                )  # fmt: skip
                self.near = message("map-near")
        self.shown = [self.person, self.plot, self.near]
        self.person.input(self.show, [self.person, session], self.shown[1:], **PRIVATE)


def describe_mixture(person: str, near: Mixture) -> str:
    """HTML: the nearest celebrities with their weights."""
    if not near.names:
        return notice(f"{person} is as average as can be: nobody is near.", kind="hint")
    largest = near.weights[0]
    rows = "".join(
        f"<dt><bdi>{safe(name)}</bdi></dt>"
        f'<dd><i style="width:calc({weight / largest:.2f} * (100% - 3rem))"></i>'
        f"<span>{weight:.2f}</span></dd>"
        for name, weight in zip(near.names, near.weights, strict=True)
    )
    return (
        f'<h3 class="section">Nearest celebrities to <bdi>{safe(person)}</bdi></h3>'
        f'<dl class="weights">{rows}</dl>'
        f'<p class="lead">Mixed by these weights, their token embeddings come nearest to those of '
        f"<bdi>{safe(person)}</bdi>: they explain {percent(near.share)} of the squared "
        f"distance from the average celebrity. Near on the map does not mean alike in looks: "
        "names are arbitrary.</p>"
    )
