"""Scores and verdicts of generated images: with which faces they are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch import Tensor

from celeb_core import Identity, Scores, Studio, score_image
from celeb_core.layout import layout
from celeb_core.prompt import known_names
from celeb_core.verdicts import Verdict, other_people, verdict_of
from ui.image_requests import ImageRequest
from ui.progress import joined
from ui.workspace import Workspace

GLUE = "\u00a0"  # a score stays on the line of its name
SYMBOLS = {"right": "✓", "swapped": "⇄", "blended": "◐", "twice": "⧉", "missing": "✗"}
"""Kind of a verdict -> what its caption begins with; page.js finds captions by it."""
NO_SCORES = Scores((), None)
WORDS = {"twice": "one person twice"}


@dataclass(frozen=True, eq=False)
class Made:
    """A generated image, what it is like, and all attempts at it."""

    request: ImageRequest
    image: Image.Image
    scores: Scores
    verdict: Verdict | None
    tried: tuple[Mapping[str, Any], ...]  # seed and verdict of each attempt, in order

    @property
    def is_wrong(self) -> bool:
        """Whether somebody is not right."""
        return self.verdict is not None and self.verdict.kind != "right"

    @property
    def rank(self) -> tuple[int, float]:
        """Greater for better ones of the same people."""
        return self.verdict.rank if self.verdict else (0, 0.0)

    @property
    def number(self) -> int:
        """Of the attempt that this one is."""
        return [one["seed"] for one in self.tried].index(self.request.config.seed) + 1

    def caption(self) -> list[str]:
        """Return what a caption begins with: a symbol and a word, the label, the attempt."""
        text, count = "", len(self.tried)
        if self.verdict:
            kind = self.verdict.kind
            text = f"{SYMBOLS[kind]}{GLUE}{WORDS.get(kind, kind)}"
        tried = f"attempt {self.number} of {count}" if count > 1 else ""
        return [text, self.request.label, tried]

    def settings(self) -> dict[str, Any]:
        """Return what is written into the file beside scores, as JSON values."""
        about: dict[str, Any] = {} if self.verdict is None else {"verdict": self.verdict.as_dict()}
        return about | ({"attempts": list(self.tried)} if len(self.tried) > 1 else {})


@dataclass(frozen=True, eq=False)
class ImageScores:
    """What the images of a job are compared with."""

    core: Studio
    workspace: Workspace

    def score(self, request: ImageRequest, image: Image.Image) -> Made:
        """Score everyone whose face is known; two or more of them get a verdict, too."""
        core, prompt = self.core, request.prompt
        known = {name: self._reference(name, who) for name, who in self.people(request).items()}
        references = {name: face for name, face in known.items() if face is not None}
        faces = core.faces.find(image) if references else []
        scores = score_image(image, prompt.text, references, core.scorers, faces=faces)
        verdict = None
        if len(references) > 1:
            others = other_people(core.calibration, references)
            placed = prompt if request.config.regions else replace(prompt, boxes={})
            places = layout(placed, core.basis.names)
            verdict = verdict_of(faces, references, places, image.size, others)
        return first_attempt(request, image, scores, verdict)

    def people(self, request: ImageRequest) -> dict[str, Identity | None]:
        """Return who should be in an image; None stands for a celebrity."""
        names = known_names(request.prompt.text, self.core.basis.names)
        return {**request.people, **dict.fromkeys(names)}

    def missing(self, requests: Iterable[ImageRequest]) -> dict[str, Identity]:
        """Return the trained people without a photo for whom no face has been generated yet."""
        return {
            name: who
            for request in requests
            for name, who in self.people(request).items()
            if who is not None and self.workspace.needs_reference(who)
        }

    def _reference(self, name: str, identity: Identity | None) -> Tensor | None:
        if identity is not None:
            return self.workspace.reference(identity)
        calibration = self.core.calibration
        if calibration is None or name not in calibration.names:
            return None
        face = calibration.face_embeddings[calibration.names.index(name)]
        return face if bool(face.any()) else None


def attempt(request: ImageRequest, verdict: str | None) -> dict[str, Any]:
    """Describe an attempt at an image as JSON values."""
    return {"seed": request.config.seed, "verdict": verdict}


def first_attempt(
    request: ImageRequest,
    image: Image.Image,
    scores: Scores = NO_SCORES,
    verdict: Verdict | None = None,
) -> Made:
    """Return the first attempt at an image, without scores if there are none."""
    tried = attempt(request, None if verdict is None else verdict.kind)
    return Made(request, image, scores, verdict, (tried,))


def scores_as_dict(scores: Scores) -> dict[str, Any]:
    """Return scores as JSON values."""
    people = {face.name: round(face.identity, 4) for face in scores.faces}
    return {"people": people, "prompt": scores.prompt and round(scores.prompt, 4)}


def scores_as_text(scores: Scores) -> list[str]:
    """Return scores as parts of a caption."""
    people = [
        f"{face.name}{GLUE}{face.identity:.2f}" if face.found else f"{face.name} not found"
        for face in scores.faces
    ]
    return people + ([f"prompt{GLUE}{scores.prompt:.2f}"] if scores.prompt is not None else [])


def counted(settings: Sequence[Mapping[str, Any]]) -> str:
    """Say how many images are right, swapped, ..., and how many attempts there were in all.

    Args:
        settings: Of the images; those without a verdict do not count.
    """
    judged = [one for one in settings if "verdict" in one]
    kinds = [one["verdict"]["kind"] for one in judged]
    texts = [f"{kinds.count(kind)} {WORDS.get(kind, kind)}" for kind in SYMBOLS if kind in kinds]
    attempts = sum(len(one.get("attempts", (1,))) for one in judged)
    return joined(", ".join(texts), f"{attempts} attempts" if attempts > len(judged) else "")
