"""SIGKILL at random moments of a real server that trains, generates and imports.

python -m bench.kills [--kills 50] [--seed 0] [--model toonville]

Each round starts `app.py` on the same folders, begins a training, images, an import, a renaming and
a deletion over HTTP as a browser does, and kills the process after a random time. Then everything
that was finished before must be there and whole; in the end no leftovers may remain.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from safetensors import safe_open

from bench.page_client import PageClient
from celeb_core.errors import CelebError
from celeb_core.files import read_json, sha256
from celeb_core.formats.image_file import load_photo
from celeb_core.identity import load_identity
from celeb_core.temporary_files import IDLE

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "docs" / "images" / "ada.png"
SAMPLE = ROOT / "identities" / "ada.sample.safetensors"
LONGEST = 12.0  # seconds from the first action to the kill


@dataclass
class Round:
    """What one life of the server was seen to finish."""

    moment: float  # seconds until the kill
    finished: set[str] = field(default_factory=set)  # actions that the page reported as done
    kept: set[str] = field(default_factory=set)  # `contents` before the kill


class Server:
    """`app.py` on folders of its own."""

    def __init__(self, folder: Path, model: str, *options: str) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(ROOT / "app.py"), "--model", model, "--port", str(port)]
        command += ["--device", "cpu", "--cache", str(folder / "cache"), *options]
        with open(folder / "log.txt", "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log,
                env={**os.environ, "TMPDIR": str(folder / "tmp")},
            )  # fmt: skip

    def client(self) -> PageClient:
        """Wait until the page is there."""
        while self.process.poll() is None:
            with suppress(httpx.HTTPError):
                return PageClient(self.address)
            time.sleep(0.1)
        raise SystemExit(f"the server does not start: see {self.folder / 'log.txt'}")

    def kill(self) -> None:
        """End it without any warning."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def main() -> int:
    """Kill, check, and print one line per round and one in the end."""
    options = _parser().parse_args()
    chance, problems, counts = random.Random(options.seed), list[str](), dict[str, int]()
    with tempfile.TemporaryDirectory(prefix="celeb-kills-") as place:
        folder = Path(place)
        for number in range(options.kills):
            life = one_life(folder, options.model, number, chance)
            problems += check(folder, life)
            for action in life.finished:
                counts[action] = counts.get(action, 0) + 1
            done = ", ".join(sorted(life.finished)) or "nothing finished"
            print(f"{number + 1:3}  killed after {life.moment:5.2f} s  {done}", flush=True)
        problems += leftovers(folder, options.model)
        people = len(list((folder / "identities").glob("*.safetensors")))
        images = len(list((folder / "images").rglob("*.png")))
    finished = ", ".join(f"{count} x {action}" for action, count in sorted(counts.items()))
    print(f"{options.kills} kills; finished before: {finished}; {people} people, {images} images")
    print(*problems, f"{len(problems)} problems", sep="\n")
    return 1 if problems else 0


def one_life(folder: Path, model: str, number: int, chance: random.Random) -> Round:
    """Start the server, do all that it can at once, kill it."""
    server, life = Server(folder, model), Round(chance.uniform(0.0, LONGEST))
    try:
        with server.client() as page:
            seen = life.finished
            acting = threading.Thread(target=act, args=(page, folder, number, seen), daemon=True)
            acting.start()
            time.sleep(life.moment)
            life.kept = contents(folder)
            server.kill()
            acting.join(10.0)
    finally:
        server.kill()
    return life


def act(page: PageClient, folder: Path, number: int, finished: set[str]) -> None:
    """Train a new person, generate images, import, rename, delete, bring back; all at once."""
    actions: list[tuple[str, Callable[[], dict[str, object]]]] = [
        ("enlisted", lambda: enlist(page, f"person{number}")),
        ("training begun", lambda: train(page, folder)),
        ("imported", lambda: page.fire("library-import", "upload", uploaded(page, number))),
        ("images begun", lambda: page.fire("compose-start", "click", PROMPT)),
        ("renamed", lambda: rename(page, number)),
        ("deleted", lambda: pick(page, 0) and page.fire("library-delete", "click")),
        ("brought back", lambda: page.fire("library-undo", "click")),
        ("portraits begun", lambda: page.fire("library-draw", "click")),
    ]
    with suppress(httpx.HTTPError, OSError):  # the server was killed
        for name, action in actions:
            if "error" not in action():
                finished.add(name)


