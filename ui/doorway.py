"""What happens when somebody asks for the page, before there is a page.

A browser takes a second or two to build the studio. A training that is under way is said at once,
in the page as it is sent; the page's own line takes over when it is there.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PLACE = b"<gradio-app"
COOKIE = "celeb-basis-session"
REMEMBER = f"""(id) => {{
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `{COOKIE}=${{id}}; path=/; max-age=86400; samesite=strict` + secure;
}}"""
"""What the page runs, with its session, so that the next one is known at the door."""
STYLE = (
    "position: fixed; inset: 0 0 auto 0; z-index: 10; padding: 0.6em; text-align: center; "
    "font-weight: 600; overflow-wrap: anywhere; background: var(--bg); color: var(--col)"
)


class Doorway:
    """ASGI middleware: rings when somebody asks for the page, and lets them see a line at once.

    `look` gives the line of a session (empty: a browser that has not been here), as HTML, or
    nothing.
    """

    def __init__(self, app: ASGIApp, ring: Callable[[], None], look: Callable[[str], str]) -> None:
        self.app, self.ring, self.look = app, ring, look

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/":
            return await self.app(scope, receive, send)
        self.ring()
        line = self.look(HTTPConnection(scope).cookies.get(COOKIE, ""))
        await self.app(scope, receive, _adding(line, send) if line else send)


def _adding(line: str, send: Send) -> Send:
    """Send a page with the line in it. The page comes in one piece."""
    began: list[Message] = []

    async def later(message: Message) -> None:
        if message["type"] == "http.response.start":
            began.append(message)
            return
        if began:
            start, page = began.pop(), message.get("body", b"")
            look = f'<div id="first-look" role="status" style="{STYLE}">{line}</div>\n'
            body = page.replace(PLACE, look.encode() + PLACE, 1)
            longer = len(body) - len(page)
            headers = [
                (key, str(int(value) + longer).encode() if key == b"content-length" else value)
                for key, value in start["headers"]
            ]
            await send({**start, "headers": headers})
            message = {**message, "body": body}
        await send(message)

    return later
