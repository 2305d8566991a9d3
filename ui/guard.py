"""What is between the network and gradio: hosts, origins, sizes, rates, sessions, headers.

It refuses and it adds headers; it never answers with anything of the page, so nothing is told
before gradio's login.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from celeb_core.errors import quote
from ui.api_login import NOT_LOGGED_IN, NotLoggedIn, PasswordHeader, is_guarded
from ui.hosts import Hosts
from ui.limits import LimitReached, Limits
from ui.rates import Logins, Rate
from ui.sessions import COOKIE, HEADER, Sessions
from ui.uploads import Uploads

MAX_BODY = 4_000_000  # bytes of a request that is no upload
UPLOAD, LOGIN = "/gradio_api/upload", "/login"
FILE = "/gradio_api/file="
LASTING = ("/gradio_api/heartbeat/", "/gradio_api/queue/data")  # open while a tab waits
ISSUED = "celeb_basis_issued"  # in a request's scope: where a handler puts a new session's id
YEAR = 365 * 24 * 3600


class Refused(Exception):
    """A request that goes no further."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(eq=False)
class Guard:
    """ASGI middleware around the whole page. Give `lifespan` to gradio's `app_kwargs`.

    Args:
        hosts: Under which the page may be called.
        sessions: Issues and knows ids; None where all browsers share one session.
        uploads: Whose they are.
        limits: Of sizes and rates.
        accounts: Whoever logs in has a session of their own, the same in every browser.
        headers: Security headers for every answer.
    """

    hosts: Hosts
    sessions: Sessions | None
    uploads: Uploads
    limits: Limits
    accounts: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    logins: Logins = field(default_factory=Logins)
    passwords: PasswordHeader = field(default_factory=PasswordHeader)

    def __post_init__(self) -> None:
        self.rate = Rate(self.limits.requests)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Put the guard around the app's other middleware, its CORS too."""
        inner = app.middleware_stack
        assert inner is not None  # it is built before the lifespan begins

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            await self(inner, scope, receive, send)

        app.middleware_stack = guarded
        yield

    async def __call__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # gradio has none
                return
            await app(scope, receive, send)
            return
        try:
            await self._pass(app, scope, receive, send)
        except Refused as refused:
            response = PlainTextResponse(refused.reason, refused.status, dict(self.headers))
            await response(scope, receive, send)

    async def _pass(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        headers, path = Headers(scope=scope), _path(scope)
        self._check_source(headers, scope)
        address = scope["client"][0] if scope.get("client") else ""
        scope = await self._log_in(scope, address)
        headers = Headers(scope=scope)
        session = self._session(headers, scope)
        scope = {**scope, "headers": _with_session(scope["headers"], session), ISSUED: []}
        owner = session or (f"address {address}" if self.sessions else "")
        send = self._adding_headers(send, scope)
        async with AsyncExitStack() as stack:
            if session and self.sessions:
                self.sessions.see(session, address)
                if path.startswith(LASTING):
                    with _refusing(429):
                        stack.enter_context(self.sessions.connected(session))
            if scope["method"] == "POST":
                if not self.rate.take(owner):
                    raise Refused(429, "Too many requests at a time. Wait a moment.")
                if path == LOGIN:
                    with _refusing(429):
                        note = await stack.enter_async_context(self.logins.attempt(address))
                    send = _noting_status(send, note)
                await self._call_bounded(app, scope, receive, send, owner)
            else:
                await app(scope, receive, send)

    def _check_source(self, headers: Headers, scope: Scope) -> None:
        """Refuse other names of this machine (DNS rebinding), and requests of other sites."""
        host = headers.get("host", "")
        if not self.hosts.allows(host):
            raise Refused(
                421,
                f"This page is not served as {quote(host)}. Whoever runs it can allow that name: "
                "--allowed-host.",
            )
        origin = headers.get("origin")
        if origin is not None and not self.hosts.is_same(origin, headers):
            raise Refused(403, "Requests of other sites are refused.")
        if scope["method"] not in ("GET", "HEAD") and origin is None:
            if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
                raise Refused(403, "Requests of other sites are refused.")

    async def _log_in(self, scope: Scope, address: str) -> Scope:
        """Log in by the header of a program, and refuse what gradio serves to anybody."""
        with _refusing(429):
            try:
                scope = await self.passwords.log_in(scope, lambda: self.logins.attempt(address))
            except NotLoggedIn as error:
                raise Refused(401, str(error)) from error
        if scope["app"].auth is not None and is_guarded(_path(scope)):
            if _user(scope["app"], cookie_parser(Headers(scope=scope).get("cookie", ""))) is None:
                raise Refused(401, NOT_LOGGED_IN)
        return scope

    def _session(self, headers: Headers, scope: Scope) -> str:
        """Return the id of the request's session, or "" if it has none."""
        if self.sessions is None:
            return ""
        cookies = cookie_parser(headers.get("cookie", ""))
        if self.accounts:
            name = _user(scope["app"], cookies)
            return self.sessions.of_account(name) if name else ""
        given = (cookies.get(COOKIE), headers.get(HEADER))
        return next((id for id in given if id and self.sessions.is_ours(id)), "")

    # --- bodies ---------------------------------------------------------------------------------

    async def _call_bounded(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, owner: str
    ) -> None:
        """Call the app; refuse a body that is too long, before or while it is read."""
        upload, announced = _path(scope) == UPLOAD, Headers(scope=scope).get("content-length", "")

        def check(size: int) -> None:
            if upload:
                with _refusing(413):
                    self.uploads.check(owner, size)
            elif size > MAX_BODY:
                raise Refused(413, f"This request has more than {MAX_BODY // 1_000_000} MB.")

        check(int(announced) if announced.isascii() and announced.isdigit() else 0)
        taken, answered, refused, answer = 0, False, list[Refused](), bytearray()

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            try:
                check(taken)
            except Refused as error:
                refused.append(error)
                return {"type": "http.disconnect"}
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            if refused:
                return
            answered = True
            if upload and message["type"] == "http.response.body":
                answer.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    self._note_uploads(owner, bytes(answer), taken)
            await send(message)

        try:
            await app(scope, counted, noted)
        except Exception:
            if not refused:
                raise
        if refused and not answered:
            raise refused[0]

    def _note_uploads(self, owner: str, answer: bytes, size: int) -> None:
        """Note whose the files are that gradio's answer names."""
        paths = _paths(answer)
        for path in paths:
            self.uploads.add(owner, path, size // len(paths))

    # --- headers --------------------------------------------------------------------------------

    def _adding_headers(self, send: Send, scope: Scope) -> Send:
        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] == 403 and _path(scope).startswith(FILE):
                    message["status"] = 404  # gradio's answer must not tell what there is
                headers = MutableHeaders(scope=message)
                headers.update(self.headers)
                for id in scope[ISSUED]:
                    headers.append("set-cookie", _cookie(id, scope))
            await send(message)

        return adding


@contextmanager
def _refusing(status: int) -> Iterator[None]:
    """Within the block, a limit that is reached refuses the request."""
    try:
        yield
    except LimitReached as error:
        raise Refused(status, error.message) from error


def _noting_status(send: Send, note: Callable[[bool], None]) -> Send:
    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            note(message["status"] < 400)
        await send(message)

    return noting


def _path(scope: Scope) -> str:
    """Return the path without the prefix of a proxy."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return (path.removeprefix(root) if root else path).rstrip("/") or "/"


def _with_session(headers: Sequence[tuple[bytes, bytes]], id: str) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name.lower() != HEADER.encode()]
    return [*kept, (HEADER.encode(), id.encode())] if id else kept


def _user(app: Any, cookies: Mapping[str, str]) -> str | None:
    """Return who is logged in, as gradio knows it."""
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    tokens = [cookies[name] for name in names if name in cookies]
    user: str | None = app.tokens.get(tokens[0]) if tokens else None
    return user


def _paths(answer: bytes) -> list[Path]:
    try:
        named = json.loads(answer)
    except ValueError:  # the upload was refused
        return []
    return [Path(name) for name in named] if isinstance(named, list) else []


def _cookie(id: str, scope: Scope) -> str:
    """Return the cookie's header; within the frame of another site it needs https."""
    secure = scope["scheme"] == "https"
    where = "SameSite=None; Secure; Partitioned" if secure else "SameSite=Lax"
    path = urlsplit(scope.get("root_path", "")).path or "/"  # a proxy's may be a whole address
    return f"{COOKIE}={id}; Path={path}; Max-Age={YEAR}; HttpOnly; {where}"
