"""Two people: a strip of images from one to the other at one seed."""

from __future__ import annotations

from typing import Any

import gradio as gr

from celeb_core import CelebError, Studio, interpolate
from celeb_core.checks import number
from ui.gallery import Results
from ui.generation_job import GenerateJob
from ui.image_requests import ImageRequest
from ui.mixtures import check_prompt, find_person, request_mixture, submit
from ui.studio import PRIVATE, Shared
from ui.welcome import Welcome
from ui.widgets import Slider, message
from ui.workspace import Workspace

MAX_IMAGES = 17


class StripJob(GenerateJob):
    """Generates a strip."""


class Strip:
    """Widgets and what they do."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.results = Results(shared, StripJob, "interpolate")

    # --- handlers -------------------------------------------------------------------------------

    def start(
        self, a: str, b: str, lam: float, text: str, count: int, seed: int | None, session: str
    ) -> str:
        """Queue the strip; return what is wrong, or ""."""
        workspace = self.shared.workspace(session)

        def make_requests() -> list[ImageRequest]:
            return strip_requests(self.shared.core, workspace, a, b, lam, text, count, seed)

        return submit(StripJob, self.shared, workspace, make_requests)

    def nearest(self, lam: float, session: str) -> Any:
        """Update the large image: the one of the strip that is nearest to the slider."""
        job, lam = self.results.job(session), check_lambda(lam)
        if job is None or not job.images:
            return gr.skip()
        images, requests = list(job.images), job.requests
        distances = [abs(requests[i].settings["lambda"] - lam) for i in range(len(images))]
        index = distances.index(min(distances))
        return gr.update(value=str(images[index].path), visible=True)

    # --- widgets --------------------------------------------------------------------------------

    def build(self, prompt: gr.Textbox, seed: gr.Number, session: gr.Textbox) -> None:
        """Lay out and wire it; prompt and seed are those of the tab."""
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self._build_form()
                self.results.build_buttons("Generate strip")
                self.problem = message("interpolate-problem")
            with gr.Column(scale=6, min_width=320):
                self.results.build_status(
                    "Two people, one seed: the strip between them appears here.", self._build_first
                )
                self.large = gr.Image(
                    label="At the slider", interactive=False, visible=False, height=300,
                    buttons=["fullscreen", "download"], elem_id="interpolate-large",
                    alt_text="The mixture of both people at the slider's λ",
                )  # fmt: skip
                self.results.build_gallery("small")
                self.results.build_download()
        self.results.wire(session)
        form = [self.a, self.b, self.lam, prompt, self.count, seed, session]
        started = self.results.go.click(self.start, form, self.problem, **PRIVATE)
        started.success(**self.results.tick)
        nearest: dict[str, Any] = {
            "fn": self.nearest,
            "inputs": [self.lam, session],
            "outputs": self.large,
            "queue": False,
            **PRIVATE,
        }
        self.lam.change(trigger_mode="always_last", **nearest)
        self.results.gallery.change(**nearest)

    def _build_first(self) -> None:
        """An example, while there is no strip."""
        label = "Example: from one celebrity to another, λ 0 to 1"
        Welcome(self.shared).mixture("strip", "interpolate-example", label)

    def _build_form(self) -> None:
        with gr.Row():
            self.a = gr.Dropdown([], label="From", interactive=True, min_width=180,
                                 elem_id="interpolate-a")  # fmt: skip
            self.b = gr.Dropdown([], label="To", interactive=True, min_width=180,
                                 elem_id="interpolate-b")  # fmt: skip
        self.lam = Slider(
            0, 1, 0.5, step=0.01, label="Mixture λ", elem_id="interpolate-lambda",
            info="0 is From, 1 is To. Move it to see the strip go by.",
        )  # fmt: skip
        self.count = Slider(
            1, MAX_IMAGES, 5, step=1, label="Images", info="1: only the one at λ.",
            elem_id="interpolate-count",
        )  # fmt: skip


def strip_requests(
    core: Studio, workspace: Workspace, a: Any, b: Any, lam: Any, text: Any, count: Any, seed: Any
) -> list[ImageRequest]:
    """Request images of mixtures of two people.

    Args:
        core: The models.
        workspace: Whose people may be mixed.
        a: “<ada>” or a celebrity's name.
        b: Another one.
        lam: The mixture of a single image: 0 is `a`, 1 is `b`.
        text: The prompt, with {} for the mixture.
        count: Images; several are at equal distances from 0 to 1, whatever `lam`.
        seed: Of all of them; None is 0.

    Raises:
        CelebError: There is no such person, or a value is wrong.
    """
    images = number(count, "Images", 1, MAX_IMAGES)
    lam, text = check_lambda(lam), check_prompt(text)
    if not a or not b:
        raise CelebError("Choose two people.")
    one, two = (find_person(name, workspace) for name in (a, b))
    values = [lam] if images == 1 else [index / (images - 1) for index in range(images)]
    requests = []
    for value in values:
        embeddings = interpolate(two, one, value, core.basis, core.models)
        settings = {"from": a, "to": b, "lambda": round(value, 4)}
        requests.append(request_mixture(embeddings, text, seed, f"λ {value:.2f}", settings))
    return requests


def check_lambda(lam: Any) -> float:
    """Return where a mixture is between two people, or raise SettingsError."""
    share: float = number(lam, "Mixture λ", 0, 1, whole=False)
    return share
