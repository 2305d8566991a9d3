"""Many visitors of a hosted page at once, each with a person, an image and a deletion.

python -m bench.visitors [--visitors 50] [--minutes 10] [--seed 0] [--model toonville]

Starts `app.py` for strangers and keeps so many visitors on it: each arrives, uploads a photo,
makes a person with the recipe instant, generates one image of them, deletes them and leaves, and
another one comes. A greedy one wants a hundred jobs. Prints what the page answered in which time,
how long the visitors waited, what failed, and the memory of the server.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from bench.kills import ROOT, Server
from bench.page_client import PageClient
from celeb_core.evaluation.data import held_out_photos

PEOPLE = ROOT / "assets" / "toonville" / "evaluation" / "people.webp"
POLL = 1.0  # seconds, as the hosted page does
PATIENCE = 900.0  # seconds that a visitor waits for one job
OPTIONS = ("--host", "0.0.0.0", "--limit", "sessions_per_address=none")
TABS = ("faces", "train", "compose", "library")


@dataclass
class Record:
    """What all visitors saw."""

    answers: list[float] = field(default_factory=list)  # seconds of each request, but of jobs
    images: list[float] = field(default_factory=list)  # seconds from arrival to one's image
    errors: Counter[str] = field(default_factory=Counter)
    strangers: int = 0  # people or images of others that somebody saw
    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds, MB

    @contextmanager
    def answer(self) -> Iterator[None]:
        """Time one request."""
        began = time.perf_counter()
        yield
        self.answers.append(time.perf_counter() - began)


class Visitor:
    """One journey through the page."""

    def __init__(self, address: str, name: str, photo: Path, record: Record) -> None:
        self.address, self.name, self.photo, self.record = address, name, photo, record

    def journey(self) -> None:
        """Arrive, upload, make a person, generate an image, delete, leave."""
        began = time.monotonic()
        with self.record.answer(), httpx.Client(timeout=60) as browser:
            browser.get(self.address).raise_for_status()
        with PageClient(self.address) as self.client:
            self._become_a_person()
            self._train()
            self._generate()
            self.record.images.append(time.monotonic() - began)
            self._delete()

    def _fire(self, widget: str, event: str, values: Any = None, data: Any = None) -> Any:
        with self.record.answer():
            answer = self.client.fire(widget, event, values, data)
        problems = [answer.get("error"), *(answer.get(f"{tab}-problem") for tab in TABS)]
        for text in filter(None, problems):
            if 'role="alert"' in str(text) or "error" in answer:
                raise RuntimeError(str(text))
        return answer

    def _become_a_person(self) -> None:
        with self.record.answer():
            upload = self.client.upload(self.photo, f"{self.name}.png")
        self._fire("faces-drop", "upload", {"faces-drop": [upload]})
        values = {"faces-name": self.name, "faces-consent": True}
        listed = self._fire("faces-use", "click", values)["faces-list"]["value"]
        self.record.strangers += len(listed) != 1

    def _train(self) -> None:
        chosen = self._update("train-who", "select")["train-who"]["value"]
        values = {"train-who": chosen, "train-preset": "instant"}
        self._fire("train-start", "click", values)
        self._wait("train-status")

    def _generate(self) -> None:
        values = {"compose-prompt": f"a photo of <{self.name}>", "compose-count": 1}
        self._fire("compose-start", "click", values)
        images = self._wait("compose-status")["compose-gallery"]["value"]
        self.record.strangers += len(images) != 1 or self.name not in images[0]["caption"]
        with self.record.answer():
            self.client.get(images[0]["image"]["url"]).raise_for_status()

    def _delete(self) -> None:
        index = self._people().index(self.name)
        self._fire("library-people", "select", {}, {"index": index, "value": None})
        self._fire("library-delete", "click")
        self.record.strangers += self.name in self._people()

    def _people(self) -> list[str]:
        rows = self._update("library-people", "select")["library-people"]["value"]
        return [re.split(r"\W", row["caption"])[0] for row in rows]

    def _update(self, widget: str, kind: str) -> dict[str, Any]:
        with self.record.answer():
            answer = self.client.update(widget, kind)
        if "error" in answer:
            raise RuntimeError(str(answer["error"]))
        return answer

    def _wait(self, status: str) -> dict[str, Any]:
        """Poll a job as the page does, until it is done; return the last values."""
        began, last = time.monotonic(), dict[str, Any]()
        while time.monotonic() - began < PATIENCE:
            last |= self._update(status, "tick")
            text = str(last[status])
            if "job done" in text:
                return last
            if "notice error" in text or "job stopped" in text:
                break
            time.sleep(POLL)
        raise RuntimeError(f"not done after {time.monotonic() - began:.0f} s: {last.get(status)}")


class Load:
    """The visitors of one run.

    Args:
        server: The page.
        record: What they saw.
        photos: For them.
        minutes: For which new ones come.
    """

    def __init__(self, server: Server, record: Record, photos: list[Path], minutes: float) -> None:
        self.server, self.record, self.photos = server, record, photos
        self.began, self.minutes = time.monotonic(), minutes
        self._count = iter(range(10**9))
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        """Whether no new visitors come."""
        return time.monotonic() - self.began > 60 * self.minutes

    def visit_again_and_again(self, delay: float) -> None:
        """One visitor after the other."""
        time.sleep(delay)
        while not self.over:
            with self._lock:
                number = next(self._count)
            photo = self.photos[number % len(self.photos)]
            try:
                Visitor(self.server.address, f"v{number}", photo, self.record).journey()
            except (httpx.HTTPError, RuntimeError, KeyError, ValueError) as error:
                self.record.errors[f"{type(error).__name__}: {str(error)[:200]}"] += 1

    def watch(self) -> None:
        """Note the server's memory."""
        process = psutil.Process(self.server.process.pid)
        while self.server.process.poll() is None:
            with suppress(psutil.Error):
                seconds = time.monotonic() - self.began
                self.record.memory.append((seconds, process.memory_info().rss / 1e6))
            time.sleep(5)


