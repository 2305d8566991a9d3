"""The login of the page for programs: by name and password in a header, and before MCP answers.

gradio asks its own routes for the cookie of its login, but its MCP server is mounted beside them
and asks nobody; and agents can be configured to send a header rather than to log in.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import inspect
import secrets
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

MCP = "/gradio_api/mcp"
AGENTS = "/agents.md"
USER = "celeb_basis.user"  # in the scope of a request: who is logged in
MOST = 2000  # characters of a header with name and password
REFUSED = "Not authenticated. Send name and password: Authorization: Basic base64(name:password)."


class Login:
    """Middleware: a right name and password count as gradio's login, on every route.

    Without a login, MCP and /agents.md are refused where the page asks for one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tokens: dict[str, str] = {}  # of gradio's login, for each user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        server = scope.get("app")
        if scope["type"] != "http" or getattr(server, "auth", None) is None:
            await self._app(scope, receive, send)
            return
        kind, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            name = await _name(server, given)
            if name is None:
                await _refuse(scope, receive, send)
                return
            self._log_in(server, scope, name)
        scope[USER] = _logged_in(server, scope)
        guarded = MCP in scope["path"] or scope["path"].endswith(AGENTS)
        if guarded and scope[USER] is None:
            await _refuse(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _log_in(self, server: Any, scope: Scope, name: str) -> None:
        """Give the request the cookie of gradio's login."""
        token = self._tokens.get(name, "")
        if server.tokens.get(token) != name:  # new, or logged out meanwhile
            token = self._tokens[name] = secrets.token_urlsafe(16)
            server.tokens[token] = name
        headers = [pair for pair in scope["headers"] if pair[0] != b"cookie"]
        others = [value for key, value in scope["headers"] if key == b"cookie"]
        own = f"access-token-{server.cookie_id}={token}".encode()
        scope["headers"] = [*headers, (b"cookie", b"; ".join([*others, own]))]  # the last one wins


def user_of(request: Any) -> str | None:
    """Return who is logged in; None where the page asks for no login.

    Args:
        request: gradio's; of an MCP client Starlette's.
    """
    name = getattr(request, "username", None)
    scope = getattr(getattr(request, "request", request), "scope", None) or {}
    user: str | None = name if isinstance(name, str) else scope.get(USER)
    return user


async def _name(server: Any, given: str) -> str | None:
    """Return the name of a Basic authorization, if it is right."""
    try:
        text = base64.b64decode(given[:MOST], validate=True).decode()
    except (ValueError, binascii.Error):
        return None
    name, _, password = text.partition(":")
    if callable(server.auth):
        right = server.auth(name, password)
        right = await right if inspect.isawaitable(right) else right
    else:
        known = server.auth.get(name)
        right = known is not None and hmac.compare_digest(known.encode(), password.encode())
    return name if right else None


def _logged_in(server: Any, scope: Scope) -> str | None:
    """Return whose cookie of gradio's login a request has."""
    cookies = Request(scope).cookies
    names = (f"access-token-{server.cookie_id}", f"access-token-unsecure-{server.cookie_id}")
    token = next((cookies[name] for name in names if cookies.get(name)), None)
    user: str | None = server.tokens.get(token)
    return user


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({"error": REFUSED}, 401)(scope, receive, send)
