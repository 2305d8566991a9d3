"""Endpoints about images and jobs: generating, mixing people, waiting for either."""

from __future__ import annotations

from typing import Any, Literal

import gradio as gr
from anyio.to_thread import run_sync

from celeb_core import checks
from celeb_core.errors import SettingsError
from celeb_core.prompt import MAX_STRENGTH
from ui.api_answers import Answer, describe_job
from ui.api_caller import caller, find_job, finished
from ui.compose_job import start_images
from ui.form import Form, chosen_seed
from ui.jobs import Job
from ui.layout import AUTOMATIC, BOXES, OFF, parse_boxes
from ui.mixtures import start_mixtures
from ui.strip import StripJob, strip_requests
from ui.studio import Shared

STOPPED = 5  # seconds in which a job that is to stop usually has

Shape = Literal["Automatic", "Square", "Wide", "Tall"]


class ImagesApi:
    """Endpoints; their names, types and docstrings are what callers see."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    async def generate(
        self,
        request: gr.Request,
        prompt: str,
        count: int = 1,
        seed: int = -1,
        negative_prompt: str = "",
        steps: int = 0,
        guidance_scale: float | None = None,
        scheduler: str = "",
        shape: Shape = "Automatic",
        strength: float = 1.0,
        regions: bool = True,
        boxes: dict[str, list[float]] | None = None,
        rearrange: bool = True,
        attempts: int = 1,
        wait: float = 60,
        session: str = "",
    ) -> Answer:
        """Generate images of a prompt, with people in it: "<ada> plays guitar with <bob>".

        Waits for the images. If they take longer than `wait`, the answer has no images yet: ask
        the endpoint job for them with the id in `job`. Each of `images` has `image` (a file),
        `seed` and `scores`: the identity score of each of the people (1: the very same face), and
        the prompt score. Celebrities whom the model knows are written by name. With two or more
        people, `verdict` says whether everybody is there once and in their place: its `kind` is
        right, swapped, blended, twice or missing, its `sentence` says who.

        Args:
            request: Given by gradio.
            prompt: People are <name>; several prompts are one per line.
            count: Images per prompt, 1 to 16.
            seed: Of the first image; the next ones count up. -1: a new one.
            negative_prompt: What should not be in the image.
            steps: Denoising steps; 0: the model's.
            guidance_scale: How literally the prompt is taken; null: the model's.
            scheduler: A name such as dpm++ or euler; empty: the model's own.
            shape: Of the image; Automatic is the wider, the more people there are.
            strength: 0 to 1.5: less or more of the people; 1: as trained. Of one person alone:
                <ada:0.7> in the prompt.
            regions: Of two or more people, each acts in a region of their own: left to right in
                the order of the prompt, or where `boxes` says.
            boxes: Name -> [left, top, right, bottom], shares of the image from 0 to 1, as in
                {"ada": [0.5, 0, 1, 1], "bob": [0, 0, 0.5, 1]}. Whoever has none is placed.
            rearrange: Move what stands before a person behind them where the model knows people
                near the beginning of a prompt only; the answer has the prompt that was used.
            attempts: 1 to 8: an image of several people is generated with new seeds until its
                verdict is right, at most so often. You get the best, with its seed; `attempts` of
                the image has the seeds and verdicts of all.
            wait: Seconds to wait for the images, 0 to 120.
            session: What start_session returned; not needed at home or with a login.

        Returns:
            JSON: the job, as the endpoint job describes it.
        """
        workspace = await run_sync(caller, self.shared, session, request)
        models = self.shared.core.models
        checks.number(strength, "Identity strength", 0, MAX_STRENGTH, whole=False)
        placed, regions = parse_boxes(boxes), checks.choice(regions, "regions", (True, False))
        if placed and not regions:
            raise SettingsError("Boxes need regions: leave out either boxes or regions=false.")
        form = Form(
            negative_prompt=negative_prompt,
            steps=steps or models.steps,
            guidance_scale=models.guidance_scale if guidance_scale is None else guidance_scale,
            scheduler=scheduler,
            shape=shape,
            regions=(BOXES if placed else AUTOMATIC) if regions else OFF,
            boxes=placed,
            rearrange=bool(rearrange),
        )

        def start() -> Job:
            first = chosen_seed(seed, False)
            return start_images(
                self.shared,
                workspace,
                prompt,
                form,
                count=count,
                seed=first,
                strength=strength,
                strict=True,
                attempts=attempts,
            )

        return await self._answer(await run_sync(start), wait, session, request)

    async def interpolate(
        self,
        request: gr.Request,
        a: str,
        b: str,
        mixture: float = 0.5,
        prompt: str = "a photo of {}",
        count: int = 1,
        seed: int = 0,
        wait: float = 60,
        session: str = "",
    ) -> Answer:
        """Generate a mixture of two people, or a strip of images from one to the other.

        Args:
            request: Given by gradio.
            a: <name> of a person, or the name of a celebrity whom the model knows.
            b: Another one.
            mixture: λ of a single image: 0 is a, 1 is b.
            prompt: With {} for the mixture.
            count: 1: the image at λ; 2 to 17: a strip at equal distances from a to b.
            seed: Of all images.
            wait: Seconds to wait for the images, 0 to 120.
            session: What start_session returned; not needed at home or with a login.

        Returns:
            JSON: the job, as the endpoint job describes it; each of `images` has its `lambda`.
        """
        workspace = await run_sync(caller, self.shared, session, request)

        def start() -> Job:
            core = self.shared.core
            requests = strip_requests(core, workspace, a, b, mixture, prompt, count, seed)
            return start_mixtures(StripJob, self.shared, workspace, requests)

        return await self._answer(await run_sync(start), wait, session, request)

    async def job(
        self, request: gr.Request, job: str, wait: float = 20, session: str = ""
    ) -> Answer:
        """Return the state of a job, and its results when it is over; waits a while for that.

        Answers with `job`, `kind`, `state` (queued, running, done, stopped, failed), `step` of
        `total`, `place` in the queue, `seconds_left`, `note`, `error`, and once it is over
        `images`, each with `image` (a file), `seed` and `scores`; of a training also `people` and
        whether they are `saved`.

        Args:
            request: Given by gradio.
            job: The id that train, generate or interpolate returned.
            wait: Seconds to wait for its end, 0 to 120.
            session: What start_session returned; not needed at home or with a login.

        Returns:
            JSON: the job.
        """
        workspace = await run_sync(caller, self.shared, session, request)
        found = find_job(self.shared.runner, workspace, job)
        return await self._answer(found, wait, session, request)

    async def stop(self, request: gr.Request, job: str, session: str = "") -> Answer:
        """Stop a job; images that are finished stay.

        Args:
            request: Given by gradio.
            job: Its id.
            session: What start_session returned; not needed at home or with a login.

        Returns:
            JSON: the job, as the endpoint job describes it.
        """
        workspace = await run_sync(caller, self.shared, session, request)
        found = find_job(self.shared.runner, workspace, job)
        self.shared.runner.stop(found)
        return await self._answer(found, STOPPED, session, request)

    async def _answer(self, job: Job, wait: Any, session: Any, request: Any) -> Answer:
        """Describe a job when it is over, or after so many seconds."""
        await finished(job, wait, lambda: caller(self.shared, session, request))
        return describe_job(job, self.shared.runner)
