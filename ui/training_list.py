"""The people who can be trained, at the foot of the Faces tab."""

from __future__ import annotations

import gradio as gr

from celeb_core.errors import CelebError
from ui.errors import explain
from ui.studio import PRIVATE, Shared
from ui.trainee_files import Trainee
from ui.widgets import Updates, gallery


class TrainingList:
    """Widgets and what they do. Handlers take plain values and return component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    # --- handlers -------------------------------------------------------------------------------

    def pick(self, session: str, event: gr.SelectData) -> Updates:
        """Offer to remove the person who was clicked."""
        trainees = dict(enumerate(self.shared.workspace(session).trainees.values()))
        trainee = trainees.get(int(event.index))
        if trainee is None:  # removed meanwhile
            return self.refresh(session)
        return {
            self.picked: trainee.id,
            self.remove_button: gr.update(value=f"Remove {trainee.name}", visible=True),
        }

    def remove(self, picked: str, session: str) -> Updates:
        """Take a person off the list, and the photos off the disk."""
        try:
            self.shared.workspace(session).dismiss(picked)
        except CelebError as error:
            raise gr.Error(explain(error)) from error
        return self.refresh(session)

    def refresh(self, session: str) -> Updates:
        """Show the training list as it is now."""
        workspace = self.shared.workspace(session)
        rows = [(workspace.face_file(t), trainee_label(t)) for t in workspace.trainees.values()]
        return {
            self.people: gr.update(value=rows, visible=bool(rows), selected_index=None),
            self.remove_button: gr.update(visible=False),
        }

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.Textbox) -> None:
        """Lay out the widgets and wire them."""
        self.picked = gr.State("")
        self.people = gallery("faces-list", "Training list: click a person to remove them")
        self.remove_button = gr.Button("Remove", visible=False, size="sm", elem_id="faces-remove")
        self.outputs = [self.people, self.remove_button]
        picked = [self.picked, *self.outputs]
        self.people.select(self.pick, session, picked, **PRIVATE)
        self.remove_button.click(self.remove, [self.picked, session], self.outputs, **PRIVATE)


def trainee_label(trainee: Trainee) -> str:
    """Return the name, and the number of photos if there are several."""
    count = len(trainee.faces)
    return trainee.name if count == 1 else f"{trainee.name} · {count} photos"
