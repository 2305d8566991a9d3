"""Example faces of the bundled model, taken for somebody who has no photo at hand."""

from __future__ import annotations

from celeb_core import CelebError
from ui.studio import Shared
from ui.trainee_files import MADE_UP, Trainee
from ui.workspace import Workspace


def enlist_example(shared: Shared, workspace: Workspace) -> Trainee:
    """Put the next example face into the training list that is neither there nor trained.

    Raises:
        CelebError: All of them are, or there is no room for one more.
    """
    people = workspace.people()
    for image, name in shared.examples():
        known = workspace.trainee(name)
        if name in people or (known and known.consent != MADE_UP):
            continue
        if known:
            return known
        photo = workspace.add_photo(image, name, example=True)
        return workspace.enlist(photo, 0, name, consent=False)
    raise CelebError(
        "All example faces are trained. Choose one of them in Compose, or upload a photo."
    )
