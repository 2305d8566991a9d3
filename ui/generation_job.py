"""Generating in the background: images appear one by one, each with its scores and settings.

An image of several people in which not everybody is right can be generated again with new seeds,
up to a number of attempts. The best attempt stays; the others are listed in its settings.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from celeb_core import (
    Identity,
    SampleConfig,
    Scores,
    Studio,
    parse_prompt,
)
from celeb_core.faces import largest_face
from celeb_core.marks.provenance import Marker
from celeb_core.prompt import PORTRAIT, weighted_text
from celeb_core.safety import REASON, is_blocked
from ui.executor import Executor, Watch
from ui.grid import Grid
from ui.image_requests import ImageRequest, batches
from ui.image_scores import (
    ImageScores,
    Made,
    attempt,
    first_attempt,
    scores_as_dict,
    scores_as_text,
)
from ui.images import save_generated
from ui.jobs import Job, SavedImage
from ui.previews import Previews
from ui.progress import joined
from ui.training_job import score_text
from ui.workspace import Workspace

REFERENCES = 3  # generated images that give the reference face of a person without a photo
REFERENCE_SEED = 1000


@dataclass(eq=False, kw_only=True)
class GenerateJob(Job):
    """Generate the requested images, score them and save them as PNG files."""

    core: Studio
    workspace: Workspace
    requests: Sequence[ImageRequest]
    executor: Executor
    scored: bool = True
    embed_settings: bool = True  # in the files
    images: list[SavedImage] = field(default_factory=list)
    pixels: list[Image.Image] = field(default_factory=list)  # of the images, while it runs
    previews: Sequence[Image.Image] = ()  # of those under way
    grid: Grid | None = None  # the requests are its cells
    sheet: SavedImage | None = None  # all as one image
    revision: int = 0  # counts the changes of `images`

    def __post_init__(self) -> None:
        self._scores = ImageScores(self.core, self.workspace)
        self._made: list[Made | None] = []  # the images; None: blocked

    @property
    def image_count(self) -> int:
        """All attempts of each request."""
        return sum(request.attempts for request in self.requests)

    def run(self) -> Literal["done", "stopped"]:
        """All images; then the scores that need generated references, and the grid."""
        status = self._generate_all()
        if self.grid and self.images:
            self._save_grid(self.grid)
        return status

    def release(self) -> None:
        """Leave the images to the disk: a page has many jobs to remember."""
        self.pixels, self.previews, self._made = [], (), []

    def _generate_all(self) -> Literal["done", "stopped"]:
        self.note = "Generating"
        for request, image in self._generate(self.requests):
            self._add(request, image)
        if self.told_to_stop():
            return "stopped"
        if self._faces_scored and (missing := self._without_reference()):
            self.note, self.seconds_left = "Scoring", None
            for name, identity in missing.items():
                self._find_reference(name, identity)
            for index, made in enumerate(self._made):  # once more, now that all faces are known
                if made:
                    self._made[index] = again = self._score(made.request, made.image)
                    self.images[index] = self._save(again, index)
            self.revision += 1
        self._try_again()
        return "stopped" if self.stop.is_set() else "done"

    def _generate(
        self, requests: Sequence[ImageRequest]
    ) -> Iterator[tuple[ImageRequest, Image.Image]]:
        """Yield each image as soon as its batch is there; fewer if the job is to stop."""
        if not requests:
            return
        first = requests[0]
        whole = ((first.prompt,) * first.config.batch_size, first.config)
        groups = batches(requests, alone=self.executor.one_by_one(self.core, whole))
        calls = [(tuple(one.prompt for one in group), group[0].config) for group in groups]
        began, left, finished = time.monotonic(), iter(requests), 0
        sizes = [len(group) for group in groups]

        def on_step(done: int, total: int) -> None:
            per_image = total // sizes[0]
            self.total = per_image * len(requests)
            self.done = per_image * finished + done
            so_far = time.monotonic() - began
            self.seconds_left = so_far / self.done * (self.total - self.done)

        watch = Watch(on_step, self.told_to_stop, Previews(self._show_previews))
        for images in self.executor.generate(self.core, calls, watch):
            self.previews = ()
            yield from ((next(left), image) for image in images)
            finished += len(images)
            sizes = sizes[1:] or sizes

    def _show_previews(self, previews: Sequence[Image.Image]) -> None:
        self.previews = previews

    def _add(self, request: ImageRequest, image: Image.Image) -> None:
        """Save the first attempt of the next request."""
        index = len(self.images)
        made = None if is_blocked(image) else self._score(request, image)
        self.pixels.append(image)
        self._made.append(made)
        if made is None:
            path = self._path(index)
            self.images.append(save_blocked(image, path, request, self.workspace.marker))
        else:
            self.images.append(self._save(made, index))
        self.revision += 1

    def _try_again(self) -> None:
        """Generate those again in which not everybody is right; the best attempts stay."""
        most = max((request.attempts for request in self.requests), default=1)
        seeds = itertools.count(max((one.config.seed for one in self.requests), default=0) + 1)
        for number in range(2, most + 1):
            wrong = [
                index
                for index, made in enumerate(self._made)
                if made and made.is_wrong and number <= made.request.attempts
            ]
            if not wrong or self.told_to_stop():
                return
            images = "1 image" if len(wrong) == 1 else f"{len(wrong)} images"
            self.note = f"Attempt {number} of {most} for {images} that are not right"
            again = [self.requests[index].with_seed(next(seeds)) for index in wrong]
            for (request, image), index in zip(self._generate(again), wrong, strict=False):
                self._keep(index, request, image)

    def _keep(self, index: int, request: ImageRequest, image: Image.Image) -> None:
        """Keep the better one of an image and another attempt at it, and list both."""
        before, old = self._made[index], self.images[index].path
        assert before is not None  # what is blocked is not generated again
        made = None if is_blocked(image) else self._score(request, image)
        tried = (*before.tried, *(made.tried if made else [attempt(request, REASON)]))
        best = before if made is None or made.rank <= before.rank else made
        self._made[index] = best = replace(best, tried=tried)
        self.pixels[index] = best.image
        self.images[index] = self._save(best, index)
        if self.images[index].path != old:
            old.unlink(missing_ok=True)
        self.revision += 1

    def _score(self, request: ImageRequest, image: Image.Image) -> Made:
        return self._scores.score(request, image) if self.scored else first_attempt(request, image)

    def _save(self, made: Made, index: int) -> SavedImage:
        request = made.request
        settings = {
            **image_settings(request, made.image, self.core),
            "scores": scores_as_dict(made.scores),
            **made.settings(),
        }
        path = self._path(index, made.number)
        stored = settings if self.embed_settings else None
        save_generated(made.image, path, stored, self.workspace.marker)
        faceless = self.scored and not self._faces_scored and self._scores.people(request)
        texts = [score_text(None)] if faceless else []
        caption = joined(*made.caption(), *texts, *scores_as_text(made.scores))
        return SavedImage(path, caption, settings=settings)

    def _path(self, index: int, number: int = 1) -> Path:
        """Attempts have files of their own: a page keeps what it has loaded from an address."""
        folder = self.workspace.images / f"{datetime.now():%Y-%m-%d}"
        suffix = f"-{number}" if number > 1 else ""
        return folder / f"{self.id[:8]}-{index + 1:03}{suffix}.png"

    def _save_grid(self, grid: Grid) -> None:
        """Of the images that there are, even if not all."""
        path = self.images[0].path.with_name(f"{self.id[:8]}-grid.png")
        stored = {"people": list(grid.people)} if self.embed_settings else None
        whole = grid.sheet(self.pixels, self.images)
        save_generated(whole, path, stored, self.workspace.marker)
        rows, columns = ", ".join(grid.people), ", ".join(grid.prompts)
        self.sheet = SavedImage(path, f"{rows} · {columns}")

    # --- scores ---------------------------------------------------------------------------------

    @property
    def _faces_scored(self) -> bool:
        return self.scored and self.core.faces.ready

    def _without_reference(self) -> dict[str, Identity]:
        """The people to compare with of whom images have to be generated first.

        None where GPU time is counted: those were not asked for.
        """
        if self.executor.costs is not None:
            return {}
        return self._scores.missing(self.requests)

    def _find_reference(self, name: str, identity: Identity) -> None:
        """Of generated images, one at a time, so that the job can be stopped in between."""
        prompt = parse_prompt(PORTRAIT.format(f"<{name}>"), {name: identity})
        seeds = range(REFERENCE_SEED, REFERENCE_SEED + REFERENCES)
        calls = [((prompt,), SampleConfig(seed=seed)) for seed in seeds]
        faces = []
        for images in self.executor.generate(self.core, calls, Watch()):
            found = [self.core.faces.find(image) for image in images]
            faces += [largest_face(each).embedding for each in found if each]
            if self.told_to_stop():
                return
        self.workspace.remember_reference(identity, faces)


def save_blocked(
    placeholder: Image.Image, path: Path, request: ImageRequest, marker: Marker
) -> SavedImage:
    """Save a placeholder of an image that was blocked; nothing of the image is in it."""
    save_generated(placeholder, path, None, marker)
    scores = scores_as_dict(Scores((), None))
    settings = {**prompt_texts(request), **request.settings, "scores": scores}
    return SavedImage(path, joined(request.label, REASON), settings=settings, blocked=True)


def prompt_texts(request: ImageRequest) -> dict[str, str]:
    """Return the prompt with its people's own strengths; also as written if it was rearranged."""
    usual, prompt = request.settings.get("strength", 1.0), request.prompt
    texts = {"prompt": weighted_text(prompt, usual)}
    if prompt.written:
        texts["written"] = weighted_text(replace(prompt, text=prompt.written), usual)
    return texts


def image_settings(request: ImageRequest, image: Image.Image, core: Studio) -> dict[str, Any]:
    """All that is needed to generate an image again, as JSON values."""
    config, models = request.config, core.models
    guidance = models.guidance_scale if config.guidance_scale is None else config.guidance_scale
    return {
        **prompt_texts(request),
        "negative_prompt": config.negative_prompt,
        "seed": config.seed,
        "steps": models.steps if config.steps is None else config.steps,
        "guidance": guidance,
        "scheduler": config.scheduler or models.scheduler_name or "default",
        "width": image.width,
        "height": image.height,
        "model": models.id,
        "basis": core.basis.id,
        "people": list(request.prompt.identities),
        **request.settings,
    }
