"""The page: the tabs, and what leads from one to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from ui.about import AboutTab
from ui.api import build_api
from ui.blocks import StudioBlocks
from ui.compose import ComposeTab
from ui.errors import safe
from ui.faces import FacesTab
from ui.interpolate import InterpolateTab
from ui.library import LibraryTab
from ui.studio import PRIVATE, Shared
from ui.train import Shown, TrainTab
from ui.widgets import Updates

# The browser needs the key too, so this only leaves the value readable after a restart.
SECRET = "celeb-basis-studio"
# What is done before the page has a session would belong to none.
EARLY = "() => { document.querySelector('#tabs').inert = true }"
READY = """() => {
    const tabs = document.querySelector("#tabs");
    tabs.inert = false;
    tabs.ready = true;
}"""


class Page:
    """All tabs. `build` gives the Blocks to launch."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.faces, self.train = FacesTab(shared), TrainTab(shared)
        self.compose, self.interpolate = ComposeTab(shared), InterpolateTab(shared)
        self.library, self.about = LibraryTab(shared), AboutTab(shared)

    # --- handlers -------------------------------------------------------------------------------

    def arrive(self, shown: Shown, request: gr.Request) -> Updates:
        """Give the browser a session unless it has one, and tell it of the training under way.

        In one go, because a page that loads has many questions, and this one is what a user who
        comes back wants to know.
        """
        return self.train.poll(shown, self.shared.arrive(request))

    def list_trainees(self, session: str) -> Updates:
        """Show the training list of the Faces tab as it is now.

        A page that opens there has no session at its first visit; its list comes with that.
        """
        listed = self.faces.training
        if self.shared.isolated and not session:
            return {listed.people: gr.skip()}
        return listed.refresh(session)

    def offer(self, session: str) -> str:
        """Return a first prompt; none for a page without a session, as at `list_trainees`."""
        return "" if self.shared.isolated and not session else self.compose.box.offer(session)

    def use_trained(self, text: str, session: str) -> Updates:
        """Go from a training to Compose, with the people filled in."""
        job, box = self.train.job(session), self.compose.box
        return self._compose(box.fill_in(job.names if job else [], text), session)

    def use_demo(self, text: str, session: str) -> Updates:
        """Go from a demo to Compose, with the person in the prompt."""
        people = self.faces.demo.person(session)
        return self._compose(self.compose.box.fill_in(people, text), session)

    def use_example(self, session: str, event: gr.SelectData) -> Updates:
        """Go from an example image to Compose, with its prompt and settings."""
        updates = self.compose.use_example(event.index, session)
        again = dict.fromkeys(self._example_images, gr.update(selected_index=None))
        return {self.tabs: gr.Tabs(selected="compose"), **again, **updates}

    @property
    def _example_images(self) -> list[gr.Gallery]:
        shown = (self.faces.example_images, self.compose.example_images)
        return [gallery for gallery in shown if gallery is not None]

    def use_person(self, name: str, text: str, session: str) -> Updates:
        """Go from the library to Compose, with one person more in the prompt."""
        prompt = self.compose.box.fill_in([name], text)
        if f"<{name}>" not in prompt:
            prompt = f"{prompt.rstrip()} <{name}>"
        return self._compose(prompt, session)

    def _compose(self, prompt: str, session: str) -> Updates:
        box = self.compose.box
        return {
            self.tabs: gr.Tabs(selected="compose"),
            box.text: prompt,
            box.people: box.refresh(session),
        }

    # --- widgets --------------------------------------------------------------------------------

    def build(self) -> StudioBlocks:
        """Lay out everything."""
        page = StudioBlocks(
            title="Celeb Basis Studio", analytics_enabled=False, delete_cache=(3600, 86400)
        )
        with page:
            build_api(self.shared)  # first: handlers of the page may have the same names
            draft = gr.BrowserState("", storage_key="celeb-basis-prompt", secret=SECRET)
            # Its value never comes from the browser: see StudioBlocks.
            page.session = session = gr.Textbox(visible=False, elem_id="session")
            page.session_of = self.shared.session_of
            with gr.Column(elem_id="head"):
                gr.HTML(f"<h1>Celeb Basis Studio</h1><p>{safe(self.shared.core.models.note)}</p>")
                self.train.build_outside()
            self.compose.box.build_signal()
            with gr.Tabs(selected="faces", elem_id="tabs") as self.tabs:
                with gr.Tab("Faces", id="faces") as faces:
                    self.faces.build(session)
                with gr.Tab("Train", id="train", elem_id="tab-train") as train:
                    self.train.build(session, train)
                with gr.Tab("Compose", id="compose") as compose:
                    self.compose.build(session)
                with gr.Tab("Interpolate", id="interpolate") as interpolate:
                    self.interpolate.build(session)
                with gr.Tab("Library", id="library") as library:
                    self.library.build(session)
                with gr.Tab("About", id="about") as about:
                    self.about.build(about, session)
            self._wire_links(session)
            self._wire_loading(page, session)
            self._wire_tabs(session, faces, train, compose, interpolate, library)
            # A prompt that was being written is still there after a reload.
            written = [draft, self.compose.box.text]  # what was typed in the meantime stays
            page.load(None, written, self.compose.box.text, js="(draft, text) => text || draft")
            self._wire_first_prompt(session)
            self.compose.box.text.change(None, self.compose.box.text, draft, js="text => text")
        self.shared.files.serve_outputs_apart(page)
        return page

    def _wire_loading(self, page: gr.Blocks, session: gr.Textbox) -> None:
        """Wire what happens when the page is loaded."""
        listed = self.faces.training.outputs
        loaded = page.load(
            self.arrive, self.train.shown, self.train.outputs, queue=False, **PRIVATE
        )
        if self.shared.isolated:
            page.load(None, None, None, js=EARLY)
        loaded.success(None, None, None, js=READY)
        self.loaded = loaded.then(self.list_trainees, session, listed, queue=False, **PRIVATE)
        if self.faces.offers_demo:
            loaded.then(**self.faces.demo.tick)
        if self.faces.pack.offered:
            page.load(**self.faces.pack.tick)

    def _wire_first_prompt(self, session: gr.Textbox) -> None:
        """Offer a prompt at a first visit; a draft, and what was typed in the meantime, stays."""
        box = self.compose.box
        if not self.shared.shown_first.prompt:
            return
        self.loaded.then(self.offer, session, box.offered, queue=False, **PRIVATE)
        offered = [box.text, box.offered]
        box.offered.change(None, offered, box.text, js="(text, offered) => text || offered")

    def _wire_tabs(
        self,
        session: gr.Textbox,
        faces: gr.Tab,
        train: gr.Tab,
        compose: gr.Tab,
        interpolate: gr.Tab,
        library: gr.Tab,
    ) -> None:
        """Wire the tabs: what one shows is fresh whenever it is opened, its jobs too."""
        form, box = self.train.form, self.compose.box
        history, mix, library_tab = self.compose.history, self.interpolate, self.library
        fresh: list[tuple[gr.Tab, Callable[..., Any], list[Any], list[Any]]] = [
            (faces, self.list_trainees, [session], self.faces.training.outputs),
            (train, form.refresh, [form.chosen, session], form.outputs),
            (compose, box.refresh, [session], [box.people]),
            (compose, history.refresh, [session], history.fresh),
            (interpolate, mix.refresh, [*mix.people, session], mix.fresh),
            # The map is made when its tab is opened: it takes a moment.
            (interpolate, mix.map.refresh, [mix.map.person, session], mix.map.shown),
            (library, library_tab.open, [library_tab.picked, session], library_tab.outputs),
        ]
        for tab, fn, inputs, outputs in fresh:
            tab.select(fn, inputs, outputs, queue=False, **PRIVATE)
        if self.faces.pack.offered:
            faces.select(**self.faces.pack.tick)
        if self.faces.offers_demo:
            faces.select(**self.faces.demo.tick)
        train.select(**self.train.tick)
        compose.select(**self.compose.results.tick)
        for tick in mix.ticks:
            interpolate.select(**tick)

    def _wire_links(self, session: gr.Textbox) -> None:
        """Wire the buttons that lead from one tab to another."""
        box, demo = self.compose.box, self.faces.demo
        outputs = [self.tabs, box.text, box.people]
        self.faces.other.more.click(
            lambda: gr.Tabs(selected="about"), None, self.tabs, queue=False, **PRIVATE
        )
        shown = self._example_images
        for gallery in shown:
            filled = [self.tabs, box.people, *shown, *self.compose.filled]
            gallery.select(self.use_example, session, filled, **PRIVATE)
        if self.faces.offers_demo:
            started = demo.wire(session)
            listed = self.faces.training.outputs
            started.success(**self.train.tick).success(
                self.list_trainees, session, listed, queue=False, **PRIVATE
            )
            demo.use.click(self.use_demo, [box.text, session], outputs, **PRIVATE)
        self.train.compose_button.click(self.use_trained, [box.text, session], outputs, **PRIVATE)
        self.library.use_button.click(
            self.use_person, [self.library.picked, box.text, session], outputs, **PRIVATE
        )
