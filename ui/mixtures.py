"""Who can be mixed, and requests for images of a mixture of people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import gradio as gr
from torch import Tensor

from celeb_core import CelebError, Identity, SampleConfig, checks, parse_prompt
from celeb_core.errors import UnknownName
from celeb_core.files import check_writable
from celeb_core.prompt import MAX_TEXT, encode_prompt, readable
from ui.errors import explain, notice
from ui.form import MAX_SEED
from ui.generation_job import GenerateJob
from ui.image_requests import ImageRequest
from ui.studio import Shared
from ui.workspace import Workspace

MIX = "mix"  # the name of the mixture in a prompt
AnyJob = TypeVar("AnyJob", bound=GenerateJob)


def choices(shared: Shared, session: str) -> list[str]:
    """The people of the library as <name>, then the celebrities."""
    core = shared.core
    people = [f"<{name}>" for name in shared.workspace(session).people()]
    return people + list(core.models.names or core.basis.names)


def refilled(
    chosen: Sequence[str | None], known: Sequence[str], first: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """Update dropdowns of people: a choice that is still known stays, and nobody is there twice.

    Args:
        chosen: The value of each dropdown.
        known: Who can be chosen now.
        first: Who fills empty dropdowns before celebrities do.
    """
    taken = {choice for choice in chosen if choice in known}
    celebrities = (choice for choice in known if not choice.startswith("<"))
    free = (choice for choice in dict.fromkeys([*first, *celebrities]) if choice not in taken)
    return [
        gr.update(choices=list(known), value=choice if choice in known else next(free, None))
        for choice in chosen
    ]


def find_person(choice: str, workspace: Workspace) -> str | Identity:
    """Return the identity of “<ada>”; anything else is a celebrity's name and stays one.

    Raises:
        UnknownName: The library has no such person.
    """
    choice = checks.text(choice, "The person", MAX_TEXT)
    if not choice.startswith("<"):
        return choice
    for person in parse_prompt(choice, workspace.people()).identities.values():
        assert isinstance(person, Identity)
        return person
    raise UnknownName(choice)


def check_prompt(text: str) -> str:
    """Return the prompt as it is read and stored.

    Raises:
        CelebError: It is too long, or has no {} for the person.
    """
    text = readable(checks.text(text, "The prompt", MAX_TEXT))
    if "{}" not in text:
        raise CelebError("Write {} where the person should be, as in “a photo of {}”.")
    return text


def request_mixture(
    embeddings: Tensor, text: str, seed: int | None, label: str, settings: Mapping[str, Any]
) -> ImageRequest:
    """Request an image of the person with these token embeddings (k, d)."""
    prompt = parse_prompt(text.replace("{}", f"<{MIX}>"), {MIX: embeddings})
    config = SampleConfig(seed=0 if seed is None else checks.number(seed, "Seed", 0, MAX_SEED))
    return ImageRequest(prompt, config, label, {"prompt": text, **settings})


def submit(
    kind: type[GenerateJob],
    shared: Shared,
    workspace: Workspace,
    make_requests: Callable[[], Sequence[ImageRequest]],
    **more: Any,
) -> str:
    """Queue a job that generates mixtures for the page, as `start_mixtures`.

    Args:
        kind: Of the job; the page tells the parts of the tab apart by it.
        shared: What the tabs share.
        workspace: The user's.
        make_requests: Called here, so that a wrong person or prompt is reported at once.
        more: Further fields of the job.

    Returns:
        What is wrong as HTML, or "".
    """
    try:
        start_mixtures(kind, shared, workspace, make_requests(), **more)
    except CelebError as error:
        return notice(explain(error))
    return ""


def start_mixtures(
    kind: type[AnyJob],
    shared: Shared,
    workspace: Workspace,
    requests: Sequence[ImageRequest],
    **more: Any,
) -> AnyJob:
    """Queue a job that generates mixtures.

    Raises:
        CelebError: The prompt cannot be generated, or the folder cannot be written.
    """
    core = shared.core
    check_writable(workspace.images)
    encode_prompt(requests[0].prompt, core.basis, core.models)
    job = kind(
        owner=workspace.id,
        core=core,
        workspace=workspace,
        requests=requests,
        executor=shared.executor,
        scored=False,
        **more,
    )
    return shared.submit(job)


def percent(share: float) -> str:
    """Write a share as people read it."""
    return f"{100 * share:.0f} %"
