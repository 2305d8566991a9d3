"""The page: the tabs, and what leads from one to another."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui.about import AboutTab
from ui.compose import ComposeTab
from ui.errors import safe
from ui.faces import FacesTab
from ui.interpolate import InterpolateTab
from ui.library import LibraryTab
from ui.studio import PRIVATE, Shared
from ui.train import TrainTab

# The browser needs the key too, so this only keeps the value readable after a restart.
SECRET = "celeb-basis-studio"


class Page:
    """All tabs. `build` gives the Blocks to launch."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.faces, self.train = FacesTab(shared), TrainTab(shared)
        self.compose, self.interpolate = ComposeTab(shared), InterpolateTab(shared)
        self.library, self.about = LibraryTab(shared), AboutTab(shared)

    def greet(self, session: str) -> str:
        """The session of this browser: the one it has, or a new one."""
        return session or self.shared.new_session()

    def carry_on(self, text: str, session: str) -> list[Any]:
        """From a training to Compose, with the people filled in."""
        job = self.train.job(session)
        prompt = self.compose.fill_in(job.names if job else [], text)
        return [gr.Tabs(selected="compose"), prompt, self.compose.refresh(session)]

    def use(self, name: str, text: str, session: str) -> list[Any]:
        """From the library to Compose, with one person more in the prompt."""
        prompt = self.compose.fill_in([name], text)
        if f"<{name}>" not in prompt:
            prompt = f"{prompt.rstrip()} <{name}>"
        return [gr.Tabs(selected="compose"), prompt, self.compose.refresh(session)]

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
            self.train.build_signal()
            self.compose.build_signal()
            with gr.Tabs(selected="faces", elem_id="tabs") as self.tabs:
                with gr.Tab("Faces", id="faces") as faces:
                    self.faces.build(session)
                with gr.Tab("Train", id="train") as train:
                    self.train.build(session)
                with gr.Tab("Compose", id="compose") as compose:
                    self.compose.build(session)
                with gr.Tab("Interpolate", id="interpolate") as interpolate:
                    self.interpolate.build(interpolate, session)
                with gr.Tab("Library", id="library") as library:
                    self.library.build(session)
                with gr.Tab("About", id="about") as about:
                    self.about.build(about)
            tabs = {"train": train, "compose": compose, "mix": interpolate, "library": library}
            self._wire(page, session, tabs)
            # A prompt that was being written is still there after a reload.
            written = [draft, self.compose.prompt]  # what was typed in the meantime stays
            page.load(None, written, self.compose.prompt, js="(draft, text) => text || draft")
            self.compose.prompt.change(None, self.compose.prompt, draft, js="text => text")
            faces.select(self.faces.refresh, session, self.faces.listed, queue=False, **PRIVATE)
        return page

    def _wire(self, page: gr.Blocks, session: gr.BrowserState, tabs: dict[str, gr.Tab]) -> None:
        """Every list is fresh when its tab is opened, every job is found again after a reload."""
        lists: dict[str, tuple[Any, list[Any], list[Any]]] = {
            "train": (
                self.train.refresh,
                [self.train.who, session],
                self.train.people,
            ),
            "compose": (self.compose.refresh, [session], [self.compose.people]),
            "mix": (
                self.interpolate.refresh,
                [*self.interpolate.people, session],
                self.interpolate.people,
            ),
            "library": (self.library.refresh, [self.library.picked, session], self.library.shown),
        }
        loaded = page.load(self.greet, session, session, queue=False, **PRIVATE)
        # First of all, because a browser asks for six things at a time.
        for tick in (self.train.tick, self.compose.results.tick, *self.interpolate.ticks):
            loaded.then(**tick)
        loaded.then(self.faces.refresh, session, self.faces.listed, queue=False, **PRIVATE)
        for name, (fn, inputs, outputs) in lists.items():
            tabs[name].select(fn, inputs, outputs, queue=False, **PRIVATE)
            loaded.then(fn, inputs, outputs, queue=False, **PRIVATE)
        history = self.compose.history
        loaded.then(history.refresh, session, history.fresh, queue=False, **PRIVATE)
        self.train.carry_on.click(
            self.carry_on,
            [self.compose.prompt, session],
            [self.tabs, self.compose.prompt, self.compose.people],
            **PRIVATE,
        )
        self.library.use_button.click(
            self.use,
            [self.library.picked, self.compose.prompt, session],
            [self.tabs, self.compose.prompt, self.compose.people],
            **PRIVATE,
        )
