"""The endpoints as tools of an MCP server, by a real MCP client."""

from __future__ import annotations

import base64
import functools
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest
from api_help import data_url, served
from conftest import portrait
from PIL import Image

from ui.api import endpoints
from ui.api_answers import INLINE
from ui.studio import Shared

pytest.importorskip("mcp")

from mcp import ClientSession  # noqa: E402
from mcp.client.streamable_http import streamable_http_client  # noqa: E402

PASSWORD = ("me", "secret")


@pytest.fixture(scope="module")
def shared(studio, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mcp")
    library = folder / "identities"
    return Shared(studio, library, isolated=True, accounts=True, temporary=folder / "temporary")


@pytest.fixture(scope="module")
def url(shared):
    with served(shared, mcp=True, accounts=[PASSWORD]) as url:
        yield url


def with_client(url: str, use: Callable[[ClientSession], Awaitable[Any]]) -> Any:
    """Use an MCP client that sends name and password."""

    async def run() -> Any:
        async with (
            httpx.AsyncClient(auth=PASSWORD, timeout=60) as http,
            streamable_http_client(f"{url}/gradio_api/mcp/", http_client=http) as (read, write, _),
            ClientSession(read, write) as client,
        ):
            await client.initialize()
            return await use(client)

    return anyio.run(run)


async def call(client: ClientSession, tool: str, **arguments: Any) -> tuple[Any, list[Any]]:
    """An answer of a tool, and the images with it."""
    answer = await client.call_tool(tool, arguments)
    first, *more = answer.content
    if answer.isError:
        return first.text, []
    return json.loads(first.text), [part for part in more if part.type == "image"]


def test_the_tools_are_the_endpoints(url, shared):
    tools = with_client(url, lambda client: client.list_tools()).tools
    assert [tool.name for tool in tools] == [fn.__name__ for fn in endpoints(shared)]
    for tool in tools:
        assert len(tool.description) > 30
        for name, schema in tool.inputSchema["properties"].items():
            assert schema["description"], f"{tool.name}: {name}"
        assert "request" not in tool.inputSchema["properties"]


def test_nothing_is_told_before_the_login(url):
    head = {"Accept": "application/json, text/event-stream"}
    ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    mcp = f"{url}/gradio_api/mcp"
    for path in ("", "/", "/http", "/schema", "/sse", "/messages/?session_id=" + "0" * 32):
        for method in ("GET", "POST"):
            assert httpx.request(method, mcp + path, json=ask, headers=head).status_code == 401
    answer = httpx.post(f"{mcp}/", json=ask, headers=head, auth=PASSWORD)
    assert answer.status_code == 200 and "find_faces" in answer.text


async def _from_a_photo(client: ClientSession) -> dict[str, Any]:
    photo = {"name": "ada", "images": [data_url(portrait())], "preset": "fast", "steps": 1}
    started, _ = await call(client, "train", **photo, consent=True)
    trained, portraits = await call(client, "job", job=started["job"], wait=60)
    assert trained["state"] == "done" and trained["saved"]
    assert len(portraits) == len(trained["images"]) > 0
    made, images = await call(client, "generate", prompt="a photo of <ada>", count=INLINE + 1)
    assert len(made["images"]) == INLINE + 1 and len(images) == INLINE
    with Image.open(io.BytesIO(base64.b64decode(images[0].data))) as image:
        assert image.format == "PNG" and "celeb-basis" in image.text
    exported, _ = await call(client, "export", name="ada")
    return {"image": made["images"][-1]["image"], "file": exported["files"][0]}


def test_a_person_from_an_image_images_and_a_file(url):
    made = with_client(url, _from_a_photo)
    for address in made.values():
        assert address.startswith(f"{url}/gradio_api/file=")
        assert httpx.get(address).status_code == 401
    png = httpx.get(made["image"], auth=PASSWORD).content
    with Image.open(io.BytesIO(png)) as image:
        assert "celeb-basis" in image.text  # the file itself has its settings
    assert len(httpx.get(made["file"], auth=PASSWORD).content) > 100


def test_errors_are_answers(url, shared, tmp_path):
    ask = functools.partial(with_client, url)
    text, _ = ask(lambda client: call(client, "generate", prompt="<nobody>"))
    assert text.startswith("Nobody here is called <nobody>.")
    portrait().save(tmp_path / "secret.png")
    forged = {"path": str(tmp_path / "secret.png"), "meta": {"_type": "gradio.FileData"}}
    text, _ = ask(lambda client: call(client, "find_faces", image=forged))
    assert "is not of type" in text
    text, _ = ask(lambda client: call(client, "find_faces", image=forged["path"]))
    assert "was not uploaded" in text
    assert not [*shared.files.cache.rglob("secret.png")]
    text, _ = ask(lambda client: call(client, "arrive"))
    assert "Unknown tool" in text
