"""About: which model runs where and why, what it costs, what is allowed."""

from __future__ import annotations

import platform

import diffusers
import gradio as gr
import psutil

from celeb_core import Studio, __version__
from ui.studio import PRIVATE, Shared
from ui.widgets import Updates, facts

TEXT = """
### Use Stable Diffusion instead

The bundled model, Toonville, generates a drawn world and knows only drawn faces. For photographs,
stop the app and start it with Stable Diffusion 1.5. It is downloaded at the first start, some 4 GB,
and wants a CUDA graphics card:

```
python app.py --model stable-diffusion-v1-5/stable-diffusion-v1-5
```

A folder in the diffusers format works instead of the name. People belong to the model that they
were trained on; they stay in the library and are there again when you come back to it.

### Consent

Use only photos of people who agree to it, and say so when an image of a real person is not real.
A person's file holds 1,024 numbers and no photo. Delete a person in the Library and the file is
gone after a week; remove them from the training list and their photos are gone at once.

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

    def refresh(self) -> Updates:
        """Show the facts as they are now: memory changes."""
        return {self.facts: facts(rows(self.shared.core))}

    def build(self, tab: gr.Tab) -> None:
        """Lay out the tab."""
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self.facts = gr.HTML(facts(rows(self.shared.core)), elem_id="about-facts")
            with gr.Column(scale=6, min_width=320):
                gr.Markdown(TEXT, elem_id="about-text")
        tab.select(self.refresh, None, self.facts, queue=False, **PRIVATE)


def rows(core: Studio) -> dict[str, str]:
    """Return what runs here."""
    models = core.models
    millions = sum(w.numel() for network in models.networks for w in network.parameters()) / 1e6
    memory, total = psutil.Process().memory_info().rss / 1e9, psutil.virtual_memory().total / 1e9
    size = f"{models.width} x {models.height}"
    calibrated = "yes" if core.calibration is not None else "no: training starts from the average"
    return {
        "Version": __version__,
        "Model": f"{models.title}, {millions:.0f} million parameters",
        "Device": f"{models.device.type}, {psutil.cpu_count()} processor cores in this machine",
        "Why": models.note.partition(": ")[2],
        "Memory": f"{memory:.1f} GB in use by the app, of {total:.0f} GB",
        "Images": f"{size} pixels, {models.steps} steps",
        "Celebrities": f"{len(core.basis.names)} names, "
        f"{core.basis.p} components per token embedding",
        "Calibrated": calibrated,
        "Face model": core.faces.id,
        "Built on": f"Python {platform.python_version()}, diffusers {diffusers.__version__}, "
        f"Gradio {gr.__version__}",
    }
