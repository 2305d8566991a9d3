"""The page as named endpoints: for programs by gradio_client or HTTP, for agents by MCP.

They do what the buttons do, by the same functions, and are outside of gradio's queue: its MCP
server reaches queued ones by a connection to itself that has no login. What is slow is a job of
our own queue anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gradio.events import api
from gradio.route_utils import get_root_url
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from celeb_core.errors import UsageError
from ui.api_generate import ImagesApi
from ui.api_login import AGENTS
from ui.api_people import PeopleApi
from ui.studio import Shared


def endpoints(shared: Shared) -> list[Callable[..., Any]]:
    """Return all endpoints in the order in which they are needed; each is named like its method."""
    people, images = PeopleApi(shared), ImagesApi(shared)
    return [
        people.start_session, people.find_faces, people.train, images.job, images.generate,
        images.interpolate, people.people, people.export, people.delete, images.stop,
    ]  # fmt: skip


def build_api(shared: Shared) -> None:
    """Add the endpoints to the page, within its `gr.Blocks`."""
    for endpoint in endpoints(shared):
        api(endpoint, api_name=endpoint.__name__, queue=False, concurrency_limit=None)


async def agents(request: Request) -> PlainTextResponse:
    """Answer what an agent has to know to use this server; `ui.guard` asks for the login."""
    root = get_root_url(request, AGENTS, getattr(request.app, "root_path", ""))
    text = Path(__file__).with_name("agents.md").read_text(encoding="utf-8")
    return PlainTextResponse(text.replace("{url}", root), media_type="text/markdown")


AGENTS_ROUTE = Route(AGENTS, agents)


def prepare_mcp() -> None:
    """Check that gradio can serve MCP, whose library logs each request unless it is told not to.

    Raises:
        UsageError: What it needs is not installed.
    """
    if find_spec("mcp") is None:
        raise UsageError(
            "--mcp needs the package mcp. Install it with: pip install 'celeb-basis-studio[mcp]', "
            "in a checkout: pip install '.[mcp]'"
        )
    logging.getLogger("mcp").setLevel(logging.WARNING)
