"""The page on the network: who may call it, who logs in, what is done from time to time."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celeb_core.library import PRIVATE_FOLDER
from ui.api import AGENTS_ROUTE
from ui.blocks import StudioBlocks
from ui.guard import Guard
from ui.hosting import SPACE_PROXIES
from ui.hosts import SHARE, SHARE_ASSETS, SPACE, SPACE_FRAMES, Hosts, security_headers
from ui.limits import MEGABYTE
from ui.page import Page
from ui.studio import Shared
from ui.theme import CSS, SCRIPT, THEME

log = logging.getLogger(__name__)
LARGEST_FILE = 100 * MEGABYTE  # at home
EVENTS = 1000  # of all browsers that may wait for their turn: each is a moment's work
TIDY_EVERY = 5.0  # seconds
TABS = 300  # of strangers whose state gradio keeps, half a megabyte each
CLOSED = 60.0  # seconds after which the state of a closed tab is freed
# gradio makes a table of its last events after each of them: a thousandth is often enough.
ANALYTICS = {"GRADIO_ANALYTICS_MAX_EVENTS": "100", "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000"}


@dataclass(frozen=True)
class Serving:
    """How the page is served.

    Args:
        host: Address to bind.
        port: None is 7860 or the next free one.
        share: A public link.
        accounts: Names and passwords; none: no login.
        allowed_hosts: Names under which the page may be called besides addresses and localhost.
        root_path: Path under which a proxy serves the page.
        space: On Hugging Face Spaces, whose site embeds it.
        mcp: It is an MCP server too.
    """

    host: str
    port: int | None = None
    share: bool = False
    accounts: Sequence[tuple[str, str]] = ()
    allowed_hosts: Sequence[str] = ()
    root_path: str | None = None
    space: bool = False
    mcp: bool = False


def serve(shared: Shared, serving: Serving) -> None:
    """Serve the page until interrupted.

    Raises:
        OSError: The address is taken, or a folder cannot be written.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(shared.files.cache)  # private, and deleted in the end
    if serving.space:  # its proxies tell whose the requests are, not the visitors
        os.environ.setdefault("FORWARDED_ALLOW_IPS", SPACE_PROXIES)
    for name, value in ANALYTICS.items():
        os.environ.setdefault(name, value)
    page = Page(shared).build()
    page.queue(max_size=EVENTS, api_open=False, default_concurrency_limit=2)
    with tidying(shared, page):
        page.launch(**launch_options(shared, serving))


def launch_options(shared: Shared, serving: Serving) -> dict[str, Any]:
    """Return the arguments of gradio's `launch`."""
    return {
        "server_name": serving.host,
        "server_port": serving.port,
        "share": serving.share,
        "root_path": serving.root_path,
        "auth": credentials(serving),
        "theme": THEME,
        "css": CSS,
        "js": SCRIPT,
        "app_kwargs": {"lifespan": guard(shared, serving).lifespan, "routes": [AGENTS_ROUTE]},
        "mcp_server": serving.mcp,
        "state_session_capacity": TABS if shared.isolated else 10_000,
        "max_file_size": shared.limits.upload or LARGEST_FILE,
        "allowed_paths": [] if shared.isolated else outside([shared.images, shared.library]),
        "blocked_paths": [str(shared.library.resolve() / PRIVATE_FOLDER)],
        "run_history": False,
        "enable_monitoring": False,
        "footer_links": ["settings"],
        "show_error": False,
        "strict_cors": True,
        "ssr_mode": False,
        "pwa": False,
    }


def guard(shared: Shared, serving: Serving) -> Guard:
    """Build the middleware around the page."""
    names = [*serving.allowed_hosts, *[SHARE] * serving.share, *[SPACE] * serving.space]
    assets = SHARE_ASSETS if serving.share else ""
    return Guard(
        hosts=Hosts(names),
        sessions=shared.sessions if shared.isolated else None,
        uploads=shared.uploads,
        limits=shared.limits,
        accounts=shared.accounts,
        headers=security_headers(SPACE_FRAMES if serving.space else (), assets),
    )


def credentials(serving: Serving) -> list[tuple[str, str]] | None:
    """Return names and passwords; a share link is open to the world, so it never goes without."""
    if serving.accounts:
        return list(serving.accounts)
    if not serving.share:
        return None
    password = secrets.token_urlsafe(12)
    print(f"The share link asks for a password. Name: studio, password: {password}")
    return [("studio", password)]


def outside(folders: Sequence[Path]) -> list[str]:
    """Return those of the folders that gradio would not serve images from unasked."""
    known = Path.cwd()
    return [str(folder) for folder in folders if not folder.resolve().is_relative_to(known)]


@contextmanager
def tidying(shared: Shared, page: StudioBlocks) -> Iterator[None]:
    """Within the block, what nobody needs any more is deleted every few seconds."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(TIDY_EVERY):
            try:
                shared.tidy()
                page.forget_closed_tabs(CLOSED)
            except Exception:  # a bug must not end it
                log.exception("tidying failed")

    thread = threading.Thread(target=work, name="tidy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
