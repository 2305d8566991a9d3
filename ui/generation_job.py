"""Generating in the background: images appear one by one, each with its scores and settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from torch import Tensor

from celeb_core import (
    Identity,
    Prompt,
    SampleConfig,
    Scores,
    Studio,
    parse_prompt,
    score_image,
)
from celeb_core.faces import largest_face
from celeb_core.marks.provenance import Marker
from celeb_core.prompt import PORTRAIT, known_names, weighted_text
from celeb_core.safety import REASON, is_blocked
from celeb_core.sampling import decode_preview
from ui.executor import Executor, Watch
from ui.grid import Grid
from ui.images import save_generated
from ui.jobs import Job, SavedImage
from ui.training_job import score_text
from ui.workspace import Workspace

REFERENCES = 3  # generated images that give the reference face of a person without a photo
REFERENCE_SEED = 1000
GLUE = "\u00a0"  # a score stays on the line of its name
PREVIEW_SHARE = 0.1  # of the time at most
PREVIEW_INTERVAL = 0.2  # seconds at least


@dataclass(frozen=True, eq=False)
class ImageRequest:
    """One image to be generated."""

    prompt: Prompt
    config: SampleConfig  # with its seed; num_images plays no part
    label: str  # what its caption begins with
    settings: Mapping[str, Any] = field(default_factory=dict)  # more to be written into the file
    people: Mapping[str, Identity] = field(default_factory=dict)  # who are scored


class Previews:
    """Decodes images under way between the denoising steps, for a bounded share of the time.

    One object serves all calls of `generate_each` of a job: it waits until the cost of its last
    preview is PREVIEW_SHARE of the time.
    """

    def __init__(
        self,
        show: Callable[[list[Image.Image]], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._show, self._clock = show, clock
        self._due = clock() + PREVIEW_INTERVAL

    def __call__(self, pipeline: Any, latents: Tensor) -> None:
        """Show the images (b, c, h, w) under way if it is time to; for `on_latents`."""
        began = self._clock()
        if began < self._due:
            return
        self._show(decode_preview(pipeline, latents))
        ended = self._clock()
        self._due = ended + max(PREVIEW_INTERVAL, (ended - began) / PREVIEW_SHARE)


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

    @property
    def image_count(self) -> int:
        """One of each request."""
        return len(self.requests)

    def run(self) -> Literal["done", "stopped"]:
        """All images; then the scores that need generated references, and the grid."""
        status = self._generate_all()
        if self.grid and self.images:
            self._save_grid(self.grid)
        return status

    def release(self) -> None:
        """Leave the images to the disk: a page has many jobs to remember."""
        self.pixels, self.previews = [], ()

    def _generate_all(self) -> Literal["done", "stopped"]:
        self.note = "Generating"
        if self.requests:
            self._generate_images()
        if self.told_to_stop():
            return "stopped"
        if self._faces_scored and (missing := self._without_reference()):
            self.note, self.seconds_left = "Scoring", None
            for name, identity in missing.items():
                self._find_reference(name, identity)
            # Once more, now that all faces are known.
            self.images[:] = map(self._save, self.requests, self.pixels, range(len(self.pixels)))
        return "stopped" if self.stop.is_set() else "done"

    def _generate_images(self) -> None:
        """Save each batch as soon as it is there."""
        first = self.requests[0]
        whole = ((first.prompt,) * first.config.batch_size, first.config)
        groups = batches(self.requests, alone=self.executor.one_by_one(self.core, whole))
        calls = [(tuple(one.prompt for one in group), group[0].config) for group in groups]
        began, size = time.monotonic(), len(groups[0])

        def on_step(done: int, total: int) -> None:
            per_image = total // size
            self.total = per_image * len(self.requests)
            self.done = per_image * len(self.pixels) + done
            so_far = time.monotonic() - began
            self.seconds_left = so_far / self.done * (self.total - self.done)

        watch = Watch(on_step, self.told_to_stop, Previews(self._show_previews))
        sizes = [len(group) for group in groups[1:]]
        for images in self.executor.generate(self.core, calls, watch):
            self.previews = ()
            for image in images:
                request, index = self.requests[len(self.pixels)], len(self.images)
                self.pixels.append(image)
                self.images.append(self._save(request, image, index))
            size = sizes.pop(0) if sizes else size

    def _show_previews(self, previews: Sequence[Image.Image]) -> None:
        self.previews = previews

    def _save(self, request: ImageRequest, image: Image.Image, index: int) -> SavedImage:
        if is_blocked(image):
            return save_blocked(image, self._path(index), request, self.workspace.marker)
        scores = self._score(request, image) if self.scored else Scores((), None)
        settings = {**image_settings(request, image, self.core), "scores": _as_dict(scores)}
        path = self._path(index)
        stored = settings if self.embed_settings else None
        save_generated(image, path, stored, self.workspace.marker)
        unscored = self.scored and not self._faces_scored and self._people(request)
        texts = [score_text(None)] if unscored else []
        caption = " · ".join([request.label, *texts, *_as_text(scores)])
        return SavedImage(path, caption, settings=settings)

    def _path(self, index: int) -> Path:
        folder = self.workspace.images / f"{datetime.now():%Y-%m-%d}"
        return folder / f"{self.id[:8]}-{index + 1:03}.png"

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

    def _score(self, request: ImageRequest, image: Image.Image) -> Scores:
        """Score everyone whose face is known."""
        known = {name: self._reference(name, who) for name, who in self._people(request).items()}
        references = {name: face for name, face in known.items() if face is not None}
        return score_image(image, request.prompt.text, references, self.core.scorers)

    def _people(self, request: ImageRequest) -> dict[str, Identity | None]:
        """Who should be in an image; None stands for a celebrity."""
        names = known_names(request.prompt.text, self.core.models.names)
        return {**request.people, **dict.fromkeys(names)}

    def _reference(self, name: str, identity: Identity | None) -> Tensor | None:
        if identity is not None:
            return self.workspace.reference(identity)
        calibration = self.core.calibration
        if calibration is None or name not in calibration.names:
            return None
        face = calibration.face_embeddings[calibration.names.index(name)]
        return face if bool(face.any()) else None

    def _without_reference(self) -> dict[str, Identity]:
        """The trained people without a photo for whom no face has been generated yet.

        None where GPU time is counted: images of them were not asked for.
        """
        if self.executor.costs is not None:
            return {}
        return {
            name: who
            for request in self.requests
            for name, who in self._people(request).items()
            if who is not None and self.workspace.needs_reference(who)
        }

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


def batches(requests: Sequence[ImageRequest], alone: bool) -> list[list[ImageRequest]]:
    """Group requests that one call can serve: image i of a call is generated from seed + i.

    Args:
        requests: In the order in which they are wanted.
        alone: One per group, for devices where a batch would only make its first image late.
    """
    groups: list[list[ImageRequest]] = []
    for request in requests:
        last = groups[-1] if groups else []
        follows = bool(last) and request.config.seed == last[-1].config.seed + 1
        if alone or not follows or len(last) >= request.config.batch_size:
            groups.append([])
        groups[-1].append(request)
    return groups


def with_seeds(request: ImageRequest, count: int) -> list[ImageRequest]:
    """Repeat a request with `count` seeds, one after the other."""
    seeds = range(request.config.seed, request.config.seed + count)
    return [
        replace(
            request,
            config=replace(request.config, seed=seed),
            label=" · ".join(filter(None, [request.label, f"seed {seed}"])),
        )
        for seed in seeds
    ]


def save_blocked(
    placeholder: Image.Image, path: Path, request: ImageRequest, marker: Marker
) -> SavedImage:
    """Save a placeholder of an image that was blocked; nothing of the image is in it."""
    save_generated(placeholder, path, None, marker)
    scores = _as_dict(Scores((), None))
    settings = {**prompt_texts(request), **request.settings, "scores": scores}
    caption = " · ".join(filter(None, [request.label, REASON]))
    return SavedImage(path, caption, settings=settings, blocked=True)


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


def _as_dict(scores: Scores) -> dict[str, Any]:
    people = {face.name: round(face.identity, 4) for face in scores.faces}
    return {"people": people, "prompt": scores.prompt and round(scores.prompt, 4)}


def _as_text(scores: Scores) -> list[str]:
    people = [
        f"{face.name}{GLUE}{face.identity:.2f}" if face.found else f"{face.name} not found"
        for face in scores.faces
    ]
    return people + ([f"prompt{GLUE}{scores.prompt:.2f}"] if scores.prompt is not None else [])
