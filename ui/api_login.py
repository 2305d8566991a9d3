"""The login of the page for programs: by name and password in a header, and before MCP answers.

gradio asks its own routes for the cookie of its login, but its MCP server is mounted beside them
and asks nobody; and agents can be configured to send a header rather than to log in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import inspect
import secrets
from collections.abc import Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from starlette.datastructures import Headers

MCP, AGENTS = "/gradio_api/mcp", "/agents.md"
MOST = 2000  # characters of a header with name and password
NOT_LOGGED_IN = "Log in first: Authorization: Basic base64(name:password), or the page's login."

Scope: TypeAlias = MutableMapping[str, Any]
Attempt: TypeAlias = Callable[[], AbstractAsyncContextManager[Callable[[bool], None]]]
"""Waits for the turn of an attempt to log in, and is told whether it was right."""


class NotLoggedIn(Exception):
    """The name or the password is wrong."""


def is_guarded(path: str) -> bool:
    """Return whether only those who are logged in may ask for a path that gradio does not guard.

    Args:
        path: Without the prefix of a proxy.
    """
    return MCP in path or path == AGENTS


class PasswordHeader:
    """A right name and password in the header of a request count as gradio's login."""

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(32)
        self._right: dict[bytes, str] = {}  # digest of a header that was right -> name
        self._tokens: dict[str, str] = {}  # of gradio's login, for each name

    async def log_in(self, scope: Scope, attempt: Attempt) -> Scope:
        """Return the scope of a request, with the cookie of gradio's login if it is right.

        Args:
            scope: Of an http request.
            attempt: Slows down those who try passwords.

        Raises:
            NotLoggedIn: Name or password are wrong.
            LimitReached: There are too many attempts.
        """
        server = scope["app"]
        kind, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        if server.auth is None or kind.lower() != "basic":
            return scope
        digest = hmac.digest(self._salt, given[:MOST].encode(), "sha256")
        name = self._right.get(digest)
        if name is None:
            async with attempt() as note:
                name = await right_name(server.auth, given[:MOST])
                note(name is not None)
            if name is None:
                raise NotLoggedIn("Name or password are wrong.")
            self._right[digest] = name
        return self._with_cookie(server, scope, name)

    def _with_cookie(self, server: Any, scope: Scope, name: str) -> Scope:
        token = self._tokens.get(name, "")
        if server.tokens.get(token) != name:  # new, or logged out meanwhile
            token = self._tokens[name] = secrets.token_urlsafe(16)
            server.tokens[token] = name
        headers = [pair for pair in scope["headers"] if pair[0] != b"cookie"]
        others = [value for key, value in scope["headers"] if key == b"cookie"]
        own = f"access-token-{server.cookie_id}={token}".encode()
        # Of several cookies of a name the last one counts.
        return {**scope, "headers": [*headers, (b"cookie", b"; ".join([*others, own]))]}


async def right_name(accounts: Any, given: str) -> str | None:
    """Return the name of a Basic authorization, if it is right.

    Args:
        accounts: gradio's: passwords by name, or a function of both.
        given: base64 of “name:password”.
    """
    try:
        text = base64.b64decode(given, validate=True).decode()
    except (ValueError, binascii.Error):
        return None
    name, _, password = text.partition(":")
    if callable(accounts):
        right = accounts(name, password)
        right = await right if inspect.isawaitable(right) else right
    else:
        digests = [
            hashlib.sha256(one.encode()).digest() for one in (accounts.get(name, ""), password)
        ]
        right = name in accounts and hmac.compare_digest(*digests)
    return name if right else None
