"""What a model has to know before people can be trained on it: names, basis, calibration, faces."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from celeb_core.basis import save_basis
from celeb_core.calibration import (
    MIXTURES,
    calibration_of,
    largest,
    load_sightings,
    look_at_people,
    save_calibration,
    save_sightings,
)
from celeb_core.cli.options import add_command, advance, cache_of, models_of, studio_of
from celeb_core.errors import CelebError, FeatureMissing
from celeb_core.faces import open_photo
from celeb_core.files import write_atomically
from celeb_core.filter_names import FilterConfig, candidates, look, sightings
from celeb_core.models import Studio, calibration_path, find_basis
from celeb_core.names_report import as_html
from celeb_core.packs import PACKS, fetch_pack
from celeb_core.refinement import RefineConfig, refine_start
from celeb_core.rehearsal import FEWEST_PEOPLE, PEOPLE, rehearse
from celeb_core.types import Calibration, Face
from celeb_core.verdicts import judge_names

KEEP_EVERY = 30.0  # seconds


def add_commands(commands: Any) -> None:
    """Add the commands of this module to the parser."""
    sub = add_command(commands, "basis", basis, "write it here too (.pt)")
    sub.add_argument("-p", type=int, default=512, help="components per word")
    sub = add_command(commands, "calibrate", calibration, "file to write (.safetensors)")
    sub.add_argument("--mixtures", type=int, default=MIXTURES, help="people between celebrities")
    sub.add_argument("--steps", type=int, help="of sampling; a few are enough")
    sub.add_argument(
        "--keep-start",
        action="store_true",
        help="renew faces and directions alone, without mixtures: what refine made stays",
    )
    sub = add_command(
        commands, "refine", refine, "calibration to write; the model's own by default"
    )
    sub.add_argument("photos", type=Path, help="folder of photos, one of each person, thousands")
    sub.add_argument("--steps", type=int, default=RefineConfig.steps)
    sub.add_argument("--people", type=int, default=RefineConfig.people, help="photos per step")
    sub = add_command(
        commands, "rehearse", rehearsal, "calibration to write; the model's own by default"
    )
    sub.add_argument("photos", type=Path, help="folder of photos, one of each person")
    sub.add_argument("--people", type=int, default=PEOPLE, help="how many of them")
    sub = add_command(
        commands, "filter-names", filter_names, "folder for names.txt and report.html (names)"
    )
    sub.add_argument("--count", type=int, default=4, help="portraits per name")
    sub.add_argument("--steps", type=int)
    sub.add_argument("--shard", type=_shard, help="1/4: the first of four shares of the names")
    sub = commands.add_parser("pack", help=pack.__doc__, description=pack.__doc__)
    sub.set_defaults(run=pack)
    sub.add_argument("name", help=", ".join(PACKS))
    sub.add_argument("--root", type=Path, help="folder whose models/NAME it goes to")


def basis(options: argparse.Namespace) -> None:
    """Names -> the model's celeb basis."""
    models = models_of(options)
    built = find_basis(models, options.names, cache_of(options), options.p)
    if options.out:
        save_basis(built, options.out)
    print(f"{built.id}: {len(built.names)} names, {built.ranks} components of {options.p} asked")


def calibration(options: argparse.Namespace) -> None:
    """The model's own pictures of known people -> what trainings start from."""
    studio = studio_of(options)
    start = _calibration_of(studio) if options.keep_start else None
    out = options.out or calibration_path(studio.models, studio.faces, cache_of(options))
    kept = out.with_suffix(".rows")
    # Mixtures are for the start: the directions are the celebrities' alone.
    mixtures = 0 if options.keep_start else options.mixtures
    rows = look_at_people(
        studio, mixtures, options.seed, steps=options.steps, so_far=load_sightings(kept)
    )
    last = time.monotonic()
    with tqdm(desc="calibrating", unit="picture") as bar:
        for sightings in rows:
            bar.total = sightings.planned
            bar.update(len(sightings.coefficients) - bar.n)
            if time.monotonic() - last > KEEP_EVERY:
                save_sightings(sightings, kept)
                last = time.monotonic()
    save_sightings(sightings, kept)
    save_calibration(calibration_of(sightings, studio, start), out)
    kept.unlink()
    print(f"{out}: faces in {int(sightings.seen.sum())} of {sightings.planned} pictures")


