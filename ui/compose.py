"""Compose: a prompt with people in it -> pictures with scores."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import gradio as gr

from celeb_core import SCHEDULERS, CelebError, SampleConfig, parse_prompt
from celeb_core.prompt import encode_prompt
from ui.drawing_job import DrawJob, Order, count_up
from ui.errors import explain, notice
from ui.gallery import Results
from ui.parts import message
from ui.pictures import read_settings
from ui.studio import PRIVATE, Shared

MAX_PICTURES = 16
MAX_SEED = 2**31 - 1
IDEAS = (
    "a photo of {}",
    "a photo of {} smiling",
    "{} wearing sunglasses on the beach",
    "{} playing the guitar on stage",
    "{} reading a book in the library",
    "{} in space",
    "a pencil sketch of {}",
    "a photo of {} and {}",
    "{} shaking hands with {}",
    "{} having dinner with {}",
)
FIELDS: dict[str, Any] = {
    "prompt": str,
    "negative_prompt": str,
    "seed": int,
    "steps": int,
    "guidance": int | float,
}  # of a picture that can be loaded back, and what they must be
INSERT = """(...values) => {{
  const [text, extra] = [values[0] ?? "", {what}];
  if (!extra) return {result};
  const box = document.querySelector("#compose-prompt textarea");
  const at = box && box.selectionStart != null ? box.selectionStart : text.length;
  const end = box && box.selectionEnd != null ? box.selectionEnd : at;
  const before = text.slice(0, at), after = text.slice(end);
  const gap = before && !/\\s$/.test(before) ? " " : "";
  const now = before + gap + extra + after;
  setTimeout(() => {{
    const place = (before + gap + extra).length;
    box.focus(); box.setSelectionRange(place, place);
  }}, 50);
  return {filled};
}}"""


class ComposeJob(DrawJob):
    """A drawing that the Compose tab started."""


class ComposeTab:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.results = Results(shared, ComposeJob, "compose")

    # --- handlers -------------------------------------------------------------------------------

    def start(
        self,
        text: str,
        negative: str,
        count: int,
        seed: int | None,
        steps: int,
        guidance: float,
        scheduler: str,
        session: str,
    ) -> list[Any]:
        """Queue the pictures -> what is wrong, if something is, and the seed that was taken."""
        workspace = self.shared.workspace(session)
        seed = random.randrange(MAX_SEED) if seed is None or seed < 0 else int(seed)
        config = SampleConfig(
            seed=seed,
            steps=int(steps),
            guidance=float(guidance),
            negative_prompt=negative.strip(),
            scheduler=scheduler or None,
        )
        try:
            if not text.strip():
                raise CelebError("Write a prompt first, or take one of the ideas.")
            order = Order(parse_prompt(text.strip(), workspace.people()), config, "")
            # What is wrong with the prompt is said now, not when its turn has come.
            encode_prompt(order.prompt, self.shared.core.basis, self.shared.core.models)
        except CelebError as error:
            return [notice(explain(error)), gr.skip()]
        job = ComposeJob(
            owner=workspace.id,
            core=self.shared.core,
            workspace=workspace,
            orders=count_up(order, int(count)),
        )
        self.shared.runner.submit(job)
        return ["", seed]

    def idea(self, template: str | None, session: str) -> Any:
        """A ready-made prompt about the first people of the library."""
        if not template:
            return gr.skip()
        people = [f"<{name}>" for name in self.shared.workspace(session).people()]
        people += list(self.shared.core.models.names or self.shared.core.basis.names)
        return template.format(*people)

    def load(self, file: str) -> list[Any]:
        """The settings of a picture into the form: what is wrong, then the fields."""
        try:
            settings = read_settings(Path(file))
        except CelebError as error:
            return [notice(explain(error)), *[gr.skip()] * len(FIELDS)]
        fields = [settings.get(name) for name in FIELDS]
        fitting = [
            value if isinstance(value, kind) else gr.skip()
            for value, kind in zip(fields, FIELDS.values(), strict=True)
        ]
        return [notice("Settings loaded from the picture.", kind="good"), *fitting]

    def refresh(self, session: str) -> list[tuple[str, str]]:
        """The people of the library, each with a portrait (a path, or nothing)."""
        workspace = self.shared.workspace(session)
        return [(name, str(workspace.portrait(name) or "")) for name in workspace.people()]

    def fill_in(self, people: list[str], text: str) -> str:
        """A first prompt about people who were just trained; what was written stays."""
        if text.strip() or not people:
            return text
        return "a photo of " + " and ".join(f"<{name}>" for name in people[:2])

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.BrowserState) -> None:
        """Lay out the tab and wire what stays inside it."""
        self.people = gr.State([])
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                self._build_prompt()
                self._build_settings()
                self.results.build_buttons("Draw")
                self.problem = message("compose-problem")
            with gr.Column(scale=6, min_width=320):
                self.results.build_status("Your pictures appear here, each with its scores.")
                self.results.build_gallery("large")
        self._wire(session)

    def _build_prompt(self) -> None:
        self.prompt = gr.Textbox(
            "", label="Prompt", lines=3, max_lines=6, elem_id="compose-prompt",
            placeholder="<ada> playing the guitar with <bob> on the beach",
        )  # fmt: skip

        @gr.render(inputs=self.people, triggers=[self.people.change])
        def chips(people: list[tuple[str, str]]) -> None:
            if not people:
                gr.HTML('<p class="lead">No trained people yet: see the Faces tab.</p>')
                return
            with gr.Row(elem_classes="chips", elem_id="compose-people"):
                for name, portrait in people:
                    chip = gr.Button(name, icon=portrait or None, size="sm")
                    chip.click(None, self.prompt, self.prompt, js=insert(f"<{name}>"))

        with gr.Row():
            core = self.shared.core
            self.celebrity = gr.Dropdown(
                list(core.models.names or core.basis.names), value=None, label="Insert a celebrity",
                elem_id="compose-celebrity", min_width=150,
            )  # fmt: skip
            self.ideas = gr.Dropdown(
                [(idea.replace("{}", "…"), idea) for idea in IDEAS], value=None, label="Ideas",
                elem_id="compose-ideas", min_width=150,
            )  # fmt: skip

    def _build_settings(self) -> None:
        models = self.shared.core.models
        with gr.Row():
            self.count = gr.Slider(
                1, MAX_PICTURES, 2, step=1, label="Pictures", elem_id="compose-count", min_width=150
            )
            self.seed = gr.Number(
                0, label="Seed", info="Empty: a new one.", precision=0, maximum=MAX_SEED,
                elem_id="compose-seed", min_width=110,
            )  # fmt: skip
        with gr.Accordion("Advanced", open=False):
            self.negative = gr.Textbox("", label="Not in the picture", max_lines=2)
            with gr.Row():
                self.steps = gr.Slider(1, 100, models.steps, step=1, label="Steps")
                self.guidance = gr.Slider(1, 20, models.guidance, step=0.5, label="Guidance")
            self.scheduler = gr.Dropdown(
                [("The model's own", ""), *((name, name) for name in SCHEDULERS)], value="",
                label="Scheduler",
            )  # fmt: skip
            self.file = gr.UploadButton(
                "Load settings from a picture", file_types=[".png"], size="sm",
                elem_id="compose-load",
            )  # fmt: skip

    def _wire(self, session: gr.BrowserState) -> None:
        self.results.wire(session)
        both = [self.prompt, self.celebrity]
        self.celebrity.input(None, both, both, js=insert_chosen())
        self.ideas.input(self.idea, [self.ideas, session], self.prompt, **PRIVATE)
        loaded = [self.problem, self.prompt, self.negative, self.seed, self.steps, self.guidance]
        self.file.upload(self.load, self.file, loaded, **PRIVATE)
        form = [
            self.prompt, self.negative, self.count, self.seed, self.steps, self.guidance,
            self.scheduler, session,
        ]  # fmt: skip
        started = gr.on(
            [self.results.go.click, self.prompt.submit],
            self.start,
            form,
            [self.problem, self.seed],
            **PRIVATE,
        )
        started.success(**self.results.tick)


def insert(text: str) -> str:
    """JavaScript that puts a fixed text into the prompt, at the cursor."""
    return INSERT.format(what=json.dumps(text), result="text", filled="now")


def insert_chosen() -> str:
    """The same with the second value, which is emptied for the next choice."""
    return INSERT.format(what="values[1]", result="[text, null]", filled="[now, null]")
