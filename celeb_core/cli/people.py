"""People: from photos, from and to files of other tools, and how alike pictures are to them."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from celeb_core.checkpoints import save_checkpoint
from celeb_core.cli.options import LIBRARY, add_command, cache_of, models_of, studio_of
from celeb_core.errors import BadName, CelebError
from celeb_core.faces import find_face, open_photo
from celeb_core.identity import (
    check_name,
    find_identity,
    list_identities,
    load_identity,
    save_identity,
)
from celeb_core.interop import FORMATS, LEAST_KEPT, export_identity, import_identities, usage
from celeb_core.models import Studio, find_basis
from celeb_core.presets import PRESETS
from celeb_core.scoring import score_picture
from celeb_core.training import fit_identities
from celeb_core.types import Person

CHECKPOINT_EVERY = 10  # steps


def add_commands(commands: Any) -> None:
    """Add the commands of this module to the parser."""
    sub = add_command(commands, "train", train, f"folder for the identities ({LIBRARY})")
    sub.add_argument("photo", nargs="+", type=Path)
    sub.add_argument("--name", action="append", required=True, help="once, or once per photo")
    sub.add_argument("--face", type=int, help="which face of the photo, 1 is the leftmost")
    sub.add_argument("--preset", choices=list(PRESETS), default="best")
    sub.add_argument("--steps", type=int)
    sub.add_argument("--max-seconds", type=float)
    sub.add_argument("--checkpoint", type=Path, help="keep the state here, to go on later")
    sub.add_argument("--resume", type=Path, help="go on from such a file")
    sub = add_command(commands, "export", export, "folder for the file (embeddings)")
    sub.add_argument("who", help="a name of your library, or an identity file")
    sub.add_argument("--identities", type=Path, default=LIBRARY, help="folder of your people")
    about = "; ".join(f"{name}: {what}" for name, what in FORMATS.items())
    sub.add_argument("--format", choices=list(FORMATS), default="safetensors", help=about)
    sub.add_argument("--token", help="trigger word and file name; the person's name by default")
    sub = add_command(commands, "import", take_in, f"folder for the identities ({LIBRARY})")
    sub.add_argument("file", type=Path)
    sub.add_argument("--name", help="the person's name; the file's own by default")
    least = "least share, 0 to 1, that must lie within the celeb basis"
    sub.add_argument("--least", type=float, default=LEAST_KEPT, help=least)
    sub = add_command(commands, "score", score, "unused")
    sub.add_argument("photo", type=Path, help="of the person")
    sub.add_argument("picture", nargs="+", type=Path, help="drawn, or other photos")
    sub.add_argument("--face", type=int, help="which face of the photo, 1 is the leftmost")


def train(options: argparse.Namespace) -> None:
    """Photos -> identity files."""
    studio = studio_of(options)
    people = _people(options, studio)
    config = replace(PRESETS[options.preset], seed=options.seed)
    if options.steps is not None:
        config = replace(config, steps=options.steps)
    if options.max_seconds is not None:
        config = replace(config, max_seconds=options.max_seconds)
    steps = fit_identities(
        people,
        studio.models,
        studio.basis,
        config,
        calibration=studio.calibration,
        recogniser=studio.faces.id,
        resume=options.resume,
    )
    with tqdm(total=config.steps, desc="training", unit="step") as bar:
        for step in steps:
            bar.update(step.step - bar.n)
            if options.checkpoint and (
                step.step % CHECKPOINT_EVERY == 0 or step.step == step.steps
            ):
                save_checkpoint(step, options.checkpoint)
            if step.losses:
                bar.set_postfix(loss=f"{step.loss:.4f}")
    for identity in step.people:
        print(save_identity(identity, options.out or LIBRARY))


def export(options: argparse.Namespace) -> None:
    """Identity -> textual-inversion file for other tools."""
    models = models_of(options)
    basis = find_basis(models, options.names, cache_of(options))
    who: str = options.who
    if Path(who).is_file():
        identity = load_identity(Path(who), basis)
    else:
        identity = find_identity(who.strip("<> "), options.identities, basis)
    folder = options.out or Path("embeddings")
    path = export_identity(identity, basis, models, folder, options.format, options.token)
    print(path)
    for tool, line in usage(path).items():
        print(f"  {tool}: {line}")


def take_in(options: argparse.Namespace) -> None:
    """Textual-inversion file of another tool -> identity file."""
    models = models_of(options)
    basis = find_basis(models, options.names, cache_of(options))
    library = options.out or LIBRARY
    known = list_identities(library)
    found = import_identities(options.file, basis, options.name, options.least)
    for identity in (imported.identity for imported in found):
        if identity.name in known:
            raise BadName(f"“{identity.name}” is taken in {library}. Give another --name.")
    for imported in found:
        path = save_identity(imported.identity, library)
        print(f"{path}: <{imported.identity.name}>, {imported.kept:.1%} kept")


def score(options: argparse.Namespace) -> None:
    """Pictures of somebody beside a photo: how alike, by the recogniser and by the judge."""
    studio = studio_of(options)
    photo = open_photo(options.photo)
    face = find_face(photo, studio.faces, options.face)
    likeness = studio.examiners.likeness
    judged = {"x": likeness.embed(photo, [face])[0]} if likeness else None
    for path in options.picture:
        picture = open_photo(path)
        seen = score_picture(picture, "<x>", {"x": face.embedding}, studio, judged)
        judge = "no judge" if seen.judge is None else f"judge {seen.judge:.3f}"
        print(f"{path}: recogniser {seen.identity:.3f}, {judge}")


def _people(options: argparse.Namespace, studio: Studio) -> list[Person]:
    """One name for all photos (the same person), or one per photo (trained together)."""
    names = [check_name(name) for name in options.name]
    faces = [find_face(photo, studio.faces, options.face) for photo in options.photo]
    if len(names) == 1:
        return [Person(names[0], tuple(faces))]
    if len(names) != len(faces):
        raise CelebError(
            f"There are {len(names)} names for {len(faces)} photos. Give one --name per photo, "
            "or one for all photos of the same person."
        )
    return [Person(name, (face,)) for name, face in zip(names, faces, strict=True)]