def greedy(server: Server, photo: Path) -> str:
    """One visitor wants a hundred jobs; return what that is to a newcomer."""
    record = Record()
    with PageClient(server.address) as client:
        values = {"compose-prompt": "a photo", "compose-count": 4}
        answers = [client.fire("compose-start", "click", values) for _ in range(100)]
        refused = sum("jobs of yours" in str(answer) for answer in answers)
        newcomer = Visitor(server.address, "newcomer", photo, record)
        with PageClient(server.address) as newcomer.client:
            text = {"compose-prompt": "a photo", "compose-count": 1}
            newcomer.client.fire("compose-start", "click", text)
            status = newcomer.client.update("compose-status", "tick")["compose-status"]
            place = re.search(r"\d+ jobs? before", str(status))
            began = time.monotonic()
            newcomer._wait("compose-status")
        waited = time.monotonic() - began
        client.fire("compose-cancel", "click")
    return (
        f"a greedy visitor: {refused} of 100 jobs refused; a newcomer's image "
        f"after {waited:.1f} s, {place[0] if place else 'no job before'} it"
    )


def photos_in(folder: Path) -> list[Path]:
    """Write a photo per person whom the model was never trained on."""
    paths = []
    for number, photo in enumerate(held_out_photos(PEOPLE)):
        paths.append(folder / f"{number}.png")
        photo.save(paths[-1])
    return paths


def report(record: Record) -> str:
    """Format what happened."""
    answers = np.array(record.answers) * 1000
    images = np.array(record.images or [np.nan])
    minute = [mb for seconds, mb in record.memory if seconds >= 60] or [np.nan]
    half = minute[len(minute) // 2 :]
    lines = [
        f"journeys finished: {len(record.images)}; errors: {sum(record.errors.values())}; "
        f"people or images of others seen: {record.strangers}",
        f"answers of the page: {len(answers)}, median {np.median(answers):.0f} ms, "
        f"95th percentile {np.percentile(answers, 95):.0f} ms, slowest {answers.max():.0f} ms",
        f"from arrival to the image: median {np.median(images):.0f} s, "
        f"longest {images.max():.0f} s",
        f"memory of the server after the first minute: {minute[0]:.0f} MB, "
        f"in the second half {min(half):.0f} to {max(half):.0f} MB, at the end {minute[-1]:.0f} MB",
        *(f"  {count} x {text}" for text, count in record.errors.most_common(10)),
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the load and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="toonville")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server, record = Server(folder, options.model, *OPTIONS), Record()
        try:
            server.client()
            photos = photos_in(folder)
            load = Load(server, record, photos, options.minutes)
            threading.Thread(target=load.watch, daemon=True).start()
            delays = [chance.uniform(0, 60) for _ in range(options.visitors)]
            threads = [
                threading.Thread(target=load.visit_again_and_again, args=[delay])
                for delay in delays
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            print(report(record))
            print(greedy(server, photos[0]))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
