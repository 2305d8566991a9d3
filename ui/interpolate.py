"""Interpolate: from one person to another, a strip of pictures at one seed."""

from __future__ import annotations

from typing import Any

import gradio as gr

from celeb_core import CelebError, Identity, SampleConfig, interpolate, parse_prompt
from celeb_core.prompt import encode_prompt
from ui.drawing_job import DrawJob, Order
from ui.errors import explain, notice
from ui.form import MAX_SEED
from ui.gallery import Results
from ui.parts import message
from ui.studio import PRIVATE, Shared
from ui.workspace import Workspace

MAX_PICTURES = 17
MIX = "mix"  # the name of the mixture in a prompt


class InterpolateJob(DrawJob):
    """A drawing that the Interpolate tab started."""


class InterpolateTab:
    """Widgets and what they do. Handlers take and give plain values and component updates."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.results = Results(shared, InterpolateJob, "interpolate")

    # --- handlers -------------------------------------------------------------------------------

    def choices(self, session: str) -> list[str]:
        """The people of the library as <name>, then the celebrities."""
        core = self.shared.core
        people = [f"<{name}>" for name in self.shared.workspace(session).people()]
        return people + list(core.models.names or core.basis.names)

    def refresh(self, a: str | None, b: str | None, session: str) -> list[Any]:
        """Both lists as they are now; who was chosen stays chosen."""
        choices = self.choices(session)
        famous = [choice for choice in choices if not choice.startswith("<")]
        first = a if a in choices else next(iter(famous), None)
        second = b if b in choices else next((who for who in famous if who != first), None)
        return [gr.update(choices=choices, value=first), gr.update(choices=choices, value=second)]

    def start(
        self, a: str, b: str, lam: float, text: str, count: int, seed: int, session: str
    ) -> str:
        """Queue the strip -> what is wrong, if something is."""
        workspace = self.shared.workspace(session)
        try:
            orders = self._orders(workspace, a, b, lam, text.strip(), int(count), int(seed or 0))
            encode_prompt(orders[0].prompt, self.shared.core.basis, self.shared.core.models)
        except CelebError as error:
            return notice(explain(error))
        job = InterpolateJob(
            owner=workspace.id,
            core=self.shared.core,
            workspace=workspace,
            orders=orders,
            scored=False,
        )
        self.shared.runner.submit(job)
        return ""

    def nearest(self, lam: float, session: str) -> Any:
        """The picture of the strip that is nearest to the slider, large."""
        job = self.results.job(session)
        if job is None or not job.pictures:
            return gr.skip()
        places = [order.settings["lambda"] for order in job.orders[: len(job.pictures)]]
        index = min(range(len(places)), key=lambda place: abs(places[place] - lam))
        return gr.update(value=str(job.pictures[index].path), visible=True)

    def _orders(
        self, workspace: Workspace, a: str, b: str, lam: float, text: str, count: int, seed: int
    ) -> list[Order]:
        core = self.shared.core
        if not a or not b:
            raise CelebError("Choose two people.")
        if "{}" not in text:
            raise CelebError("Write {} where the person should be, as in “a photo of {}”.")
        one, two = (somebody(name, workspace) for name in (a, b))
        places = [lam] if count == 1 else [index / (count - 1) for index in range(count)]
        orders = []
        for place in places:
            words = interpolate(two, one, place, core.basis, core.models)
            prompt = parse_prompt(text.replace("{}", f"<{MIX}>"), {MIX: words})
            settings = {"prompt": text, "from": a, "to": b, "lambda": round(place, 4)}
            orders.append(Order(prompt, SampleConfig(seed=seed), f"λ {place:.2f}", settings))
        return orders

    # --- widgets --------------------------------------------------------------------------------

    def build(self, session: gr.BrowserState) -> None:
        """Lay out the tab and wire what stays inside it."""
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self._build_form()
                self.results.build_buttons("Draw the strip")
                self.problem = message("interpolate-problem")
            with gr.Column(scale=6, min_width=320):
                self.results.build_status(
                    "Two people, one seed: the strip between them appears here."
                )
                self.large = gr.Image(
                    label="At the slider", interactive=False, visible=False, height=300,
                    buttons=["fullscreen", "download"], elem_id="interpolate-large",
                    alt_text="The mixture of both people at the slider's place",
                )  # fmt: skip
                self.results.build_gallery("small")
        self._wire(session)

    def _build_form(self) -> None:
        with gr.Row():
            self.a = gr.Dropdown([], label="From", interactive=True, min_width=180,
                                 elem_id="interpolate-a")  # fmt: skip
            self.b = gr.Dropdown([], label="To", interactive=True, min_width=180,
                                 elem_id="interpolate-b")  # fmt: skip
        self.lam = gr.Slider(
            0, 1, 0.5, step=0.01, label="Mixture λ", elem_id="interpolate-lambda",
            info="0 is From, 1 is To. Move it to see the strip go by.",
        )  # fmt: skip
        self.prompt = gr.Textbox(
            "a photo of {}", label="Prompt", info="{} stands for the person.", max_lines=3,
            elem_id="interpolate-prompt",
        )  # fmt: skip
        with gr.Row():
            self.count = gr.Slider(
                1, MAX_PICTURES, 5, step=1, label="Pictures", info="1: only the one at λ.",
                elem_id="interpolate-count", min_width=150,
            )  # fmt: skip
            self.seed = gr.Number(
                0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, min_width=110
            )

    def _wire(self, session: gr.BrowserState) -> None:
        self.results.wire(session)
        form = [self.a, self.b, self.lam, self.prompt, self.count, self.seed, session]
        started = self.results.go.click(self.start, form, self.problem, **PRIVATE)
        started.success(**self.results.tick)
        look: dict[str, Any] = {
            "fn": self.nearest,
            "inputs": [self.lam, session],
            "outputs": self.large,
            **PRIVATE,
        }
        self.lam.change(queue=False, trigger_mode="always_last", **look)
        self.results.gallery.change(queue=False, **look)


def somebody(choice: str, workspace: Workspace) -> str | Identity:
    """“<ada>” is of the library, anything else a celebrity's name. Raises UnknownName."""
    if not choice.startswith("<"):
        return choice
    identities = parse_prompt(choice, workspace.people()).identities
    person = next(iter(identities.values()))
    assert isinstance(person, Identity)
    return person
