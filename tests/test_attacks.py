"""What was tried against a hosted page, against a real server of the tiny model."""

from __future__ import annotations

import io
import stat
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import portrait
from PIL import Image
from ui_help import until

from bench.page_client import PageClient
from ui.jobs import Job
from ui.limits import MEGABYTE, PUBLIC, changed
from ui.page import Page
from ui.serving import Serving, launch_options
from ui.sessions import COOKIE, HEADER
from ui.studio import Shared

pytestmark = pytest.mark.slow
SETTINGS = ["jobs=2", "images=4", "people=3", "photos=2", f"uploads={3 * MEGABYTE}"]
LIMITS = changed(PUBLIC, [*SETTINGS, f"upload={2 * MEGABYTE}", "requests=100"])


@dataclass
class Hosted:
    """A page that strangers use."""

    url: str
    shared: Shared


def launched(studio: Any, folder: Path, auth: list[tuple[str, str]]) -> Iterator[Hosted]:
    library, temporary = folder / "identities", folder / "temporary"
    shared = Shared(
        studio, library, isolated=True, accounts=bool(auth), limits=LIMITS, temporary=temporary
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(shared.files.cache))
        page = Page(shared).build()
        options = launch_options(shared, Serving("127.0.0.1", accounts=auth))
        page.queue(api_open=False).launch(**options, prevent_thread_lock=True, quiet=True)
        yield Hosted(page.local_url.rstrip("/"), shared)
    page.close()
    shared.close()


@pytest.fixture(scope="module")
def hosted(studio, tmp_path_factory):
    yield from launched(studio, tmp_path_factory.mktemp("hosted"), [])


@pytest.fixture(scope="module")
def guarded(studio, tmp_path_factory):
    accounts = [("ada", "one"), ("bob", "two")]
    yield from launched(studio, tmp_path_factory.mktemp("guarded"), accounts)


@pytest.fixture
def visitor(hosted):
    with PageClient(hosted.url) as client:
        yield client


@pytest.fixture
def attacker(hosted):
    with PageClient(hosted.url) as client:
        yield client


def photo_file(folder: Path, side: int = 128) -> Path:
    path = folder / f"{uuid.uuid4().hex}.png"
    portrait(side=side).save(path)
    return path


def session(client: PageClient) -> str:
    return client.cookies[COOKIE]


def enlist(client: PageClient, folder: Path, name: str) -> dict[str, Any]:
    """Upload a photo and put the person into the training list."""
    client.fire("faces-drop", "upload", {"faces-drop": [client.upload(photo_file(folder))]})
    return client.fire("faces-use", "click", {"faces-name": name, "faces-consent": True})


def generate(client: PageClient, text: str = "a photo", count: int = 1) -> dict[str, Any]:
    values = {"compose-prompt": text, "compose-count": count, "compose-steps": 1}
    return client.fire("compose-start", "click", values)


# --- one visitor takes everything -------------------------------------------------------------


class Endless(Job):
    """A job that takes the worker until it is stopped."""

    def run(self):
        assert self.stop.wait(60)
        return "stopped"


def test_a_hundred_jobs_of_one_session_are_refused(hosted, attacker):
    before = hosted.shared.runner.submit(Endless("somebody else"))
    answers = [generate(attacker)["compose-problem"] for _ in range(102)]
    refused = [text for text in answers if "2 jobs of yours are waiting or running" in text]
    before.stop.set()
    workspace = hosted.shared.workspace(session(attacker))
    until(lambda: not hosted.shared.runner.busy(workspace.id))
    assert len(refused) == 100
    assert "generates at most 4" in generate(attacker, count=5)["compose-problem"]


def test_uploads_and_photos_are_bounded(hosted, attacker, tmp_path):
    big = tmp_path / "big.png"
    big.write_bytes(bytes(1_900_000))
    attacker.upload(big)
    (tmp_path / "other.png").write_bytes(b"1" * 1_900_000)
    with pytest.raises(httpx.HTTPStatusError, match="413"):
        attacker.upload(tmp_path / "other.png")
    (tmp_path / "huge.png").write_bytes(bytes(2_100_000))
    with pytest.raises(httpx.HTTPStatusError, match="413"):
        attacker.upload(tmp_path / "huge.png")
    workspace = hosted.shared.workspace(session(attacker))
    for _ in range(4):
        workspace.add_photo(portrait(side=64), "ada")
    assert len(workspace.photos) == LIMITS.photos


def test_people_are_bounded(attacker, tmp_path):
    answers = [enlist(attacker, tmp_path, f"ada{number}") for number in range(4)]
    assert "at most 3 people for a visitor" in answers[3]["faces-problem"]
    assert "training list" in answers[2]["faces-problem"]


