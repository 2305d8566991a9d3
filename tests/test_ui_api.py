"""The named endpoints of a running page, by gradio_client and plain HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from api_help import data_url, served
from conftest import portrait
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError, AuthenticationError
from PIL import Image
from ui_help import make_shared

from celeb_core import PRESETS, TrainConfig, fit
from celeb_core.textual_inversion import FORMATS
from ui.api import AGENTS, endpoints, prepare_mcp
from ui.api_generate import Shape
from ui.api_login import NotLoggedIn, PasswordHeader
from ui.api_people import Format, Preset
from ui.form import SHAPES
from ui.sessions import HEADER
from ui.studio import Shared

TRAINING = {"preset": "fast", "steps": 1, "consent": True}  # the tiny world is not prepared


@pytest.fixture(scope="module")
def shared(studio, tmp_path_factory):
    return make_shared(studio, tmp_path_factory.mktemp("api"), isolated=True)


@pytest.fixture(scope="module")
def url(shared):
    with served(shared) as url:
        yield url


@pytest.fixture(scope="module")
def client(url, tmp_path_factory):
    return Client(url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


@pytest.fixture
def session(client) -> str:
    return client.predict(api_name="/start_session")["session"]


@pytest.fixture
def call(client, session):
    """Call an endpoint in a session of the test's own."""

    def call(endpoint: str, *arguments: Any, **named: Any) -> Any:
        return client.predict(*arguments, **{"session": session, **named}, api_name=f"/{endpoint}")

    return call


def pair() -> Image.Image:
    photo = portrait(255, at=(2, 2))
    photo.paste(portrait(200, at=(0, 0)).crop((0, 0, 64, 64)), (0, 0))
    return photo


def test_exactly_the_endpoints_are_listed(client, shared):
    listed = client.view_api(print_info=False, return_format="dict")
    names = [f"/{endpoint.__name__}" for endpoint in endpoints(shared)]
    assert list(listed["named_endpoints"]) == names and not listed["unnamed_endpoints"]
    for name, about in listed["named_endpoints"].items():
        last = about["parameters"][-1:]
        assert name == "/start_session" or last[0]["parameter_name"] == "session"


def test_the_choices_are_those_of_the_page():
    assert get_args(Preset) == tuple(PRESETS)
    assert get_args(Shape) == tuple(SHAPES)
    assert get_args(Format) == (*FORMATS, "identity")


def test_from_a_photo_to_images_and_files(call, tmp_path):
    pair().save(tmp_path / "pair.png")
    found = call("find_faces", handle_file(tmp_path / "pair.png"))
    assert found["photo"]["width"] == 128
    left, right = found["faces"]
    assert left["box"][2] <= right["box"][0] and 0 < left["score"] <= 1
    started = call("train", "ada", [right["id"]], **TRAINING)
    assert started["kind"] == "training" and started["people"] == ["ada"]
    done = call("job", started["job"], wait=60)
    assert (done["state"], done["saved"], done["place"]) == ("done", True, 0)
    assert {path["image"].endswith(".png") for path in done["images"]} == {True}
    made = call("generate", "a photo of <ada>", count=2, seed=5, steps=2, shape="Tall")
    assert made["state"] == "done" and [image["seed"] for image in made["images"]] == [5, 6]
    for image in made["images"]:
        assert "ada" in image["scores"]["people"] and "ada" in image["prompt"]
        with Image.open(image["image"]) as file:
            assert file.height > file.width and "celeb-basis" in file.text
    both = call("generate", "<ada> and Grezin", steps=1, boxes={"<ada>": [0.5, 0, 1, 1]})
    with Image.open(both["images"][0]["image"]) as file:
        stored = json.loads(file.text["celeb-basis"])["regions"]
    assert stored["boxes"] == {"ada": [0.5, 0, 1, 1]} and stored["mode"] == "boxes"
    (ada,) = call("people")["people"]
    assert (ada["name"], ada["prompt"], ada["preset"]) == ("ada", "<ada>", "fast")
    assert ada["usable"] and not ada["sample"]
    for format, suffix in (("a1111", ".pt"), ("safetensors", ".safetensors")):
        exported = call("export", "<ada>", format, token="zorvik")
        assert [Path(file).name for file in exported["files"]] == [f"zorvik{suffix}"]
        assert "zorvik" in exported["usage"]["ComfyUI"]
        assert not re.search(r"[\w]*/[\w/]*celeb-basis", json.dumps(exported["usage"]))
    (identity,) = call("export", "ada", "identity")["files"]
    assert Path(identity).stat().st_size < 10_000
    strip = call("interpolate", "<ada>", "Grezin", count=3, prompt="{} on the beach")
    assert [image["lambda"] for image in strip["images"]] == [0, 0.5, 1]
    assert call("delete", "ada", photos=True) == {"deleted": ["person", "photos"]}
    assert call("people")["people"] == []
    with pytest.raises(AppError, match="No photos of ada"):
        call("train", "ada")


