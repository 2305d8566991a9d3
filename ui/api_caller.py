"""Who calls the API, and what is theirs: photos, people and jobs are looked up nowhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import anyio
from anyio.to_thread import run_sync

from celeb_core import CelebError, Identity, checks
from celeb_core.errors import UnknownName
from celeb_core.identity import MAX_NAME
from ui.jobs import Job, Runner
from ui.photos import Photo
from ui.studio import Shared
from ui.workspace import Workspace

MAX_ID = 80  # characters of a session, a job or a face
MAX_WAIT = 120.0  # seconds for which a call may wait for its job
POLL = 0.1  # seconds between two looks at a job
ALIVE = 10.0  # seconds after which a caller who waits is known to be still there


def caller(shared: Shared, session: Any, request: Any) -> Workspace:
    """Return the workspace of who calls: the one place where the API tells callers apart.

    At home there is one; with accounts it is that of the login; else that of the session which was
    issued, as an argument or by cookie or header.

    Args:
        shared: What the tabs share.
        session: What the caller gave as such.
        request: gradio's; of an MCP client Starlette's.

    Raises:
        CelebError: Callers are kept apart, and this one has no session.
    """
    given = checks.text(session, "The session", MAX_ID)
    if not shared.isolated:
        return shared.workspace("")
    if shared.accounts or not given:
        given = shared.session_of(request)
    if not shared.sessions.is_ours(given):
        raise CelebError(
            "Each caller has people of their own here. Call start_session first, and give the id "
            "that it returns to every other call, as session."
        )
    shared.sessions.see(given, address_of(request))
    return shared.workspace(given)


def address_of(request: Any) -> str:
    """Return the address of who calls."""
    return request.client.host if request is not None and request.client else ""


def uploader(shared: Shared, request: Any) -> str:
    """Return under which name `ui.guard` knows whose uploads are; arguments tell it nothing."""
    if not shared.isolated:
        return ""
    return shared.session_of(request) or f"address {address_of(request)}"


def find_face(workspace: Workspace, id: str) -> tuple[Photo, int]:
    """Return the photo and the number of a face of the caller.

    Raises:
        CelebError: There is no such face.
    """
    photo_id, _, index = id.rpartition("-")
    photo = workspace.photos.get(photo_id)
    faces = range(len(photo.faces)) if photo else ()
    if photo is None or index not in map(str, faces):
        raise CelebError(
            f"There is no face {checks.shown(id)}. Call find_faces with the photo again: faces "
            "that were used, and photos before the latest ones, are forgotten."
        )
    return photo, int(index)


def single(photo: Photo) -> Photo:
    """Return a photo that shows one face.

    Raises:
        CelebError: It shows more.
    """
    if len(photo.faces) > 1:
        raise CelebError(
            f"An image shows {len(photo.faces)} faces. Call find_faces, choose one, and give its "
            "id to train."
        )
    return photo


def find_person(workspace: Workspace, name: Any) -> Identity:
    """Return a person of the caller.

    Raises:
        UnknownName: There is nobody of that name.
    """
    known, name = workspace.people(), bare(name)
    if name not in known:
        raise UnknownName(name, known=len(known))
    return known[name]


def bare(name: Any) -> str:
    """Return a name without the brackets that it has in prompts.

    Raises:
        SettingsError: It is no text, or too long.
    """
    text: str = checks.text(name, "The name", 10 * MAX_NAME)
    return text.strip().removeprefix("<").removesuffix(">")


def find_job(runner: Runner, workspace: Workspace, id: Any) -> Job:
    """Return a job of the caller.

    Raises:
        CelebError: There is none, or it was forgotten.
    """
    id = checks.text(id, "The job's id", MAX_ID)
    if job := runner.find(workspace.id, id):
        return job
    raise CelebError(
        f"You have no job {checks.shown(id)}. train, generate and interpolate return ids; the "
        "latest jobs of a session are known until this server stops."
    )


async def finished(job: Job, wait: Any, alive: Callable[[], Any]) -> None:
    """Wait until a job is over, or for so many seconds.

    Args:
        job: Of the caller.
        wait: Seconds, 0 to MAX_WAIT.
        alive: Called now and then: the caller is still there.

    Raises:
        SettingsError: `wait` is something else.
    """
    seconds = checks.number(wait, "wait", 0, MAX_WAIT, whole=False)
    began = said = time.monotonic()
    while job.live and time.monotonic() - began < seconds:
        await anyio.sleep(POLL)
        if time.monotonic() - said > ALIVE:
            await run_sync(alive)
            said = time.monotonic()