def test_memory_of_photos_is_bounded_and_nothing_is_lost(hosted, tmp_path):
    shared = hosted.shared
    workspaces = [shared.workspace(shared.new_session()) for _ in range(4)]
    for number, workspace in enumerate(workspaces):
        workspace.add_photo(portrait(side=400 + number), "ada")
        photo = workspace.add_photo(portrait(side=400), "bob")
        workspace.enlist(photo, 0, "bob", consent=True)
    assert all(workspace.memory > 500_000 for workspace in workspaces)
    before = shared.limits
    shared.limits = changed(before, ["memory=1000000"])
    shared.tidy()
    assert sum(workspace.memory for workspace in workspaces) <= 1_000_000
    shared.limits = before
    for number, workspace in enumerate(workspaces):
        ((photo,), (trainee,)) = workspace.photos.values(), workspace.trainees.values()
        assert (photo.label, photo.image.width) == ("ada", 400 + number)
        assert trainee.name == "bob" and len(photo.faces) == len(trainee.faces) == 1


@pytest.mark.parametrize("kind", ["name", "prompt", "negative prompt"])
def test_endless_texts_are_refused_by_their_length(attacker, kind):
    long = "x" * 1_000_000
    values = {
        "name": ("faces-name", "change", {"faces-name": long}),
        "prompt": ("compose-start", "click", {"compose-prompt": long}),
        "negative prompt": (
            "compose-start",
            "click",
            {"compose-prompt": "a photo", "compose-negative": long},
        ),
    }
    widget, event, given = values[kind]
    answer = attacker.fire(widget, event, given)
    assert len(str(answer)) < 10_000 and ("too long" in str(answer) or "characters" in str(answer))
    with pytest.raises(httpx.HTTPStatusError, match="413"):
        attacker.fire("compose-start", "click", {"compose-prompt": "x" * 5_000_000})


# --- whoever is gone, and who is not ----------------------------------------------------------


def test_jobs_of_a_visitor_who_left_are_dropped(hosted, monkeypatch):
    shared = hosted.shared
    with PageClient(hosted.url) as gone, PageClient(hosted.url) as here:
        owners = [shared.workspace(session(client)).id for client in (gone, here)]
        monkeypatch.setattr(
            shared.sessions, "absence", lambda id: 61.0 if id == session(gone) else 0.0
        )
        assert [shared.is_gone(owner) for owner in owners] == [True, False]


# --- sessions ---------------------------------------------------------------------------------


def test_made_up_sessions_make_no_folder(hosted):
    folders = hosted.shared.temporary / "sessions"
    with PageClient(hosted.url) as client:
        before = len(list(folders.glob("*")))
        forged = httpx.Client(base_url=hosted.url)
        for number in range(50):
            id = f"{number:032x}.{number:032x}"
            for headers in ({"cookie": f"{COOKIE}={id}"}, {HEADER: id}):
                body = client.body_of("compose-start", "click", {"compose-prompt": "a photo"})
                forged.post("/gradio_api/queue/join", json=body, headers=headers)
        assert len(list(folders.glob("*"))) <= before + 1


def test_the_session_in_a_request_is_not_believed(hosted, visitor, attacker, tmp_path):
    enlist(visitor, tmp_path, "secret")
    mine, theirs = session(attacker), session(visitor)
    assert mine != theirs
    known = attacker.fire("faces-name", "change", {"faces-name": "secret", "session": mine})
    assert "In prompts" in known["faces-hint"]
    for given in (theirs, hosted.shared.workspace(theirs).id, "local", "", None, 7, {}):
        values = {"faces-name": "secret", "session": given}
        assert attacker.fire("faces-name", "change", values) == known
    assert visitor.fire("faces-name", "change", {"faces-name": "secret"}) != known


def test_the_address_that_a_cookie_came_from_does_not_matter_but_its_signature(hosted):
    with PageClient(hosted.url) as client:
        id = session(client)
        part, _, signature = id.partition(".")
        changed_id = f"{part}.{signature[::-1]}"
        answer = httpx.get(f"{hosted.url}/config", headers={"cookie": f"{COOKIE}={changed_id}"})
        assert "set-cookie" not in answer.headers


# --- files ------------------------------------------------------------------------------------


