"""The middleware around a small app that stands in for gradio's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ui.guard import ISSUED, MAX_BODY, Guard
from ui.hosts import Hosts, security_headers
from ui.limits import MEGABYTE, Limits
from ui.rates import Logins
from ui.sessions import COOKIE, HEADER, Sessions
from ui.uploads import Uploads

LIMITS = Limits(upload=2 * MEGABYTE, uploads=3 * MEGABYTE, requests=20)
Visit = Callable[[httpx.AsyncClient], Awaitable[Any]]


class Site:
    """The guarded app."""

    def __init__(self, folder: Path, isolated: bool, accounts: bool, limits: Limits) -> None:
        self.sessions = Sessions(folder, limits)
        self.uploads = Uploads(folder / "cache", limits)
        self.waits: list[float] = []
        self.guard = Guard(
            Hosts(["studio.example"]),
            self.sessions if isolated else None,
            self.uploads,
            limits,
            accounts,
            security_headers(),
            Logins(self._sleep),
        )
        routes = [
            Route("/gradio_api/upload", self._upload, methods=["POST"]),
            Route("/login", self._login, methods=["POST"]),
            Route("/arrive", self._arrive),
            Route("/{path:path}", self._echo, methods=["GET", "POST"]),
        ]
        self.app = Starlette(routes=routes, lifespan=self.guard.lifespan)
        self.app.auth = None  # as gradio has it: no login
        self.app.cookie_id, self.app.tokens = "7", {"token-of-ada": "ada", "token-of-bob": "bob"}

    def visit(self, visit: Visit, https: bool = False, root: str = "") -> Any:
        """Run a visit to the app, which a proxy serves under `root`."""

        async def within() -> Any:
            async with self.app.router.lifespan_context(self.app):
                transport = httpx.ASGITransport(self.app, root_path=root)
                address = f"http{'s' * https}://127.0.0.1:7860"
                async with httpx.AsyncClient(transport=transport, base_url=address) as client:
                    return await visit(client)

        self.app.middleware_stack = self.app.build_middleware_stack()
        return asyncio.run(within())

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def _upload(self, request: Request) -> Response:
        body = await request.body()
        path = self.uploads.folder / ("0" * 63 + body[:1].decode()) / "file.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return JSONResponse([str(path)])

    async def _login(self, request: Request) -> Response:
        right = (await request.body()) == b"right"
        return Response(status_code=200 if right else 400)

    async def _arrive(self, request: Request) -> Response:
        request.scope[ISSUED].append(self.sessions.issue())
        return PlainTextResponse("welcome")

    async def _echo(self, request: Request) -> Response:
        body = await request.body()
        if request.url.path.startswith("/gradio_api/file="):
            return PlainTextResponse("not allowed", 403)
        return JSONResponse({"session": request.headers.get(HEADER), "bytes": len(body)})


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(tmp_path, isolated=True, accounts=False, limits=LIMITS)


def status_of(site: Site, method: str, path: str, **more: Any) -> int:
    async def visit(client: httpx.AsyncClient) -> int:
        return (await client.request(method, path, **more)).status_code

    return site.visit(visit)


def test_unknown_hosts_are_refused(site):
    assert status_of(site, "GET", "/", headers={"host": "evil.example"}) == 421
    assert status_of(site, "GET", "/", headers={"host": "studio.example"}) == 200
    assert status_of(site, "GET", "/") == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:7860"}, 200),
        ({"origin": "http://127.0.0.1:8000"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_requests_of_other_sites_are_refused(site, headers, status):
    assert status_of(site, "POST", "/gradio_api/upload", headers=headers, content=b"1") == status


def test_another_site_gets_no_answer_that_its_scripts_could_read(site):
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    assert status_of(site, "OPTIONS", "/config", headers=headers) == 403
    assert status_of(site, "GET", "/config", headers=headers) == 403


def test_a_session_is_in_a_cookie_that_no_script_reads(site):
    async def visit(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.get(path) for path in ("/before", "/arrive", "/after")]

    before, arrived, after = site.visit(visit)
    assert before.json()["session"] is None and "set-cookie" not in before.headers
    cookie = arrived.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    assert site.sessions.is_ours(after.json()["session"])
    _, arrived, _ = site.visit(visit, https=True)  # within the frame of another site
    assert "HttpOnly; SameSite=None; Secure; Partitioned" in arrived.headers["set-cookie"]


@pytest.mark.parametrize(
    ("root", "path"),
    [("", "/"), ("/studio", "/studio"), ("https://a.example", "/"), ("https://a.example/b", "/b")],
)
def test_the_cookie_is_for_what_the_proxy_serves(root, path, site):
    async def visit(client: httpx.AsyncClient) -> str:
        return (await client.get("/arrive")).headers["set-cookie"]

    assert f"; Path={path};" in site.visit(visit, root=root)


def test_a_made_up_session_is_none(site):
    async def visit(client: httpx.AsyncClient) -> list[Any]:
        ours, theirs = site.sessions.issue(), "0" * 65
        given = [{"cookie": f"{COOKIE}={theirs}"}, {HEADER: theirs}, {HEADER: ours}]
        return [(await client.get("/", headers=h)).json()["session"] for h in given] + [ours]

    made_up, also, program, ours = site.visit(visit)
    assert made_up is None and also is None and program == ours


def test_an_account_is_whoever_logged_in(tmp_path):
    site = Site(tmp_path, isolated=True, accounts=True, limits=LIMITS)
    name = "access-token-unsecure-7"

    async def visit(client: httpx.AsyncClient) -> list[Any]:
        cookies = [f"{name}=token-of-ada", f"{name}=made-up", f"{COOKIE}={site.sessions.issue()}"]
        headers = [{"cookie": cookie} for cookie in cookies]
        headers.append({HEADER: site.sessions.of_account("bob")})
        return [(await client.get("/", headers=h)).json()["session"] for h in headers]

    assert site.visit(visit) == [site.sessions.of_account("ada"), None, None, None]


def test_at_home_there_are_no_sessions(tmp_path):
    site = Site(tmp_path, isolated=False, accounts=False, limits=Limits())

    async def visit(client: httpx.AsyncClient) -> Any:
        headers = {HEADER: site.sessions.issue()}
        path = (await client.post("/gradio_api/upload", content=b"1")).json()[0]
        site.uploads.discard("", Path(path))
        return (await client.get("/", headers=headers)).json()["session"], Path(path).exists()

    assert site.visit(visit) == (None, False)


def test_bodies_are_bounded_before_and_while_they_are_read(site):
    async def endless():
        for _ in range(100):
            yield bytes(100_000)

    assert status_of(site, "POST", "/run", content=bytes(MAX_BODY)) == 200
    assert status_of(site, "POST", "/run", content=bytes(MAX_BODY + 1)) == 413
    assert status_of(site, "POST", "/run", content=endless()) == 413
    assert status_of(site, "POST", "/gradio_api/upload", content=endless()) == 413
    assert status_of(site, "POST", "/gradio_api/upload", content=bytes(3 * MEGABYTE)) == 413
    assert not any(site.uploads.folder.rglob("*.png"))


def test_uploads_are_counted_for_the_session_or_the_address(site):
    async def visit(client: httpx.AsyncClient) -> list[Any]:
        ids = [None, None, site.sessions.issue()]
        answers = []
        for number, id in enumerate(ids):
            body = str(number).encode() + bytes(2 * MEGABYTE - 1)
            headers = {HEADER: id} if id else {}
            post = client.post("/gradio_api/upload", content=body, headers=headers)
            answers.append(await post)
        return [*answers, ids[2]]

    first, second, third, id = site.visit(visit)
    assert [answer.status_code for answer in (first, second, third)] == [200, 413, 200]
    assert "uploaded 2 MB that nothing has used yet" in second.text
    (path,) = json.loads(third.text)
    site.uploads.discard("somebody else", Path(path))
    assert Path(path).exists()
    site.uploads.discard(id, Path(path))
    assert not Path(path).exists()


def test_too_many_requests_are_refused(site):
    async def visit(client: httpx.AsyncClient) -> list[int]:
        return [(await client.post("/run")).status_code for _ in range(250)]

    statuses = site.visit(visit)
    assert statuses[:200] == [200] * 200 and 429 in statuses


def test_wrong_passwords_are_slowed_down_and_the_right_one_passes(site):
    async def visit(client: httpx.AsyncClient) -> int:
        for _ in range(10):
            assert (await client.post("/login", content=b"wrong")).status_code == 400
        return (await client.post("/login", content=b"right")).status_code

    assert site.visit(visit) == 200
    assert sum(site.waits) > 60 and site.waits[:3] == [0, 0, 0]


def test_every_answer_has_the_security_headers_refusals_too(site):
    async def visit(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.get("/"), await client.get("/", headers={"host": "evil.example"})]

    for answer in site.visit(visit):
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_whether_a_file_exists_is_not_told(site):
    assert status_of(site, "GET", "/gradio_api/file=/etc/passwd") == 404


def test_a_session_is_present_while_its_tab_is_connected(site):
    id = site.sessions.issue()
    during = []

    async def heartbeat(request: Request) -> Response:
        during.append(site.sessions.absence(id))
        return Response()

    site.app.router.routes.insert(0, Route("/gradio_api/heartbeat/{hash}", heartbeat))
    status_of(site, "GET", "/gradio_api/heartbeat/x", headers={HEADER: id})
    assert during == [0.0]
