from __future__ import annotations

import anyio
import pytest
from file_server import serving

from celeb_core.errors import PhotoTooLarge, PhotoUnreadable
from ui import api_images
from ui.api_images import fetch, public_ip


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1", "::ffff:127.0.0.1"]
    + ["fd00::1", "224.0.0.1"],
)
def test_no_private_host_is_asked(host):
    with pytest.raises(ValueError, match="not on the public internet"):
        anyio.run(public_ip, host)


def test_a_public_host_is(monkeypatch):
    assert anyio.run(public_ip, "93.184.216.34") == "93.184.216.34"


@pytest.mark.parametrize(
    "address",
    ["http://", "http://[", "http://127.0.0.1:x/", "http://localhost/a.png", "http://x y"],
)
def test_wrong_addresses_are_errors(address):
    with pytest.raises(PhotoUnreadable, match="No image could be fetched"):
        anyio.run(fetch, address)


@pytest.fixture
def server(monkeypatch):
    """A host that counts as a public one."""

    async def anywhere(host: str) -> str:
        return "127.0.0.1"

    monkeypatch.setattr(api_images, "public_ip", anywhere)
    with serving() as server:
        yield server


def test_what_is_there_is_fetched_up_to_a_bound(server, monkeypatch):
    server.files["a.png"] = b"image"
    address = server.url.replace("127.0.0.1", "images.example")
    assert anyio.run(fetch, f"{address}/a.png") == b"image"
    with pytest.raises(PhotoUnreadable, match="status 404"):
        anyio.run(fetch, f"{address}/b.png")
    monkeypatch.setattr(api_images, "MAX_BYTES", 4)
    with pytest.raises(PhotoTooLarge):
        anyio.run(fetch, f"{address}/a.png")