def test_an_image_that_the_page_serves_is_not_deleted_by_naming_it(hosted, attacker, tmp_path):
    shown = Path(hosted.shared.files.show("examples", "face", portrait()))
    forged = {"path": str(shown), "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}}
    for widget, event, value in (
        ("faces-drop", "upload", [forged]),
        ("library-import", "upload", forged),
        ("compose-load", "upload", forged),
    ):
        attacker.fire(widget, event, {widget: value})
    assert shown.is_file()


def test_an_upload_of_another_is_not_deleted_by_naming_it(attacker, visitor, tmp_path):
    theirs = visitor.upload(photo_file(tmp_path))
    attacker.fire("faces-drop", "upload", {"faces-drop": [theirs]})
    assert Path(theirs["path"]).is_file()
    answer = visitor.fire("faces-drop", "upload", {"faces-drop": [theirs]})
    assert answer["faces-problem"] == "" and not Path(theirs["path"]).exists()


def test_files_of_the_server_and_of_others_are_not_served(hosted, visitor, attacker, tmp_path):
    enlist(visitor, tmp_path, "secret")
    shared = hosted.shared
    theirs = shared.workspace(session(visitor))
    private = [path for path in theirs.private.rglob("*") if path.is_file()]
    assert private
    wanted = [*private, shared.temporary / "sessions.key", Path("/etc/passwd"), Path(__file__)]
    for path in wanted:
        for form in (path, f"{shared.files.cache}/../../{path.relative_to('/')}"):
            answer = attacker.get(f"/gradio_api/file={form}")
            assert answer.status_code == 404, path
            forged = {"path": str(form), "meta": {"_type": "gradio.FileData"}}
            answer = attacker.fire("compose-load", "upload", {"compose-load": forged})
            assert "error" in answer or "carries no settings" in str(answer), path


def test_the_address_of_a_removed_photo_leads_nowhere_at_once(visitor, tmp_path):
    upload = visitor.upload(photo_file(tmp_path))
    shown = visitor.fire("faces-drop", "upload", {"faces-drop": [upload]})
    address = shown["faces-photo"]["value"]["url"]
    assert visitor.get(address).status_code == 200
    visitor.fire("faces-discard", "click", {})
    assert visitor.get(address).status_code == 404
    assert not Path(shown["faces-photo"]["value"]["path"]).exists()


def test_temporary_folders_are_private_and_name_no_session(hosted, visitor):
    temporary = hosted.shared.temporary
    assert stat.S_IMODE((temporary / "sessions.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(hosted.shared.files.folder.stat().st_mode) == 0o700
    hosted.shared.workspace(session(visitor))
    names = [path.name for path in temporary.rglob("*")]
    assert not any(session(visitor)[:32] in name for name in names)


def test_markup_in_names_and_files_stays_text(visitor, tmp_path):
    attack = "<img src=x onerror=alert(1)>"
    upload = visitor.upload(photo_file(tmp_path), name=f"{attack}.png")
    answer = visitor.fire("faces-drop", "upload", {"faces-drop": [upload]})
    typed = visitor.fire("faces-name", "change", {"faces-name": attack})
    assert "<img" not in str(answer["faces-problem"]) + str(typed["faces-hint"])


# --- other sites, and login -------------------------------------------------------------------


def test_a_name_that_points_here_is_refused(hosted):
    answer = httpx.get(hosted.url, headers={"host": "evil.example"})
    assert answer.status_code == 421 and "Celeb Basis" not in answer.text


def test_a_form_of_another_site_uploads_nothing(hosted):
    files = {"files": ("a.png", io.BytesIO(b"x"))}
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = httpx.post(f"{hosted.url}/gradio_api/upload", files=files, headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


def test_nothing_is_told_before_the_login(guarded, tmp_path):
    with PageClient(guarded.url, ("ada", "one")) as client:
        enlist(client, tmp_path, "hidden-name")
        body = client.body_of("compose-start", "click", {"compose-prompt": "a photo"})
    stranger = httpx.Client(base_url=guarded.url)
    page = stranger.get("/")
    assert "hidden-name" not in page.text and "faces-drop" not in page.text
    assert COOKIE not in page.headers.get("set-cookie", "")
    for path in ("/config", "/gradio_api/info", "/gradio_api/upload_progress?upload_id=1"):
        assert stranger.get(path).status_code == 401
    for path in ("/gradio_api/run/predict", "/gradio_api/queue/join", "/gradio_api/upload"):
        assert stranger.post(path, json=body).status_code == 401


def test_accounts_have_their_own_people_in_every_browser(guarded, tmp_path):
    with PageClient(guarded.url, ("ada", "one")) as client:
        enlist(client, tmp_path, "eve")
    with PageClient(guarded.url, ("ada", "one")) as again, PageClient(guarded.url, ("bob", "two")):
        hint = again.fire("faces-name", "change", {"faces-name": "eve"})["faces-hint"]
    assert "eve is in the training list" in hint
    with PageClient(guarded.url, ("bob", "two")) as other:
        hint = other.fire("faces-name", "change", {"faces-name": "eve"})["faces-hint"]
    assert "In prompts" in hint
    folders = list((guarded.shared.library.parent / "accounts").iterdir())
    assert folders and all(stat.S_IMODE(folder.stat().st_mode) == 0o700 for folder in folders)


def test_an_image_of_a_visitor_is_seen_by_nobody_who_does_not_know_its_address(hosted, visitor):
    generate(visitor)
    workspace = hosted.shared.workspace(session(visitor))
    until(lambda: not hosted.shared.runner.busy(workspace.id))
    (path,) = workspace.images.rglob("*.png")
    assert Image.open(path).size
    assert httpx.get(f"{hosted.url}/gradio_api/file={path}").status_code == 404
