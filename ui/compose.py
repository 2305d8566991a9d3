"""Compose: prompts with people in them -> pictures with scores."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from celeb_core import CelebError, Identity, SampleConfig, parse_prompt
from celeb_core.prompt import encode_prompt
from ui.drawing_job import DrawJob, Order, count_up
from ui.errors import explain, notice
from ui.form import MAX_SEED, Advanced, Form, from_picture
from ui.gallery import Results
from ui.grid import BLANK, Grid, fill
from ui.history import History
from ui.insert import insert
from ui.mixing import choices
from ui.parts import message
from ui.pictures import read_settings
from ui.progress import joined
from ui.prompt_box import PromptBox
from ui.studio import PRIVATE, Shared

PER_PROMPT = 16
MAX_PICTURES = 100  # at once


class ComposeJob(DrawJob):
    """A drawing that the Compose tab started."""


class ComposeTab:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.box = PromptBox(shared)
        self.results = Results(shared, ComposeJob, "compose", sortable=True)
        self.history = History(self.results)
        self.advanced = Advanced(shared.core.models)

    # --- handlers -------------------------------------------------------------------------------

    def start(
        self,
        text: str,
        crowd: list[str],
        count: int,
        seed: int | None,
        fresh: bool,
        strength: float,
        signed: bool,
        session: str,
        **form: Any,
    ) -> list[Any]:
        """Queue the pictures of all prompts -> what is wrong, if something is, and the seed that
        was taken. With a `crowd`, each prompt is drawn with each of these people.

        `fresh`: a new seed, as without one. `form` has the fields of `Form`.
        """
        workspace, core = self.shared.workspace(session), self.shared.core
        seed = random.randrange(MAX_SEED) if fresh or seed is None or seed < 0 else int(seed)
        config = Form(**form).config(core.models, seed)
        lines = tuple(line.strip() for line in text.splitlines() if line.strip())
        known = workspace.people()
        orders: list[Order] = []
        number = 0  # of the prompt that is looked at
        try:
            check_number(len(lines), len(crowd or []), int(count))
            for person in crowd or [None]:
                for number, line in enumerate(lines, 1):
                    label = [person.strip("<>")] if person else []
                    words = shortened(fill(line, "…") if person else line)
                    label += [f"{number}. {words}"] if len(lines) > 1 else []
                    order = self._order(fill(line, person), config, float(strength), known)
                    orders += count_up(replace(order, label=joined(*label)), int(count))
        except CelebError as error:
            where = f"Prompt {number}: " if len(lines) > 1 and number else ""
            return [notice(where + explain(error)), gr.skip()]
        seeds = tuple(range(seed, seed + int(count)))
        job = ComposeJob(
            owner=workspace.id, core=core, workspace=workspace, orders=orders, signed=signed,
            grid=Grid(tuple(crowd), lines, seeds) if crowd else None,
        )  # fmt: skip
        self.shared.runner.submit(job)
        return ["", seed]

    def _order(
        self, line: str, config: SampleConfig, strength: float, people: Mapping[str, Identity]
    ) -> Order:
        """One prompt, without a label. What is wrong with it is said now, not when its turn has
        come: raises PromptError, BasisMismatch.
        """
        core = self.shared.core
        scaled = {
            name: replace(who, coefficients=who.coefficients * strength)
            for name, who in people.items()
        }
        prompt = parse_prompt(line, scaled)
        encode_prompt(prompt, core.basis, core.models)
        wanted = {name: people[name] for name in prompt.identities}
        return Order(prompt, config, "", {"strength": strength}, wanted)

    def load(self, file: str) -> list[Any]:
        """The settings of a picture into the form: what is wrong, then the fields."""
        try:
            settings = read_settings(Path(file))
        except CelebError as error:
            return [notice(explain(error)), *[gr.skip()] * len(self.fields)]
        said = notice("Settings loaded from the picture.", kind="good")
        return [said, *from_picture(settings, self.shared.core.models)]

    def reuse(self, picked: str, session: str) -> list[Any]:
        """The settings of the picture that was clicked into the form, as `load` does it."""
        drawn = self.history.find(picked, session)
        if drawn is None:
            return [
                notice("This picture is gone. Click another one."),
                *[gr.skip()] * len(self.fields),
            ]
        said = notice("Settings taken from the picture, its seed too.", kind="good")
        return [said, *from_picture(drawn.settings, self.shared.core.models)]

    def vary(self, picked: str, session: str) -> list[Any]:
        """The same, but for new seeds."""
        said, *fields = self.reuse(picked, session)
        fields[-1] = True
        return ["", *fields]

    def crowds(self, chosen: list[str], session: str) -> Any:
        """Who can be in a grid, as they are written in a prompt; who was chosen stays chosen."""
        known = choices(self.shared, session)
        return gr.update(choices=known, value=[who for who in chosen or [] if who in known])

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.BrowserState) -> None:
        """Lay out the tab and wire what stays inside it."""
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                self.box.build(session)
                self._build_settings()
                self.results.build_buttons("Draw")
                self.problem = message("compose-problem")
            with gr.Column(scale=6, min_width=320):
                self.results.build_status("Your pictures appear here, each with its scores.")
                self.results.build_gallery("large")
                self.history.build(session)
        self._wire(session)

    def _build_settings(self) -> None:
        self.count = gr.Slider(
            1, PER_PROMPT, 2, step=1, label="Pictures per prompt", elem_id="compose-count"
        )
        with gr.Row():
            self.seed = gr.Number(
                0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED,
                elem_id="compose-seed", min_width=110,
            )  # fmt: skip
            self.fresh = gr.Checkbox(
                True, label="A new seed each time", elem_id="compose-fresh", min_width=150,
                info="Off: the same picture again.",
            )  # fmt: skip
        with gr.Accordion("Grid of people", open=False, elem_id="compose-grid"):
            self.crowd = gr.Dropdown(
                [], value=[], multiselect=True, label="People, one after the other",
                interactive=True, elem_id="compose-crowd",
                info="Each of them is drawn in every prompt, where it says {}. "
                "You get all pictures, and one with labels that shows them side by side.",
            )  # fmt: skip
            self.blank = gr.Button("Insert {} at the cursor", size="sm", elem_id="compose-blank")
        with gr.Accordion("Advanced", open=False):
            self.advanced.build()
            self.signed = gr.Checkbox(
                True, label="Write the settings into the pictures", elem_id="compose-signed",
                info="So that they can be loaded back. Names are among them.",
            )  # fmt: skip
            self.file = gr.UploadButton(
                "Load settings from a picture", file_types=[".png"], size="sm",
                elem_id="compose-load",
            )  # fmt: skip

    def _wire(self, session: gr.BrowserState) -> None:
        self.results.wire(session)
        prompt = self.box.text
        self.blank.click(None, prompt, prompt, js=insert(BLANK))
        crowd = [self.crowd, session]
        self.box.people.change(self.crowds, crowd, self.crowd, queue=False, **PRIVATE)
        form = self.advanced
        self.fields = [
            prompt, form.negative, self.seed, form.steps, form.guidance, form.strength,
            form.delay, form.scheduler, form.shape, self.crowd, form.fast, self.fresh,
        ]  # fmt: skip
        filled, picked = [self.problem, *self.fields], [self.history.picked, session]
        self.file.upload(self.load, self.file, filled, **PRIVATE)
        self.history.reuse.click(self.reuse, picked, filled, **PRIVATE)
        varied = self.history.more.click(self.vary, picked, filled, **PRIVATE)
        inputs = {
            "text": prompt, "crowd": self.crowd, "count": self.count, "seed": self.seed,
            "fresh": self.fresh, "strength": form.strength, "signed": self.signed,
            "session": session, **form.inputs(),
        }  # fmt: skip
        start: dict[str, Any] = {
            "fn": self.start,
            "inputs_kwargs": inputs,
            "outputs": [self.problem, self.seed],
            **PRIVATE,
        }
        by_hand = gr.on([self.results.go.click, prompt.submit], **start)
        fresh = self.history.fresh
        for started in (by_hand, varied.success(**start)):
            started.success(**self.results.tick)
            started.success(self.history.refresh, session, fresh, queue=False, **PRIVATE)


def check_number(prompts: int, people: int, count: int) -> None:
    """Raises CelebError for none, and for too many at once."""
    if not prompts:
        raise CelebError("Write a prompt first, or take one of the ideas.")
    total = prompts * max(1, people) * count
    if total > MAX_PICTURES:
        what = f"{prompts} prompts" + (f" for {people} people" if people else "")
        raise CelebError(
            f"{what} with {count} pictures each are {total} pictures; {MAX_PICTURES} are drawn at "
            "once. Take fewer pictures per prompt."
        )


def shortened(line: str, most: int = 32) -> str:
    """The beginning of a prompt."""
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
