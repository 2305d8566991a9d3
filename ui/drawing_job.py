"""Drawing in the background: pictures appear one by one, each with its scores and settings."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from PIL import Image
from torch import Tensor

from celeb_core import (
    Identity,
    Prompt,
    SampleConfig,
    Scores,
    Studio,
    generate_each,
    reference_faces,
    score_picture,
)
from celeb_core.previews import Previews
from celeb_core.prompt import known_names
from ui.grid import Grid
from ui.jobs import Drawn, Job
from ui.pictures import save_picture
from ui.workspace import Workspace

REFERENCES = 3  # pictures from which a person without a photo is known again
REFERENCE_SEED = 1000
GLUE = "\u00a0"  # a score stays on the line of its name


@dataclass(frozen=True, eq=False)
class Order:
    """One picture to be drawn."""

    prompt: Prompt
    config: SampleConfig  # its seed; num_images plays no part
    label: str  # what its caption begins with
    settings: Mapping[str, Any] = field(default_factory=dict)  # more to be written into the file
    wanted: Mapping[str, Identity] = field(default_factory=dict)  # whose likeness is scored


@dataclass(eq=False, kw_only=True)
class DrawJob(Job):
    """Draw the orders, score them, keep them as PNG files."""

    core: Studio
    workspace: Workspace
    orders: Sequence[Order]
    scored: bool = True
    signed: bool = True  # the files carry their settings
    pictures: list[Drawn] = field(default_factory=list)
    drafts: Sequence[Image.Image] = ()  # how those under way look now
    grid: Grid | None = None  # the orders are its cells
    sheet: Drawn | None = None  # the grid as one picture
    _images: list[Image.Image] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._previews = Previews(self._show)

    def _show(self, drafts: Sequence[Image.Image]) -> None:
        self.drafts = drafts

    def run(self) -> Literal["done", "stopped"]:
        """All pictures; then the scores that need drawings of their own, and the grid."""
        status = self._draw_all()
        if self.grid and self.pictures:
            self._lay_out(self.grid)
        return status

    def _draw_all(self) -> Literal["done", "stopped"]:
        self.note = "Drawing"
        for orders in batches(self.orders, alone=self.core.models.device.type == "cpu"):
            self._draw(orders)
            if self.told_to_stop():
                return "stopped"
        if self.scored and (missing := self._unknown()):
            self.note, self.seconds_left = "Scoring", None
            for name, identity in missing.items():
                self._find_reference(name, identity)
            self._score_again()
        return "stopped" if self.stop.is_set() else "done"

    def _draw(self, orders: Sequence[Order]) -> None:
        began, before = time.monotonic(), len(self._images)

        def on_step(done: int, total: int) -> None:
            per_picture = total // len(orders)
            self.total = per_picture * len(self.orders)
            self.done = per_picture * before + done
            pace = (time.monotonic() - began) / done
            self.seconds_left = pace * (self.total - self.done)

        images = generate_each(
            [order.prompt for order in orders],
            self.core.models,
            self.core.basis,
            orders[0].config,
            on_step=on_step,
            should_stop=self.told_to_stop,
            previews=self._previews,
        )
        self.drafts = ()
        for order, image in zip(orders, images, strict=False):
            self._images.append(image)
            self.pictures.append(self._keep(order, image, len(self._images)))

    def _keep(self, order: Order, image: Image.Image, number: int) -> Drawn:
        scores = self._score(order, image) if self.scored else Scores((), None)
        settings = {**describe(order, image, self.core), "scores": _as_dict(scores)}
        day = datetime.fromtimestamp(time.time()).strftime("%Y-%m-%d")
        path = self.workspace.pictures / day / f"{self.id[:8]}-{number:03}.png"
        save_picture(image, path, settings if self.signed else None)
        caption = " · ".join([order.label, *_in_words(scores)])
        return Drawn(path, caption, settings=settings)

    def _lay_out(self, grid: Grid) -> None:
        """Of what was drawn, even if not all was."""
        path = self.pictures[0].path.with_name(f"{self.id[:8]}-grid.png")
        save_picture(grid.sheet(self._images, self.pictures), path)
        rows, columns = ", ".join(grid.people), ", ".join(grid.prompts)
        self.sheet = Drawn(path, f"{rows} · {columns}")

    # --- scores ---------------------------------------------------------------------------------

    def _score(self, order: Order, image: Image.Image) -> Scores:
        """Of everybody whose face we know."""
        known = {name: self._reference(name, who) for name, who in self._people(order).items()}
        wanted = {name: face for name, face in known.items() if face is not None}
        return score_picture(image, order.prompt.text, wanted, self.core)

    def _score_again(self) -> None:
        """Once more, now that all faces are known; pictures that are there stay in their place."""
        for index, image in enumerate(self._images):
            self.pictures[index] = self._keep(self.orders[index], image, index + 1)

    def _people(self, order: Order) -> dict[str, Identity | None]:
        """Who is wanted in a picture; None stands for a celebrity."""
        names = known_names(order.prompt.text, self.core.models.names)
        return {**order.wanted, **dict.fromkeys(names)}

    def _reference(self, name: str, identity: Identity | None) -> Tensor | None:
        if identity is not None:
            return self.workspace.reference(identity)
        calibration = self.core.calibration
        if calibration is None or name not in calibration.names:
            return None
        face = calibration.face_embeddings[calibration.names.index(name)]
        return face if bool(face.any()) else None

    def _unknown(self) -> dict[str, Identity]:
        """The trained people whose face we have not looked for yet: there is no photo of them."""
        return {
            name: who
            for order in self.orders
            for name, who in self._people(order).items()
            if who is not None and self.workspace.needs_reference(who)
        }

    def _find_reference(self, name: str, identity: Identity) -> None:
        """As the model draws them; one picture at a time, to be stopped in between."""
        faces: list[Tensor] = []
        for number in range(REFERENCES):
            if self.told_to_stop():
                return
            seed = REFERENCE_SEED + number
            faces += reference_faces({name: identity}, self.core, 1, seed).values()
        self.workspace.remember_reference(identity, faces)


def batches(orders: Sequence[Order], alone: bool) -> list[list[Order]]:
    """Orders that can be drawn in one call: picture i of a call is drawn from seed + i.

    `alone`: one at a time, where a call of several would only make the first one late.
    """
    groups: list[list[Order]] = []
    for order in orders:
        last = groups[-1] if groups else []
        follows = bool(last) and order.config.seed == last[-1].config.seed + 1
        if alone or not follows or len(last) >= order.config.batch_size:
            groups.append([])
        groups[-1].append(order)
    return groups


def count_up(order: Order, count: int) -> list[Order]:
    """The same picture from `count` seeds, one after the other."""
    seeds = range(order.config.seed, order.config.seed + count)
    return [
        replace(
            order,
            config=replace(order.config, seed=seed),
            label=" · ".join(filter(None, [order.label, f"seed {seed}"])),
        )
        for seed in seeds
    ]


def describe(order: Order, image: Image.Image, core: Studio) -> dict[str, Any]:
    """All that is needed to draw the picture again, in words that JSON knows."""
    config, models = order.config, core.models
    return {
        "prompt": order.prompt.text,
        "negative_prompt": config.negative_prompt,
        "seed": config.seed,
        "steps": models.steps if config.steps is None else config.steps,
        "guidance": models.guidance if config.guidance is None else config.guidance,
        "scheduler": config.scheduler or models.scheduler_name or "default",
        "delay": config.delay,
        "width": image.width,
        "height": image.height,
        "model": models.id,
        "basis": core.basis.id,
        "people": list(order.prompt.identities),
        **order.settings,
    }


def _as_dict(scores: Scores) -> dict[str, Any]:
    people = {face.name: round(face.identity, 4) for face in scores.faces}
    return {"people": people, "prompt": scores.prompt and round(scores.prompt, 4)}


def _in_words(scores: Scores) -> list[str]:
    words = [
        f"{face.name}{GLUE}{face.identity:.2f}" if face.found else f"{face.name} not found"
        for face in scores.faces
    ]
    return words + ([f"prompt{GLUE}{scores.prompt:.2f}"] if scores.prompt is not None else [])