def test_callers_are_apart(call, client, session, shared, person, models, basis):
    other = client.predict(api_name="/start_session")["session"]
    (ada,) = fit([person], models, basis, TrainConfig(steps=0)).values()
    shared.workspace(session).save_person(ada)
    face = call("find_faces", data_url(pair()))["faces"][0]["id"]
    job = call("generate", "a photo", steps=1)["job"]
    for endpoint, named in (
        ("job", {"job": job}),
        ("stop", {"job": job}),
        ("train", {"name": "eve", "faces": [face], **TRAINING}),
        ("train", {"name": "ada", **TRAINING}),
        ("generate", {"prompt": "<ada>"}),
        ("interpolate", {"a": "<ada>", "b": "Grezin"}),
        ("export", {"name": "ada"}),
        ("delete", {"name": "ada", "photos": True}),
    ):
        with pytest.raises(AppError, match=r"no job|no face|No photos|Nobody"):
            call(endpoint, session=other, **named)
    assert call("people", session=other)["people"] == []
    assert [one["name"] for one in call("people")["people"]] == ["ada"]
    for wrong in ("", "0" * 65, session[:-1] + ("1" if session.endswith("0") else "0")):
        with pytest.raises(AppError, match="start_session"):
            call("people", session=wrong)


def test_a_job_that_takes_longer_is_asked_for_and_stopped(call):
    steps = {"steps": 1000, "count": 16}
    made = call("generate", "a photo", wait=0, **steps)
    assert made["state"] in ("queued", "running") and made["images"] == []
    behind = call("generate", "a photo", wait=0, **steps)
    assert behind["place"] == 1
    assert call("stop", behind["job"])["state"] == "stopped"
    assert call("stop", made["job"])["state"] == "stopped"


