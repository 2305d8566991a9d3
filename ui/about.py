"""About: which model runs where and why, what it costs, what is allowed."""

from __future__ import annotations

import platform
from pathlib import Path

import diffusers
import gradio as gr
import psutil
from huggingface_hub import try_to_load_from_cache

from celeb_core import Models, Studio, __version__
from celeb_core.downloads import REVISIONS
from celeb_core.face_packs import PACKS
from celeb_core.loading import ASSETS
from celeb_core.models import read_about, read_names
from celeb_core.types import Calibration
from ui.made_here import MadeHere
from ui.other_model import COMMAND
from ui.progress import duration
from ui.studio import PRIVATE, Shared
from ui.widgets import Updates, facts

TEXT = f"""
### Use Stable Diffusion instead

The bundled model, Toonville, generates a drawn world and knows only drawn faces. For photographs,
stop the app and start it with Stable Diffusion 1.5. It is downloaded at the first start, some 4 GB,
and wants a CUDA graphics card; the Faces tab then offers the face pack that photographs need:

```
{COMMAND}
```

A folder in the diffusers format works instead of the name. People belong to the model that they
were trained on; they stay in the library and are there again when you come back to it.

### Consent

Use only photos of people who agree to it, and say so when an image of a real person is not real.
A person's file holds 1,024 numbers and no photo. Delete a person in the Library and the file is
gone after a week; remove them from the training list and their photos are gone at once. “Forget”
in the Library deletes all that there is of a person at once, generated images too.

### Privacy

Nothing is sent anywhere: the page loads nothing from other servers, and photos are worked on where
the app runs. Images carry their settings, names included, unless you say otherwise in Compose.

### Licences

This program is under the MIT licence. Stable Diffusion comes under CreativeML Open
RAIL-M, which forbids some uses. insightface's own face packs are for non-commercial research only,
however they were obtained; AuraFace's recogniser is under Apache-2.0.

The method is [Celeb Basis](https://arxiv.org/abs/2306.00926) (Yuan et al., NeurIPS 2023).
"""


class AboutTab:
    """Facts that are looked up, and a text."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.made_here = MadeHere(shared)

    def refresh(self) -> Updates:
        """Show the facts as they are now: memory changes."""
        return {self.facts: self._facts()}

    def build(self, tab: gr.Tab, session: gr.Textbox) -> None:
        """Lay out the tab."""
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self.facts = gr.HTML(self._facts(), elem_id="about-facts")
                self.made_here.build(session)
            with gr.Column(scale=6, min_width=320):
                gr.Markdown(TEXT, elem_id="about-text")
        tab.select(self.refresh, None, self.facts, queue=False, **PRIVATE)

    def _facts(self) -> str:
        shared = self.shared
        found, workers = rows(shared.core, shared.isolated), shared.runner.workers
        if not shared.executor.here and workers > 1:
            found["Workers"] = f"{workers}: as many jobs are done at the same time"
        return facts(found)


def rows(core: Studio, isolated: bool = False) -> dict[str, str]:
    """Return what runs here; where sessions are isolated, without the paths of the server."""
    models = core.models
    millions = sum(w.numel() for network in models.networks for w in network.parameters()) / 1e6
    memory, total = psutil.Process().memory_info().rss / 1e9, psutil.virtual_memory().total / 1e9
    return {
        "Version": __version__,
        "Model": f"{models.title}, {millions:.0f} million parameters{revision(models)}",
        "Device": f"{models.device.type}, {psutil.cpu_count()} processor cores in this machine",
        "Why": models.note.partition(": ")[2],
        "Safety": safety(core),
        "Precision": f"{models.dtype}, text encoders "
        + str(models.encoders[0].model.dtype).removeprefix("torch."),
        "Memory": f"{memory:.1f} GB in use by the app, of {total:.0f} GB",
        "Memory mode": models.memory.mode,
        "Images": f"{models.width} x {models.height} pixels, {models.steps} steps",
        "Celebrities": f"{len(core.basis.names)} names, {list_of_names(core)}; "
        f"{core.basis.p} components per token embedding",
        "Calibration": calibration(core, isolated),
        **preparation(core.calibration),
        "Face pack": face_pack(core),
        **({"Its licence": face_licence(core)} if core.faces.ready else {}),
        "Built on": f"Python {platform.python_version()}, diffusers {diffusers.__version__}, "
        f"Gradio {gr.__version__}",
    }


def revision(models: Models) -> str:
    """Name the commit of a model of the hub."""
    pinned, name = REVISIONS.get(models.id), "model_index.json"
    is_hub_id = models.folder is None and models.id.count("/") == 1
    path = try_to_load_from_cache(models.id, name, revision=pinned) if is_hub_id else None
    return f", revision {Path(path).parent.name[:12]}" if isinstance(path, str) else ""


def list_of_names(core: Studio) -> str:
    """Say where the celebrities' names come from."""
    if core.basis.names == core.models.names:
        return "the model's own list"
    shipped = core.basis.names == read_names(ASSETS / "celeb_names.txt")
    return "the list that comes with the app" if shipped else "a list of your own"


def calibration(core: Studio, isolated: bool) -> str:
    """Say which calibration is used, and where it comes from."""
    if core.calibration is None:
        return "none: training starts from the average"
    source, folder = Path(core.calibration.source), core.models.folder
    where = "of the model's folder" if source.parent == folder else "made on this machine"
    if core.named is not None:
        where = "named with --calibration"
    path = "" if isolated else f": {core.named or source}"
    return f"of {len(core.calibration.names)} celebrities, {where}{path}"


def preparation(calibration: Calibration | None) -> dict[str, str]:
    """Say who prepared the model, with what and how well; nothing of one without a report."""
    if calibration is None or not calibration.report:
        return {}
    report = calibration.report
    by, ratios = report.get("made_by"), report.get("identity_over_by_name", [])
    how = f"{report.get('level')}, {report.get('date')}, on {report.get('device')}, "
    how += duration(report.get("seconds", 0))
    good = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    chosen = ", ".join(f"{name} {value}" for name, value in calibration.settings.items())
    return {
        "Prepared": f"{how}, by {by}" if by else how,
        "Self-check": f"identity score over that by name: {good} (celebrities held out)",
        "Training settings": chosen,
    }


def safety(core: Studio) -> str:
    """Say whether generated images are checked."""
    if core.safety is not None:
        return "generated images are checked before they are saved or shown"
    if read_about(core.models.folder).get("needs_safety_check") is False:
        return "no check: this model's images need none"
    return "generated images are not checked"


def face_pack(core: Studio) -> str:
    """Name the face pack and what it runs on."""
    if not core.faces.ready:
        return "none yet: see the Faces tab"
    return f"{core.faces.id}, on {core.faces.providers[0].removesuffix('ExecutionProvider')}"


def face_licence(core: Studio) -> str:
    """Say under which licence the face pack is, as far as its name tells."""
    name, folder = core.faces.id.rpartition("-")[0], core.models.folder
    if name in PACKS:
        return PACKS[name].licence
    return "that of the model" if folder and name == folder.name else "not known here"
