"""How long many people take on this machine: by worker processes, and by people at once.

    python -m bench.scale --people 40 --workers 1,2,4
    python -m bench.scale --people 64 --at-once 1,8,32        # one device
    python -m bench.scale --joint 10,100,1000 --per-step 10   # seconds of a step
    python -m bench.scale --costs                             # of 1,000 people on GPUs, computed

Each line trains the same people anew in a temporary folder, from photos to records, with the time
that workers take to load the model left out. The folder of photos is the model's own evaluation
set, over and over under other names, or --photos. The last column is what the engine costs: people
per minute over those of the first line times the workers.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from celeb_core import Person, find_face, fit_identities, load_studio
from celeb_core.cli.doctor import CARDS, LATENTS, STEPS, person_latents
from celeb_core.evaluation.data import held_out_photos
from celeb_core.many.engine import Event, Pool, distribute
from celeb_core.many.manifest import Entry
from celeb_core.many.pools import Inline, Processes, devices_here
from celeb_core.many.ray_pool import RayActors
from celeb_core.many.records import DONE
from celeb_core.many.train_work import TrainItem, TrainWork
from celeb_core.many.work import Ready, StudioOptions, Work
from celeb_core.marks.provenance import Marker
from celeb_core.types import PRESETS, recipe

PRICES = {"T4": 0.40, "RTX 4090": 0.40, "A100": 2.50}
"""Dollars of an hour, to multiply by: about what clouds ask; look up your own."""


def main() -> None:
    """Print the tables."""
    options = _options()
    if options.costs:
        print_costs()
        return
    if options.joint:
        print("| people | seconds of a step |\n|---|---|")
        for people, seconds in joint_steps(options):
            print(f"| {people} | {seconds:.3f} |", flush=True)
        return
    work = TrainWork(
        StudioOptions(options.model), Marker(b"0" * 32), options.preset, {}, 0, options.portraits
    )
    print("| workers | people at once | people | seconds | people/min | ideal | identities |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        items = photo_items(options, Path(folder))
        first = 0.0
        for workers in options.workers:
            for at_once in options.at_once:
                pool = _pool(options, workers)
                done, seconds, digest = measure(
                    replace(work, people_at_once=at_once), items, pool, workers
                )
                rate = 60 * done / seconds
                first = first or rate / workers
                ideal = rate / workers / first
                print(
                    f"| {workers} | {at_once} | {done} | {seconds:.1f} | {rate:.1f} | {ideal:.2f} "
                    f"| {digest} |", flush=True,
                )  # fmt: skip


class Together:
    """A pool whose workers begin when all of them are loaded."""

    def __init__(self, pool: Pool, workers: int) -> None:
        self.pool, self.missing = pool, workers

    def start(self, work: Work, most: int) -> None:
        """Start the workers."""
        self.pool.start(work, most)

    def give(self, worker: int, items: Sequence[Any]) -> None:
        """Let a worker do a batch."""
        self.pool.give(worker, items)

    def wait(self) -> list[Event]:
        """Return the next events; at first those of all workers."""
        events = self.pool.wait()
        while len(events) < self.missing:
            events += self.pool.wait()
        self.missing = 0
        return events

    def close(self) -> None:
        """End all workers."""
        self.pool.close()


def measure(
    work: TrainWork, items: Sequence[TrainItem], pool: Pool, workers: int
) -> tuple[int, float, str]:
    """Train people, and return how many, in how many seconds, and a checksum of their files.

    The time begins when all workers are loaded.
    """
    began, done, files = list[float](), 0, dict[str, bytes]()

    def on_ready(ready: Ready) -> None:
        began.append(time.perf_counter())

    for outcome in distribute(items, work, Together(pool, workers), on_ready):
        done += outcome.record["status"] == DONE
        files |= {k: content for k, content in outcome.files.items() if k.endswith("safetensors")}
    seconds = time.perf_counter() - began[-1]
    return done, seconds, checksum(files)


def checksum(files: Mapping[str, bytes]) -> str:
    """Return a checksum of files by path, of whatever order."""
    return hashlib.sha256(b"".join(files[path] for path in sorted(files))).hexdigest()[:8]


def joint_steps(options: argparse.Namespace) -> Iterator[tuple[int, float]]:
    """Train people together, some in each step, and return the mean seconds of later steps."""
    studio = load_studio(options.model)
    with tempfile.TemporaryDirectory() as folder:
        paths = photos_of(studio.models.folder, options.photos, Path(folder))
        faces = [find_face(path, studio.faces) for path in paths]
        for count in options.joint:
            named = enumerate(islice(cycle(faces), count))
            people = [Person(f"p{number}", (face,)) for number, face in named]
            config = recipe(options.preset, studio.calibration)
            config = config.changed(
                steps=options.steps, people_per_step=options.per_step, regression_batch=0, views=1
            )
            calibration, times = studio.calibration, list[float]()
            for _ in fit_identities(
                people, studio.models, studio.basis, config, calibration=calibration
            ):
                times.append(time.perf_counter())
            half = len(times) // 2
            yield count, (times[-1] - times[half]) / (len(times) - 1 - half)


def print_costs() -> None:
    """Print what 1,000 people cost on SD 1.5: latents over speeds that doctor assumes."""
    cards = [f"{name}: hours, dollars" for name in PRICES]
    print("|", " | ".join(["training", "latents of a person", *cards]), "|")
    print("|---" * (2 + len(cards)), end="|\n")
    configs = {
        "best, the model is not prepared": recipe("best", None),
        **{f"{name}, prepared": PRESETS[name] for name in ("best", "fast", "instant")},
    }
    for name, config in configs.items():
        latents = person_latents(config) + LATENTS * STEPS  # and a portrait, for the score
        hours = {card: 1000 * latents / CARDS[card] / 3600 for card in PRICES}
        cells = [f"{took:.1f}, {took * PRICES[card]:.2f}" for card, took in hours.items()]
        print("|", " | ".join([name, f"{latents:,.0f}", *cells]), "|")


def photo_items(options: argparse.Namespace, folder: Path) -> list[TrainItem]:
    """Return people with the photos that there are, over and over."""
    paths = photos_of(load_studio(options.model).models.folder, options.photos, folder)
    photos = islice(cycle(paths), options.people)
    entries = [Entry(f"p{number}", (str(path),)) for number, path in enumerate(photos)]
    return [
        TrainItem(entry, {entry.photos[0]: Path(entry.photos[0]).read_bytes()}) for entry in entries
    ]


def photos_of(model: Path | None, photos: Path | None, folder: Path) -> list[Path]:
    """Return a folder's photos, or write those of a model's evaluation set into a folder."""
    if photos is not None:
        return sorted(path for path in photos.iterdir() if path.is_file())
    if model is None:
        raise SystemExit("this model has no evaluation set: name --photos")
    paths = []
    for number, image in enumerate(held_out_photos(model / "evaluation" / "people.webp")):
        paths.append(folder / f"{number}.png")
        image.save(paths[-1])
    return paths


def _pool(options: argparse.Namespace, workers: int) -> Pool:
    if options.engine == "ray":
        return RayActors(workers, options.device)
    devices = devices_here(workers, options.device)
    return Inline(devices[0]) if workers == 1 else Processes(devices)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="toonville")
    parser.add_argument("--photos", type=Path, help="folder of one photo of each person")
    parser.add_argument("--preset", default="best")
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--portraits", type=int, default=0, help="images of each person")
    parser.add_argument("--workers", type=_numbers, default=[1])
    parser.add_argument("--at-once", type=_numbers, default=[1])
    parser.add_argument("--device", help="cuda or cpu; the best there is by default")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--costs", action="store_true", help="print what GPUs cost, and end")
    parser.add_argument("--joint", type=_numbers, help="people of joint trainings")
    parser.add_argument("--per-step", type=int, default=10, help="of these, in a step")
    parser.add_argument("--steps", type=int, default=20, help="of a joint training")
    return parser.parse_args()


if __name__ == "__main__":
    main()
