"""Generating what was written in prompts: what the Compose tab and the API ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from celeb_core import CelebError, Identity, Prompt, SampleConfig, Studio, checks, parse_prompt
from celeb_core.files import check_writable
from celeb_core.layout import check_named, people_of
from celeb_core.prompt import MAX_TEXT, encode_negative, encode_prompt
from celeb_core.regions import encode_regions
from celeb_core.studio import arranged
from celeb_core.types import Box, RegionConfig
from ui.form import Form, prompts, strengthened
from ui.generation_job import GenerateJob
from ui.grid import Grid, fill
from ui.image_requests import ImageRequest, with_attempts, with_seeds
from ui.layout import region_settings, with_boxes
from ui.progress import joined
from ui.studio import Shared
from ui.workspace import Workspace

PER_PROMPT = 16
MAX_IMAGES = 100  # at once
MAX_ATTEMPTS = 8  # at an image of several people


class ComposeJob(GenerateJob):
    """Generates images of prompts."""


def start_images(
    shared: Shared,
    workspace: Workspace,
    text: Any,
    form: Form,
    *,
    crowd: Any = (),
    count: Any = 1,
    seed: int,
    strength: Any = 1.0,
    embed_settings: bool = True,
    strict: bool = False,
    attempts: Any = 1,
) -> ComposeJob:
    """Queue the images of all prompts.

    Args:
        shared: What the tabs share.
        workspace: The user's.
        text: One prompt per line.
        form: How images are generated.
        crowd: Each prompt is generated with each of these people.
        count: Images per prompt (and person).
        seed: Of the first image of each prompt.
        strength: Of people who have none of their own in the prompt.
        embed_settings: Whether the files hold their settings.
        strict: Whether a box of somebody who is in no prompt is an error; on the page it is of a
            prompt as it was a moment ago.
        attempts: At most, at each image of several people, until everybody is right.

    Raises:
        CelebError: A prompt, a person or a value is wrong, or the folder cannot be written.
    """
    lines = prompts(text)
    people = checks.texts(crowd, "The grid of people", MAX_TEXT)
    count = checks.number(count, "Images per prompt", 1, PER_PROMPT)
    attempts = checks.number(attempts, "Attempts", 1, MAX_ATTEMPTS)
    check_number(len(lines), len(people), count)
    check_writable(workspace.images)
    config, boxes = form.config(shared.core.models, seed), form.layout()
    known = workspace.people()
    requests = image_requests(
        shared.core, lines, people, config, strength, known, boxes, form.rearrange
    )
    if strict:
        names = shared.core.basis.names
        named = {name for each in requests for name in people_of(each.prompt, names)}
        check_named(boxes, named)
    requests = with_attempts(requests, attempts, shared.core.basis.names)
    check_attempts(requests, count)
    seeds = tuple(range(seed, seed + count))
    job = ComposeJob(
        owner=workspace.id,
        core=shared.core,
        workspace=workspace,
        requests=[each for request in requests for each in with_seeds(request, count)],
        executor=shared.executor,
        embed_settings=embed_settings,
        grid=Grid(tuple(people), lines, seeds) if people else None,
    )
    return shared.submit(job)


def image_requests(
    core: Studio,
    lines: Sequence[str],
    crowd: Sequence[str],
    config: SampleConfig,
    strength: Any,
    people: Mapping[str, Identity],
    boxes: Mapping[str, Box],
    rearrange: bool = True,
) -> list[ImageRequest]:
    """Request one image of each prompt and person; see `arranged`.

    Raises:
        PromptError, BasisMismatch: A prompt cannot be generated; it says which.
    """
    nobody = Prompt("", {}, people)
    negative, _ = encode_negative(config.negative_prompt, nobody, core.basis, core.models)
    config = replace(config, negative_prompt=negative)
    requests = []
    for person in crowd or (None,):
        for number, line in enumerate(lines, 1):
            label = [person.strip("<>")] if person else []
            try:
                prompt = strengthened(parse_prompt(fill(line, person), people), strength)
                prompt = arranged(prompt, core) if rearrange else prompt
                prompt = with_boxes(prompt, boxes, core.basis.names, person)
                regions = check_regions(prompt, config, core)
            except CelebError as error:
                if len(lines) > 1:
                    error.within(f"Prompt {number}")
                raise
            if len(lines) > 1:
                label += [f"{number}. {shortened(fill(line, '…') if person else line)}"]
            trained = {name: people[name] for name in prompt.identities}
            more: dict[str, Any] = {"strength": float(strength)}
            if len(people_of(prompt, core.basis.names)) > 1:
                more["regions"] = region_settings(regions, prompt)
            own = replace(config, regions=regions)
            requests.append(ImageRequest(prompt, own, joined(*label), more, trained))
    return requests


def check_regions(prompt: Prompt, config: SampleConfig, core: Studio) -> RegionConfig | None:
    """Check that a prompt can be generated; return its regions, None for fewer than two people.

    Raises:
        PromptError, BasisMismatch: It cannot.
    """
    encode_prompt(prompt, core.basis, core.models)
    if config.regions is None or len(people_of(prompt, core.basis.names)) < 2:
        return None
    encode_regions(prompt, core.basis, core.models, config.regions)
    return config.regions


def check_number(prompts: int, people: int, count: int) -> None:
    """Check the number of images.

    Raises:
        CelebError: There is no prompt, or there are too many images.
    """
    if not prompts:
        raise CelebError("Write a prompt first, or choose one of the ideas.")
    total = prompts * max(1, people) * count
    if total > MAX_IMAGES:
        what = f"{prompts} prompts" + (f" for {people} people" if people else "")
        raise CelebError(
            f"{what} with {count} images each are {total} images; {MAX_IMAGES} are generated at "
            "once. Take fewer images per prompt."
        )


def check_attempts(requests: Sequence[ImageRequest], count: int) -> None:
    """Check the number of images, all attempts at each included.

    Raises:
        CelebError: They are too many.
    """
    total = count * sum(request.attempts for request in requests)
    if total > MAX_IMAGES:
        raise CelebError(
            f"{count * len(requests)} images are up to {total} with all attempts; {MAX_IMAGES} are "
            "generated at once. Take fewer images per prompt, or fewer attempts."
        )


def shortened(line: str, most: int = 32) -> str:
    """Return the beginning of a prompt."""
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
