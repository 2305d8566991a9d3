"""What the API answers: jobs and files as JSON, and the same for MCP."""

from __future__ import annotations

import base64
import json
import mimetypes
import os
from pathlib import Path
from typing import Any

from gradio.data_classes import FileData
from gradio_client.utils import is_file_obj_with_meta, traverse
from PIL import ImageFile

from ui.generation_job import GenerateJob
from ui.jobs import Job, Runner, SavedImage
from ui.training_job import TrainJob

Answer = dict[str, Any]
"""JSON, and files as gradio describes them."""
INLINE = 4  # images within an MCP answer; all have addresses


def describe_job(job: Job, runner: Runner) -> Answer:
    """Return the state of a job, and its images when it is over.

    Returns:
        `job` its id; `kind` training or images; `state` queued, running, done, stopped or failed;
        `step` of `total`; `place` in the queue, 0 when it is its turn; `seconds_left`, null if
        unknown; `note` what it does now; `error` why it failed, `warning` what else went wrong;
        of a training `people`, their names, and whether they are `saved`; `images`.
    """
    live = job.live  # read first, so that what is over is complete
    about: dict[str, Any] = {
        "job": job.id,
        "kind": "training" if isinstance(job, TrainJob) else "images",
        "state": job.status,
        "step": job.done,
        "total": job.total,
        "place": runner.place(job).ahead,
        "seconds_left": None if job.seconds_left is None else round(job.seconds_left, 1),
        "note": job.note if live else "",
        "error": job.error,
        "images": [],
    }
    if isinstance(job, TrainJob):
        about |= {"warning": job.warning, "people": job.names, "saved": job.saved}
        images = job.results
    else:
        images = job.images if isinstance(job, GenerateJob) else []
    if not live:
        about["images"] = [_image(image) for image in images]
    return about


def _image(image: SavedImage) -> dict[str, Any]:
    """Describe a generated image: the file, what it shows, its seed, scores and verdict."""
    settings = image.settings
    scores = settings.get("scores") or {"people": {}, "prompt": None}
    if image.person:  # of a training
        score = settings.get("identity")
        scores = {"people": {image.person: score and round(score, 4)}, "prompt": None}
    return {
        "image": file_data(image.path),
        "caption": image.caption.replace("\u00a0", " "),
        "prompt": settings.get("prompt"),
        "seed": settings.get("seed"),
        "lambda": settings.get("lambda"),
        "scores": scores,
        "verdict": settings.get("verdict"),
        "attempts": settings.get("attempts") or [],
    }


def file_data(path: Path) -> dict[str, Any]:
    """Return a file as gradio serves it."""
    kind, _ = mimetypes.guess_type(path.name)
    file: dict[str, Any] = FileData(
        path=str(path), orig_name=path.name, mime_type=kind
    ).model_dump()
    return file


def for_mcp(answer: Any, root: str) -> list[Any]:
    """Return an answer as contents of an MCP result: a text of JSON, then images.

    gradio's MCP server shows files at the top level only, and everything else by `str`.

    Args:
        answer: Of an endpoint, JSON with gradio's files.
        root: Address of this server.
    """
    images = []

    def address(file: dict[str, Any]) -> str:
        if str(file.get("mime_type")).startswith("image/"):
            images.append(file)
        return f"{root}{file['url']}"

    text = json.dumps(traverse(answer, address, is_file_obj_with_meta), ensure_ascii=False)
    return [text, *images[:INLINE]]


def file_in_base64(image: ImageFile.ImageFile, format: str) -> str:
    """Return the file of an image as it is, with its marks and settings, in base64.

    It takes the place of the method of gradio's MCP server that encodes the pixels again.

    Args:
        image: Opened from its file.
        format: Of the file.
    """
    return base64.b64encode(Path(os.fsdecode(image.filename)).read_bytes()).decode()