@pytest.mark.parametrize(
    ("endpoint", "named", "message"),
    [
        ("generate", {"prompt": "x" * 200_000}, "The prompt has 200,000 characters"),
        ("generate", {"prompt": ""}, "Write a prompt"),
        ("generate", {"prompt": 5}, "give a text"),
        ("generate", {"prompt": "a <nobody>"}, "Nobody here is called <nobody>"),
        ("generate", {"prompt": "a", "count": 17}, "from 1 to 16"),
        ("generate", {"prompt": "a", "steps": "many"}, "Steps is “many”"),
        ("generate", {"prompt": "a", "seed": 1e300}, "Seed is"),
        ("generate", {"prompt": "a", "wait": 1e9}, "wait is 1000000000.0: give a number"),
        ("generate", {"prompt": "a", "negative_prompt": "x" * 10**6}, "Negative prompt has"),
        ("generate", {"prompt": "a", "scheduler": "none"}, "choose one of"),
        ("generate", {"prompt": "a", "strength": None}, "Identity strength is empty"),
        ("generate", {"prompt": "a", "regions": "no"}, "choose one of True, False"),
        ("generate", {"prompt": "a", "boxes": {"eve": [0, 0, 1, 1]}}, "“eve”, who is in no prompt"),
        ("generate", {"prompt": "a", "boxes": {"eve": [0, 0, 2, 1]}}, "right, is 2"),
        ("generate", {"prompt": "a", "boxes": [1]}, "give an object of names and boxes"),
        ("generate", {"prompt": "a", "boxes": {"a": [0, 0, 1, 1]}, "regions": False}, "Boxes need"),
        ("generate", {"prompt": "a", "session": "0" * 81}, "The session has 81 characters"),
        ("interpolate", {"a": "", "b": "Grezin"}, "Choose two people"),
        ("interpolate", {"a": "Grezin", "b": "Grezin", "prompt": "a"}, "Write {}"),
        ("interpolate", {"a": "Grezin", "b": "Grezin", "mixture": 2}, "Mixture λ is 2"),
        ("find_faces", {"image": "/etc/passwd"}, "was not uploaded"),
        ("find_faces", {"image": "/gradio_api/file=/etc/passwd"}, "was not uploaded"),
        ("find_faces", {"image": "data:image/png;base64,%%"}, "no image in base64"),
        ("find_faces", {"image": "x" * 5000}, "The image's address has"),
        ("find_faces", {"image": "http://127.0.0.1/x"}, "not on the public internet"),
        ("find_faces", {"image": None}, "cannot be read"),
        ("train", {"name": "a", "images": ["x"], **TRAINING}, "was not uploaded"),
        ("train", {"name": "<", "images": ["x"], **TRAINING}, "contains '<'"),
        ("train", {"name": "a", "images": ["x"]}, "set consent to true"),
        ("train", {"name": "a", "images": "x", **TRAINING}, "Give a list"),
        ("train", {"name": "a", "faces": ["x"] * 13, **TRAINING}, "at most 12"),
        ("train", {"name": "a", "preset": "no", "images": ["x"], "consent": True}, "Preset is"),
        ("export", {"name": "nobody"}, "Nobody here is called"),
        ("export", {"name": "nobody", "format": "exe"}, "choose one of"),
        ("delete", {"name": "nobody"}, "nobody"),
        ("job", {"job": "x"}, "no job “x”"),
        ("job", {"job": ["x"]}, "give a text"),
    ],
)
def test_what_is_wrong_is_said_in_plain_text(call, endpoint, named, message):
    with pytest.raises(AppError) as raised:
        call(endpoint, **named)
    said = str(raised.value)
    assert message in said and len(said) < 1000 and "&" not in said


def test_several_faces_in_an_image_need_a_choice(call):
    with pytest.raises(AppError, match="shows 2 faces. Call find_faces"):
        call("train", name="ada", images=[data_url(pair())], **TRAINING)


def test_uploads_are_read_once_and_nothing_else_is(call, url, shared, tmp_path):
    portrait().save(tmp_path / "ada.png")
    files = {"files": (tmp_path / "ada.png").open("rb")}
    (upload,) = httpx.post(f"{url}/gradio_api/upload", files=files).json()
    assert Path(upload).is_file()
    assert len(call("find_faces", f"{url}/gradio_api/file={upload}")["faces"]) == 1
    assert not Path(upload).exists()
    served_to_all = shared.files.show("examples", "ada", portrait())
    for path in (upload, served_to_all, str(tmp_path / "ada.png")):
        with pytest.raises(AppError, match="cannot be read"):
            call("find_faces", path)
    assert Path(served_to_all).exists() and (tmp_path / "ada.png").exists()


def test_a_file_that_a_request_names_is_neither_copied_nor_read(url, session, shared, tmp_path):
    portrait().save(tmp_path / "secret.png")
    forged = {"path": str(tmp_path / "secret.png"), "meta": {"_type": "gradio.FileData"}}
    answer = httpx.post(f"{url}/gradio_api/run/find_faces", json={"data": [forged, session]})
    assert answer.status_code == 500 and "was not uploaded" in answer.json()["error"]
    assert not [*shared.files.cache.rglob("secret.png")]


def test_plain_http(url, session):
    answer = httpx.post(f"{url}/gradio_api/run/people", json={"data": [session]})
    assert answer.json()["data"] == [{"people": []}]
    event = httpx.post(f"{url}/gradio_api/call/v2/people", json={"session": session}).json()
    stream = httpx.get(f"{url}/gradio_api/call/people/{event['event_id']}").text
    assert stream.startswith("event: complete") and '[{"people": []}]' in stream
    for data in ([], [session, 1], {"session": session}):
        answer = httpx.post(f"{url}/gradio_api/run/people", json={"data": data})
        assert answer.status_code in (422, 500) and "people" not in answer.json()


