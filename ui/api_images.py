"""Images that callers of the API send -> bytes: an upload, an address, or base64 text.

Nothing that a caller names is trusted: of files only uploads are read, and addresses are fetched
from public hosts alone.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import socket
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

import anyio
import httpx
from safehttpx import AsyncSecureTransport

from celeb_core import checks
from celeb_core.errors import PhotoTooLarge, PhotoUnreadable, quote
from celeb_core.files import read_bytes
from ui.uploads import Uploads

MAX_BYTES = 20_000_000  # of an image's file
MAX_TEXT = 4_000_000  # characters of one in base64: requests are not longer
MAX_ADDRESS = 4000  # characters
FILE = "/gradio_api/file="  # what gradio's address of an uploaded file has before the path
REDIRECTS = 3
PATIENCE = 20.0  # seconds for an image from elsewhere
HOW = (
    "Send an http(s) address of an image, a data:image/...;base64, text, or the path that "
    "gradio_api/upload returned; in gradio_client, handle_file(path)."
)


async def read_image(source: Any, uploads: Uploads, owner: str) -> bytes:
    """Return the content of an image file, whatever it is; an upload is deleted after that.

    Args:
        source: An http(s) address, a `data:` address in base64, the path of an upload or its
            address on this server.
        uploads: Of all.
        owner: The caller, whose uploads are deleted.

    Raises:
        SettingsError: It is no text, or longer than it may be.
        PhotoUnreadable: There is no such upload, it is no base64, or cannot be fetched.
        PhotoTooLarge: It has more than MAX_BYTES.
    """
    if isinstance(source, str) and source.startswith("data:"):
        return _decoded(checks.text(source, "The image", MAX_TEXT))
    source = checks.text(source, "The image's address", MAX_ADDRESS)
    if FILE in source:  # an upload; whatever name of this server the address has
        source = unquote(source.partition(FILE)[2])
    if source.startswith(("http://", "https://")):
        return await fetch(source)
    return await anyio.to_thread.run_sync(_uploaded, source, uploads, owner)


def _decoded(text: str) -> bytes:
    """Decode a `data:` address."""
    head, _, data = text.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError(f"it begins with {quote(head)}")
        return base64.b64decode(data, validate=True)
    except (ValueError, binascii.Error) as error:
        raise PhotoUnreadable(f"This is no image in base64 ({error}). {HOW}") from error


def _uploaded(path: str, uploads: Uploads, owner: str) -> bytes:
    """Read an upload, and delete it: it holds the camera's metadata."""
    try:
        file = Path(path).resolve()
        if file.parent.parent != uploads.folder.resolve() or not file.is_file():
            raise FileNotFoundError("it was not uploaded, or has been read already")
        content = read_bytes(file, MAX_BYTES)
    except (OSError, ValueError) as error:  # a null character in the path; too large
        raise PhotoUnreadable(
            f"“{quote(Path(path).name)}” cannot be read ({error}). {HOW}"
        ) from error
    uploads.discard(owner, file)
    return content


async def fetch(address: str) -> bytes:
    """Fetch an image from a public host, as it is: neither proxies nor compression.

    Raises:
        PhotoUnreadable: The host is not public, or there is no such file.
        PhotoTooLarge: It has more than MAX_BYTES.
    """
    try:
        with anyio.fail_after(PATIENCE):
            for _ in range(REDIRECTS + 1):
                content, address = await _fetch_once(address)
                if content is not None:
                    return content
        raise ValueError("it leads from one address to another")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise PhotoUnreadable(
            f"No image could be fetched from “{quote(address)}” "
            f"({quote(str(error)) or 'it took too long'}). Send the image itself, as an upload or "
            "a data:image/...;base64, text."
        ) from error


async def _fetch_once(address: str) -> tuple[bytes | None, str]:
    """Return the content, or None and the address to which this one leads."""
    url = httpx.URL(address)
    if url.scheme not in ("http", "https"):
        raise ValueError("it is no http address")
    transport = AsyncSecureTransport(await public_ip(url.host))
    headers = {"Accept-Encoding": "identity"}
    async with (
        httpx.AsyncClient(transport=transport, trust_env=False) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        if response.has_redirect_location:
            return None, urljoin(address, response.headers["Location"])
        if response.status_code != 200:
            raise ValueError(f"status {response.status_code}")
        content = bytearray()
        async for part in response.aiter_raw():
            content += part
            if len(content) > MAX_BYTES:
                raise PhotoTooLarge(
                    f"The image has more than {MAX_BYTES:,} bytes. Send a smaller copy."
                )
        return bytes(content), address


async def public_ip(host: str) -> str:
    """Return an address of a host that anybody on the internet can reach.

    Raises:
        ValueError: There is none.
        OSError: The host has no address.
    """
    found = await anyio.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    for *_, (ip, *_) in found:
        parsed = ipaddress.ip_address(str(ip).partition("%")[0])
        if parsed.is_global and not parsed.is_multicast:
            return str(parsed)
    raise ValueError("its host is not on the public internet")
