"""A person of the library in words."""

from __future__ import annotations

from ui.library_files import Entry, is_sample
from ui.progress import joined
from ui.training_job import score_text
from ui.widgets import facts


def caption(entry: Entry, basis_id: str) -> str:
    """Return the caption of a portrait, among people of that basis."""
    identity = entry.identity
    score = "" if entry.score is None else score_text(entry.score)
    foreign = identity.basis_id != basis_id
    model = f"for {identity.base_model or 'another model'}" if foreign else ""
    saved = entry.saved
    return joined(identity.name, score, model, f"{saved.day}\u00a0{saved:%b}\u00a0{saved:%Y}")


def about(entry: Entry) -> str:
    """Format all that is known about a person as an HTML list."""
    identity = entry.identity
    settings = identity.settings
    recipe = str(settings.get("preset", "imported" if "imported" in settings else "unknown"))
    steps = settings.get("trained")
    rows = {
        "In prompts": f"<{identity.name}>",
        "Identity score": "not measured" if entry.score is None else f"{entry.score:.2f} of 1",
        "Model": identity.base_model or "unknown",
        "Preset": f"{recipe}, {steps} steps" if steps else recipe,
        "Saved": f"{entry.saved.day} {entry.saved:%B %Y, %H:%M}",
        "File": f"{entry.file.stat().st_size:,} bytes: numbers only, no photo",
    }
    if consent := settings.get("consent"):
        rows["Consent"] = str(consent)
    if is_sample(entry):
        rows["From"] = "an example that comes with the app"
    return facts(rows)
