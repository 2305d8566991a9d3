"""A person of the library in words."""

from __future__ import annotations

from ui.parts import facts
from ui.progress import joined
from ui.shelf import Entry, is_sample
from ui.training_job import likeness


def card(entry: Entry, basis_id: str) -> str:
    """What stands under a picture, beside people of that basis."""
    identity, parts = entry.identity, [entry.identity.name]
    if entry.score is not None:
        parts.append(likeness(entry.score))
    if identity.basis_id != basis_id:
        parts.append(f"for {identity.base_model or 'another model'}")
    return joined(*parts, f"{entry.saved.day}\u00a0{entry.saved:%b}\u00a0{entry.saved:%Y}")


def about(entry: Entry) -> str:
    """All that is known about a person, as an HTML list."""
    identity = entry.identity
    settings = identity.settings
    recipe = str(settings.get("preset", "imported" if "imported" in settings else "unknown"))
    steps = settings.get("trained")
    rows = {
        "In prompts": f"<{identity.name}>",
        "Likeness": "not measured" if entry.score is None else f"{entry.score:.2f} of 1",
        "Model": identity.base_model or "unknown",
        "Recipe": f"{recipe}, {steps} steps" if steps else recipe,
        "Saved": f"{entry.saved.day} {entry.saved:%B %Y, %H:%M}",
        "File": f"{entry.file.stat().st_size:,} bytes: numbers only, no photo",
    }
    if is_sample(entry):
        rows["From"] = "an example that comes with the app"
    return facts(rows)