PROMPT = {
    "compose-prompt": "a photo of <ada> on the beach",
    "compose-count": 4,
    "compose-crowd": [],
    "compose-fresh": True,
}


def enlist(page: PageClient, name: str) -> dict[str, object]:
    """Upload a photo, name the person, put them into the training list."""
    page.fire("faces-drop", "upload", {"faces-drop": [page.upload(PHOTO)]})
    values = {"faces-name": name, "faces-consent": True, "faces-join": False}
    return page.fire("faces-use", "click", values)


def train(page: PageClient, folder: Path) -> dict[str, object]:
    """Train the newest person of the training list."""
    page.fire("tab-train", "select")
    records = (folder / "identities" / ".studio" / "people").glob("*/person.json")
    newest = max(records, key=lambda path: path.stat().st_mtime).parent.name
    return page.fire("train-start", "click", {"train-who": [newest], "train-preset": "fast"})


def uploaded(page: PageClient, number: int) -> dict[str, object]:
    """Upload a person's file."""
    return {"library-import": page.upload(SAMPLE, f"ada{number}.safetensors")}


def pick(page: PageClient, index: int) -> dict[str, object]:
    """Click a person of the library."""
    return page.fire("library-people", "select", data={"index": index, "value": None})


def rename(page: PageClient, number: int) -> dict[str, object]:
    """Give the second person of the library another name."""
    pick(page, 1)
    return page.fire("library-rename", "click", {"library-name": f"renamed{number}"})


def saved_files(folder: Path) -> list[Path]:
    """Return all files that belong to the user, without temporary ones."""
    found = [*(folder / "identities").rglob("*"), *(folder / "images").rglob("*")]
    return [path for path in found if path.is_file() and path.suffix != ".tmp"]


def problem_of(path: Path) -> str:
    """Return what is wrong with a file, or ""."""
    try:
        if path.name == "state.safetensors":
            with safe_open(path, framework="pt") as file:
                for name in file.keys():
                    file.get_tensor(name)
        elif path.suffix == ".safetensors":
            load_identity(path)
        elif path.suffix == ".png":
            load_photo(path)
        elif path.suffix == ".json" and not read_json(path):
            return f"{path} holds no object"
    except (CelebError, OSError, ValueError) as error:
        return str(error) if path.exists() else ""  # moved meanwhile
    return ""


def contents(folder: Path) -> set[str]:
    """Return what must never be lost: people, whatever their names; photos to train on; images."""
    found = set()
    for path in saved_files(folder):
        with suppress(CelebError, OSError):  # moved meanwhile
            if path.suffix == ".safetensors" and path.name != "state.safetensors":
                numbers = load_identity(path).coefficients.numpy().tobytes()
                found.add(f"a person, {hashlib.sha256(numbers).hexdigest()}")
            elif path.suffix == ".png" and ("people" in path.parts or "images" in path.parts):
                found.add(f"{path.relative_to(folder)}, {sha256(path)}")
    return found


def check(folder: Path, life: Round) -> list[str]:
    """Return what a kill has damaged or lost."""
    damaged = [problem for path in saved_files(folder) if (problem := problem_of(path))]
    return damaged + [f"{what} is lost" for what in sorted(life.kept - contents(folder))]


def leftovers(folder: Path, model: str) -> list[str]:
    """Start once more, and return what no process needs any more."""
    time.sleep(IDLE + 1)
    server = Server(folder, model)
    with server.client() as page:
        page.fire("tab-train", "select")
        pages = list((folder / "tmp").glob("celeb-basis-*/page-*"))
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(60)
    found = [f"{path} remains" for path in folder.rglob("*.tmp")]
    found += [f"{len(pages)} folders of the page while one server runs"] if len(pages) > 1 else []
    left = [path for path in (folder / "tmp").rglob("*") if path.is_file()]
    return found + [f"{path} remains" for path in left]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=50, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--model", default="toonville", help="any that app.py takes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