def test_what_an_agent_reads_names_every_endpoint(url, shared):
    text = httpx.get(f"{url}{AGENTS}").text
    for endpoint in endpoints(shared):
        assert f"`{endpoint.__name__}`" in text
    assert f"{url}/gradio_api/mcp/" in text and "{url}" not in text


def test_a_session_may_be_in_a_header(url, session, shared, person, models, basis):
    (ada,) = fit([person], models, basis, TrainConfig(steps=0)).values()
    shared.workspace(session).save_person(ada)
    people = f"{url}/gradio_api/run/people"
    answer = httpx.post(people, json={"data": [""]}, headers={HEADER: session}).json()
    assert [one["name"] for one in answer["data"][0]["people"]] == ["ada"]


def test_nothing_is_reachable_before_the_login_and_each_has_their_own(
    studio, tmp_path, person, models, basis
):
    accounts = [("me", "secret"), ("you", "other")]
    library = tmp_path / "identities"
    shared = Shared(studio, library, isolated=True, accounts=True, temporary=tmp_path / "temporary")
    with served(shared, accounts=accounts) as url:
        me, you, wrong = (httpx.BasicAuth(*pair) for pair in (*accounts, ("me", "other")))
        people = f"{url}/gradio_api/run/people"
        for route in (AGENTS, "/gradio_api/info", "/gradio_api/mcp/", "/gradio_api/mcp/schema"):
            assert httpx.get(url + route).status_code == 401
        assert httpx.get(url + AGENTS, auth=wrong).status_code == 401
        assert httpx.get(url + AGENTS, headers={"Authorization": "Basic ="}).status_code == 401
        assert httpx.post(people, json={"data": [""]}).status_code == 401
        assert httpx.get(url + AGENTS, auth=me).status_code == 200
        (ada,) = fit([person], models, basis, TrainConfig(steps=0)).values()
        session = shared.sessions.of_account("me")
        shared.workspace(session).save_person(ada)
        for given in ("", session):  # an argument makes nobody somebody else
            mine, yours = (
                httpx.post(people, json={"data": [given]}, auth=who).json() for who in (me, you)
            )
            assert [one["name"] for one in mine["data"][0]["people"]] == ["ada"]
            assert yours["data"] == [{"people": []}]
        with pytest.raises(AuthenticationError):
            Client(url, verbose=False)
        header = {"Authorization": "Basic bWU6c2VjcmV0"}
        for how in ({"auth": ("me", "secret")}, {"headers": header}):
            client = Client(url, verbose=False, **how)
            assert len(client.predict(api_name="/people")["people"]) == 1
            assert client.predict(api_name="/start_session") == {"session": ""}


def test_wrong_passwords_in_a_header_are_slowed_down():
    asked: list[int] = []

    class Server:
        auth, cookie_id = {"me": "secret"}, "id"

        def __init__(self) -> None:
            self.tokens: dict[str, str] = {}

    @contextlib.asynccontextmanager
    async def attempt() -> AsyncIterator[Callable[[bool], None]]:
        asked.append(0)
        yield lambda right: asked.__setitem__(-1, 1 if right else -1)

    async def ask(server: Server, login: PasswordHeader, password: str) -> Any:
        given = b"Basic " + base64.b64encode(f"me:{password}".encode())
        return await login.log_in({"app": server, "headers": [(b"authorization", given)]}, attempt)

    server, login = Server(), PasswordHeader()
    with pytest.raises(NotLoggedIn):
        asyncio.run(ask(server, login, "other"))
    for _ in range(2):  # the second time it is known
        scope = asyncio.run(ask(server, login, "secret"))
    assert asked == [-1, 1] and list(server.tokens.values()) == ["me"]
    assert scope["headers"][-1][1].decode() == f"access-token-id={[*server.tokens][0]}"


def test_mcp_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr("ui.api.find_spec", lambda name: None)
    with pytest.raises(Exception, match=r"pip install 'celeb-basis-studio\[mcp\]'"):
        prepare_mcp()