def refine(options: argparse.Namespace) -> None:
    """Photos of people whom nobody has to know -> a better start, in place of the calibration's."""
    studio = studio_of(options)
    start = _calibration_of(studio)
    out = options.out or calibration_path(studio.models, studio.faces, cache_of(options))
    photos = list(_faces_in(options.photos, studio))
    config = RefineConfig(options.steps, options.people, seed=options.seed)
    last = time.monotonic()
    with tqdm(desc="refining", unit="step", total=config.steps) as bar:
        for step in refine_start(start, photos, studio.models, studio.basis, config):
            bar.update()
            bar.set_postfix(loss=f"{step.loss:.4f}")
            if time.monotonic() - last > KEEP_EVERY or step.step == step.steps:
                save_calibration(step.result(), out)
                last = time.monotonic()
    print(f"{out}: refined with {len(photos)} photos")


def rehearsal(options: argparse.Namespace) -> None:
    """Trainings on pictures of known words -> what is added to the words of later trainings."""
    studio = studio_of(options)
    start = _calibration_of(studio)
    out = options.out or calibration_path(studio.models, studio.faces, cache_of(options))
    photos = list(islice(_faces_in(options.photos, studio), options.people))
    last = time.monotonic()
    with tqdm(desc="rehearsing", unit="person", total=len(photos)) as bar:
        for step in rehearse(start, photos, studio, options.seed):
            bar.update()
            if step.people >= FEWEST_PEOPLE and time.monotonic() - last > KEEP_EVERY:
                save_calibration(step.result(), out)
                last = time.monotonic()
    save_calibration(step.result(), out)
    print(f"{out}: corrected with {step.people} people")


def _calibration_of(studio: Studio) -> Calibration:
    if studio.calibration is None:
        raise FeatureMissing(
            f"{studio.models.title} has no calibration to start from. "
            "Run “python -m celeb_core calibrate” first."
        )
    return studio.calibration


def _faces_in(folder: Path, studio: Studio) -> Iterator[Face]:
    """The largest face of each photo in a folder, no larger than the model sees it: thousands of
    crops at a camera's size would not fit into memory."""
    if not folder.is_dir():
        raise FeatureMissing(f"{folder} is no folder. Name one with photos, one of each person.")
    size = (studio.models.width, studio.models.height)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in tqdm(files, desc="looking at photos", unit="photo"):
        try:
            if faces := studio.faces.find(open_photo(path)):
                face = largest(faces)
                face.image.thumbnail(size)
                yield face
        except CelebError as error:
            tqdm.write(f"left out: {path.name}: {error}")


def filter_names(options: argparse.Namespace) -> None:
    """Names -> those that the model knows, and a page that shows why."""
    share, several = _share(options)
    studio = studio_of(options)
    folder = options.out or Path("names")
    people = candidates(studio.basis.names)
    config = FilterConfig(options.count, options.seed, options.steps)
    with tqdm(desc="drawing names", unit="name") as bar:
        for progress in look(people, studio, folder / "seen", config, share):
            advance(bar, *progress)
    if several is not None:
        several.wait_for_everyone()
    if several is not None and not several.is_main_process:
        return
    seen = [sighting for sighting in sightings(people, studio, folder / "seen", config) if sighting]
    if len(seen) < len(people):
        print(f"{len(seen)} of {len(people)} names drawn; the other shares are still to come")
        return
    verdicts, threshold = judge_names(people, seen)
    shown = {who.name: sighting for who, sighting in zip(people, seen, strict=True)}
    page = as_html(verdicts, shown, studio.models.title, threshold)
    write_atomically(folder / "report.html", page.encode())
    kept = [verdict.name for verdict in verdicts if verdict.kept]
    write_atomically(folder / "names.txt", "".join(f"{name}\n" for name in kept).encode())
    print(f"{folder / 'names.txt'}: {len(kept)} of {len(verdicts)} names kept")
    print(folder / "report.html")


def _share(options: argparse.Namespace) -> tuple[tuple[int, int], Any]:
    """(i, n) of --shard, or of accelerate's processes, each on a device of its own; and them."""
    if options.shard:
        return options.shard, None
    if "ACCELERATE_MIXED_PRECISION" not in os.environ:  # set by accelerate launch
        return (0, 1), None
    from accelerate import PartialState

    several = PartialState()
    options.device = options.device or str(several.device)
    return (several.process_index, several.num_processes), several


def _shard(text: str) -> tuple[int, int]:
    """“1/4” is the first of four shares."""
    try:
        index, count = (int(part) for part in text.split("/"))
        if 1 <= index <= count:
            return index - 1, count
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"“{text}” is no share. Write 1/4, 2/4, ... for four.")


def pack(options: argparse.Namespace) -> None:
    """Download a face pack and say on which terms."""
    if options.name in PACKS:
        print(PACKS[options.name].licence, file=sys.stderr)
    with tqdm(desc=options.name, unit="B", unit_scale=True) as bar:
        folder = fetch_pack(options.name, options.root, lambda *at: advance(bar, *at))
    print(folder)
