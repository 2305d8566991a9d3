"""Under which names the page may be called, and which sites may embed it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

LOCAL = ("localhost", "*.localhost")
SHARE = "*.gradio.live"  # gradio's share links
SHARE_ASSETS = "https://gradio.s3-us-west-2.amazonaws.com"  # where they load their scripts from
SPACE = "*.hf.space"  # where Hugging Face serves a Space
SPACE_FRAMES = (SPACE, "huggingface.co")  # what embeds it


@dataclass(frozen=True)
class Hosts:
    """Names under which the page may be called.

    An IP address is always one: only a name can be pointed at this machine by somebody else (DNS
    rebinding).

    Args:
        names: Further ones, “*” stands for anything.
    """

    names: Sequence[str] = ()

    def allows(self, host: str) -> bool:
        """Return whether a Host header, with its port, is one of these."""
        name = _name(host)
        return _is_address(name) or any(
            fnmatchcase(name, known.lower()) for known in (*LOCAL, *self.names)
        )

    def is_same(self, origin: str, headers: Mapping[str, str]) -> bool:
        """Return whether an Origin header names this page: the host that was called, with its port.

        Or one of the names in full: a proxy may call the page by another one.
        """
        called = {headers.get("host", ""), headers.get("x-forwarded-host", ""), *self.names} - {""}
        return urlsplit(origin).netloc.lower() in {host.lower() for host in called}


def security_headers(embedded_by: Sequence[str] = (), assets: str = "") -> dict[str, str]:
    """Return the headers for every answer of the page.

    Args:
        embedded_by: Hosts whose pages may show this one in a frame.
        assets: Where gradio's scripts and styles come from besides the page itself.
    """
    own = f"'self' {assets}".rstrip()
    frames = " ".join(["'self'", *(f"https://{host}" for host in embedded_by)])
    # Vega compiles its charts, gradio's page begins with a script of its own: hence “unsafe”.
    scripts = f"{own} 'unsafe-inline' 'unsafe-eval' blob:"
    policy = {
        "default-src": "'self'",
        "script-src": scripts,
        "style-src": f"{own} 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "media-src": "'self' data: blob:",
        "font-src": f"{own} data:",
        "connect-src": f"{own} data: blob:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": frames,
    }
    headers = {
        "content-security-policy": "; ".join(f"{key} {value}" for key, value in policy.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
    }
    return headers if embedded_by else {**headers, "x-frame-options": "SAMEORIGIN"}


def _name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
