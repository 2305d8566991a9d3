"""Compose: prompts with people in them -> images with scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from celeb_core import CelebError, checks
from celeb_core.prompt import MAX_TEXT
from celeb_core.studio import prompt_hints, word_hint
from ui.compose_job import MAX_ATTEMPTS, PER_PROMPT, ComposeJob, start_images
from ui.errors import explain, notice
from ui.form import (
    MAX_SEED,
    Advanced,
    Form,
    chosen_seed,
    from_settings,
    unknown_scheduler,
)
from ui.gallery import Results
from ui.grid import BLANK
from ui.history import History
from ui.image_requests import ImageRequest
from ui.images import read_settings
from ui.insert import insert
from ui.layout_panel import LayoutPanel
from ui.mixtures import choices
from ui.parameters import MAX_CHARACTERS, parse_parameters
from ui.price import GENERATE, wire_images
from ui.prompt_box import PromptBox
from ui.studio import PRIVATE, Shared
from ui.welcome import Welcome
from ui.widgets import Number, Slider, Updates, message

MAX_HINTS = 3
# A prompt with its settings, roughly; `parse_parameters` knows.
LOOKS_APART = """text => ({ __type__: "update",
  visible: /(^|\\s)(Negative prompt:|Steps:\\s*\\d+\\s*,)/i.test(text) })"""
SCORES = (
    '<p class="lead small">The number beside a name is the identity score: the cosine of the face '
    "in the image and the person's face, 1 for the very same one and far less for strangers. The "
    "prompt score says how well the image fits the prompt without its people, by CLIP. The word "
    "before those of an image of several people is the verdict: everybody is there once and in "
    "their place (right), two are swapped, faces are blended, one person is there twice, or "
    "somebody is missing.</p>"
)


class ComposeTab:
    """Widgets and what they do."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.box = PromptBox(shared)
        self.results = Results(shared, ComposeJob, "compose", sortable=True)
        self.history = History(self.results)
        self.advanced = Advanced(shared.core.models)
        self.layout, self.welcome = LayoutPanel(shared), Welcome(shared)

    # --- handlers -------------------------------------------------------------------------------

    def start(
        self,
        text: str,
        grid_people: list[str],
        count: int,
        seed: int | None,
        new_seed: bool,
        strength: float,
        embed_settings: bool,
        session: str,
        attempts: int = 1,
        **form: Any,
    ) -> Updates:
        """Queue the images of all prompts; show what is wrong, or the seed that was taken.

        Args:
            text: One prompt per line.
            grid_people: Each prompt is generated with each of them.
            count: Images per prompt (and person).
            seed: Of the first image of each prompt; None or negative: a new one.
            new_seed: A new one, whatever `seed` says.
            strength: Of people who have none of their own in the prompt.
            embed_settings: Whether the files hold their settings.
            session: Of the browser.
            attempts: At most, at each image of several people.
            form: The fields of `Form`.
        """
        workspace = self.shared.workspace(session)
        try:
            first = chosen_seed(seed, new_seed)
            job = start_images(
                self.shared,
                workspace,
                text,
                Form(**form),
                crowd=grid_people,
                count=count,
                seed=first,
                strength=strength,
                embed_settings=bool(embed_settings),
                attempts=attempts,
            )
        except CelebError as error:
            return {self.problem: notice(explain(error))}
        return {self.problem: self._hint(job.requests), self.seed: first}

    def _hint(self, requests: Sequence[ImageRequest]) -> str:
        """Say as HTML what may have been meant otherwise in prompts."""
        core = self.shared.core
        asked = {request.prompt.text: request.prompt for request in requests}.values()
        lines = dict.fromkeys(hint for prompt in asked for hint in prompt_hints(prompt, core))
        for prompt in asked:  # that stands below the prompt already
            lines.pop(word_hint(prompt.text, core), None)
        return notice(*list(lines)[:MAX_HINTS], kind="hint")

    def take_apart(self, text: str) -> Updates:
        """Fill in the prompt and the settings that a copied text has."""
        settings = parse_parameters(checks.text(text, "The prompt", MAX_CHARACTERS))
        if settings is None:
            return {self.problem: ""}
        return self._filled(settings, "The prompt and its settings are in their fields now.")

    def load(self, file: str, session: str) -> Updates:
        """Fill in the settings of an image file."""
        path = Path(checks.text(file, "The file", MAX_TEXT))
        try:
            settings = read_settings(path)
        except CelebError as error:
            return {self.problem: notice(explain(error))}
        finally:
            self.shared.uploads.discard(session, path)
        return self._filled(settings, "Settings loaded from the image.")

    def reuse(self, picked: str, session: str) -> Updates:
        """Fill in the settings of the image that was clicked."""
        image = self.history.find(picked, session)
        if image is None:
            return {self.problem: notice("This image is gone. Click another one.")}
        return self._filled(image.settings, "Settings taken from the image, its seed too.")

    def vary(self, picked: str, session: str) -> Updates:
        """Fill them in with new seeds."""
        updates = self.reuse(picked, session)
        return {**updates, self.problem: "", self.new_seed: True}

    def use_example(self, index: Any, session: str) -> Updates:
        """Fill in the settings of an example image; whoever is missing comes into the library."""
        examples, workspace = self.shared.shown_first, self.shared.workspace(session)
        last = len(examples.images) - 1
        try:
            image = examples.images[checks.number(index, "Example", 0, last)]
            missing = [name for name in examples.missing(workspace.library) if name in image.people]
            if missing:
                workspace.check_room(len(missing))
                examples.add_people(missing, workspace.library)
        except CelebError as error:
            return {self.problem: notice(explain(error))}
        text = "The prompt and settings of the example, its seed too: Generate makes it again."
        return {
            **self._filled(image.settings, text),
            self.box.people: self.box.refresh(session),
        }

    def _filled(self, settings: Mapping[str, Any], text: str) -> Updates:
        values = from_settings(settings, self.shared.core.models)
        if unknown := unknown_scheduler(settings, self.shared.core.models):
            text = f"{text} {unknown}"
        filled = {self.fields[name]: value for name, value in values.items()}
        return {self.problem: notice(text, kind="good"), **filled}

    def refresh_grid(self, chosen: Sequence[str], session: str) -> dict[str, Any]:
        """Update who can be in a grid, as written in a prompt; known choices stay."""
        known = choices(self.shared, session)
        return gr.update(choices=known, value=[who for who in chosen or [] if who in known])

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.Textbox) -> None:
        """Lay out the tab and wire what stays inside it."""
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                self.box.build(session)
                self._build_settings()
                self.results.build_buttons(GENERATE)
                self.problem = message("compose-problem")
            with gr.Column(scale=6, min_width=320):
                self.results.build_status(
                    "Your images appear here, each with its scores.", self._build_first
                )
                self.results.build_gallery("large")
                self.results.build_download()
                gr.HTML(SCORES)
                self.history.build(session)
        self._wire(session)

    def _build_first(self) -> None:
        """Examples, while there are no images."""
        self.example_images: gr.Gallery | None = None
        if self.welcome.examples.images:
            label = "Examples: click one for its prompt and settings"
            self.example_images = self.welcome.images("compose-examples", label)

    def _build_settings(self) -> None:
        self.count = Slider(
            1, PER_PROMPT, 2, step=1, label="Images per prompt", elem_id="compose-count"
        )
        with gr.Row():
            self.seed = Number(
                0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED,
                elem_id="compose-seed", min_width=110,
            )  # fmt: skip
            self.new_seed = gr.Checkbox(
                True, label="Random seed", elem_id="compose-fresh", min_width=150,
                info="A new one each time. Off: the same image again.",
            )  # fmt: skip
        self.attempts = Slider(
            1, MAX_ATTEMPTS, 1, step=1, label="Attempts until everybody is right",
            elem_id="compose-attempts",
            info="For prompts of two or more people: an image in which somebody is missing, twice, "
            "swapped or blended is generated again with another seed, at most so often. 1: never.",
        )  # fmt: skip
        self.layout.build()
        with gr.Accordion("Grid of people", open=False, elem_id="compose-grid"):
            self.grid_people = gr.Dropdown(
                [], value=[], multiselect=True, label="People, one after the other",
                interactive=True, elem_id="compose-crowd",
                info="Every prompt is generated with each of them, where it says {}. "
                "You get all images, and one with labels that shows them side by side.",
            )  # fmt: skip
            self.blank = gr.Button("Insert {} at the cursor", size="sm", elem_id="compose-blank")
        with gr.Accordion("Advanced", open=False):
            self.advanced.build()
            self.embed_settings = gr.Checkbox(
                True, label="Write the settings into the images", elem_id="compose-signed",
                info="So that they can be loaded back. Names are among them.",
            )  # fmt: skip
            self.file = gr.UploadButton(
                "Load settings from an image", file_types=[".png"], size="sm",
                elem_id="compose-load",
            )  # fmt: skip

    def _wire(self, session: gr.Textbox) -> None:
        self.results.wire(session)
        prompt, form = self.box.text, self.advanced
        prompt.change(None, prompt, self.box.apart, js=LOOKS_APART)
        self.blank.click(None, prompt, prompt, js=insert(BLANK))
        self.box.people.change(
            self.refresh_grid, [self.grid_people, session], self.grid_people, queue=False, **PRIVATE
        )
        self.fields: dict[str, Block] = {
            "prompt": prompt, "negative_prompt": form.negative_prompt, "seed": self.seed,
            "steps": form.steps, "guidance": form.guidance_scale, "strength": form.strength,
            "scheduler": form.scheduler, "shape": form.shape,
            "width": form.width, "height": form.height,
            "grid_people": self.grid_people, "fast": form.fast, "new_seed": self.new_seed,
            "region_strength": form.region_strength,
            "self_attention_share": form.self_attention_share, **self.layout.inputs(),
        }  # fmt: skip
        self.filled = filled = [self.problem, *self.fields.values()]
        picked = [self.history.picked, session]
        self.box.apart.click(self.take_apart, prompt, filled, **PRIVATE)
        self.file.upload(self.load, [self.file, session], filled, **PRIVATE)
        self.history.reuse.click(self.reuse, picked, filled, **PRIVATE)
        varied = self.history.more.click(self.vary, picked, filled, **PRIVATE)
        inputs = {
            "text": prompt, "grid_people": self.grid_people, "count": self.count,
            "seed": self.seed, "new_seed": self.new_seed, "strength": form.strength,
            "embed_settings": self.embed_settings, "attempts": self.attempts, "session": session,
            **form.inputs(), **self.layout.inputs(),
        }  # fmt: skip
        sizes = [form.shape, form.width, form.height]
        self.layout.wire(prompt, self.grid_people, sizes, self.box.people, session)
        start: dict[str, Any] = {
            "fn": self.start,
            "inputs_kwargs": inputs,
            "outputs": [self.problem, self.seed],
            **PRIVATE,
        }
        wire_images(self.shared, self.results.go, prompt, inputs)
        by_hand = gr.on([self.results.go.click, prompt.submit], **start)
        fresh = self.history.fresh
        for started in (by_hand, varied.success(**start)):
            started.success(**self.results.tick)
            started.success(self.history.refresh, session, fresh, queue=False, **PRIVATE)
