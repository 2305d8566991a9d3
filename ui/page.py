"""The page: the tabs, and what leads from one to another."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui.about import AboutTab
from ui.compose import ComposeTab
from ui.doorway import REMEMBER
from ui.errors import safe
from ui.faces import FacesTab
from ui.interpolate import InterpolateTab
from ui.library import LibraryTab
from ui.studio import PRIVATE, Shared
from ui.train import Seen, TrainTab, in_short
from ui.training_job import TrainJob

# The browser needs the key too, so this only keeps the value readable after a restart.
SECRET = "celeb-basis-studio"
# What somebody does before the page has a session would be nobody's.
WAIT = "id => { document.querySelector('#tabs').inert = !id }"


class Page:
    """All tabs. `build` gives the Blocks to launch."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.faces, self.train = FacesTab(shared), TrainTab(shared)
        self.compose, self.interpolate = ComposeTab(shared), InterpolateTab(shared)
        self.library, self.about = LibraryTab(shared), AboutTab(shared)

    def first_look(self, session: str) -> str:
        """The training under way, as HTML, for somebody who asks for the page; or nothing.

        Away from home it is nobody's business but the session's.
        """
        owner = session if self.shared.apart else self.shared.workspace("").id
        job = self.shared.runner.latest(owner, TrainJob)
        return in_short(job) if job and job.live else ""

    def arrive(self, session: str, seen: Seen) -> list[Any]:
        """The session of this browser, the one it has or a new one, and the training under way.

        In one go, because a page that loads has many questions, and this one is what somebody who
        comes back wants to know.
        """
        session = session or self.shared.new_session()
        return [session, *self.train.poll(seen, session)]

    def come_back(self, session: str) -> list[Any]:
        """The training list of the Faces tab as it is now.

        A page that opens there has no session at its first visit; its list comes with that.
        """
        listed = self.faces.training
        if self.shared.apart and not session:
            return [gr.skip()] * len(listed.shown)
        return listed.refresh(session)

    def carry_on(self, text: str, session: str) -> list[Any]:
        """From a training to Compose, with the people filled in."""
        job, box = self.train.job(session), self.compose.box
        prompt = box.fill_in(job.names if job else [], text)
        return [gr.Tabs(selected="compose"), prompt, box.refresh(session)]

    def use(self, name: str, text: str, session: str) -> list[Any]:
        """From the library to Compose, with one person more in the prompt."""
        box = self.compose.box
        prompt = box.fill_in([name], text)
        if f"<{name}>" not in prompt:
            prompt = f"{prompt.rstrip()} <{name}>"
        return [gr.Tabs(selected="compose"), prompt, box.refresh(session)]

    def build(self) -> gr.Blocks:
        """Lay out everything."""
        page = gr.Blocks(
            title="Celeb Basis Studio", analytics_enabled=False, delete_cache=(3600, 86400)
        )
        with page:
            draft = gr.BrowserState("", storage_key="celeb-basis-prompt", secret=SECRET)
            session = gr.BrowserState("", storage_key="celeb-basis-session", secret=SECRET)
            with gr.Column(elem_id="head"):
                gr.HTML(f"<h1>Celeb Basis Studio</h1><p>{safe(self.shared.core.models.note)}</p>")
                self.train.build_outside()
            self.compose.box.build_signal()
            with gr.Tabs(selected="faces", elem_id="tabs") as self.tabs:
                with gr.Tab("Faces", id="faces") as faces:
                    self.faces.build(session)
                with gr.Tab("Train", id="train", elem_id="tab-train") as train:
                    self.train.build(session)
                with gr.Tab("Compose", id="compose") as compose:
                    self.compose.build(session)
                with gr.Tab("Interpolate", id="interpolate") as interpolate:
                    self.interpolate.build(session)
                with gr.Tab("Library", id="library") as library:
                    self.library.build(session)
                with gr.Tab("About", id="about") as about:
                    self.about.build(about)
            tabs = {"train": train, "compose": compose, "mix": interpolate, "library": library}
            self._wire(page, session, tabs)
            # A prompt that was being written is still there after a reload.
            written = [draft, self.compose.box.text]  # what was typed in the meantime stays
            page.load(None, written, self.compose.box.text, js="(draft, text) => text || draft")
            self.compose.box.text.change(None, self.compose.box.text, draft, js="text => text")
            listed = self.faces.training
            faces.select(self.come_back, session, listed.shown, queue=False, **PRIVATE)
        return page

    def _wire(self, page: gr.Blocks, session: gr.BrowserState, tabs: dict[str, gr.Tab]) -> None:
        """What a tab shows is fresh whenever it is opened: its lists, and how its jobs are."""
        whom, history = self.train.whom, self.compose.history
        mix, atlas, library = self.interpolate, self.interpolate.map, self.library
        fresh: dict[str, list[tuple[Any, list[Any], list[Any]]]] = {
            "train": [(whom.refresh, [whom.chosen, session], whom.shown)],
            "compose": [
                (self.compose.box.refresh, [session], [self.compose.box.people]),
                (history.refresh, [session], history.fresh),
            ],
            "mix": [
                (mix.refresh, [*mix.people, session], mix.fresh),
                # Made when somebody comes to see it: it takes a moment.
                (atlas.refresh, [atlas.person, session], atlas.shown),
            ],
            "library": [(library.refresh, [library.picked, session], library.shown)],
        }
        ticks: dict[str, list[dict[str, Any]]] = {
            "train": [self.train.tick],
            "compose": [self.compose.results.tick],
            "mix": self.interpolate.ticks,
        }
        for name, tab in tabs.items():
            for fn, inputs, outputs in fresh[name]:
                tab.select(fn, inputs, outputs, queue=False, **PRIVATE)
            for tick in ticks.get(name, []):
                tab.select(**tick)
        loaded = page.load(
            self.arrive,
            [session, self.train.seen],
            [session, *self.train.watched],
            queue=False,
            **PRIVATE,
        )
        if self.shared.apart:
            page.load(None, session, js=WAIT)
            loaded.then(None, session, js=REMEMBER)
            loaded.then(None, session, js=WAIT)
        listed = self.faces.training
        loaded.then(listed.refresh, session, listed.shown, queue=False, **PRIVATE)
        self.train.carry_on.click(
            self.carry_on,
            [self.compose.box.text, session],
            [self.tabs, self.compose.box.text, self.compose.box.people],
            **PRIVATE,
        )
        self.library.use_button.click(
            self.use,
            [self.library.picked, self.compose.box.text, session],
            [self.tabs, self.compose.box.text, self.compose.box.people],
            **PRIVATE,
        )
