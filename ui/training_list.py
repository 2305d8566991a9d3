"""The people who can be trained, at the foot of the Faces tab."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui.parts import gallery
from ui.studio import PRIVATE, Shared
from ui.workspace import Trainee


class TrainingList:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    # --- handlers -------------------------------------------------------------------------------

    def pick(self, session: str, event: gr.SelectData) -> list[Any]:
        """A click on somebody in the training list -> their id, a button that removes them."""
        trainees = list(self.shared.workspace(session).trainees.values())
        trainee = trainees[min(int(event.index), len(trainees) - 1)]
        return [trainee.id, gr.update(value=f"Remove {trainee.name}", visible=True)]

    def remove(self, picked: str, session: str) -> list[Any]:
        """Off the list, and the photos off the disk."""
        self.shared.workspace(session).dismiss(picked)
        return self.refresh(session)

    def refresh(self, session: str) -> list[Any]:
        """The training list as it is now."""
        workspace = self.shared.workspace(session)
        rows = [(t.faces[0].image, trainee_label(t)) for t in workspace.trainees.values()]
        return [
            gr.update(value=rows, visible=bool(rows), selected_index=None),
            gr.update(visible=False),
        ]

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.BrowserState) -> None:
        """Lay it out and wire it."""
        self.picked = gr.State("")
        self.people = gallery("faces-list", "Training list: click somebody to remove them")
        self.remove_button = gr.Button("Remove", visible=False, size="sm", elem_id="faces-remove")
        self.shown = [self.people, self.remove_button]
        self.people.select(self.pick, session, [self.picked, self.remove_button], **PRIVATE)
        self.remove_button.click(self.remove, [self.picked, session], self.shown, **PRIVATE)


def trainee_label(trainee: Trainee) -> str:
    """A name, and from how many photos if there are several."""
    count = len(trainee.faces)
    return trainee.name if count == 1 else f"{trainee.name} · {count} photos"
