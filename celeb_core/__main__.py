"""The command line over the same functions: python -m celeb_core COMMAND --help.

Exit codes: 0 done, 1 something that the message says how to put right, 2 wrong usage,
130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from celeb_core import fast
from celeb_core.basis import interpolate, save_basis
from celeb_core.calibration import (
    MIXTURES,
    calibration_of,
    largest,
    load_sightings,
    look_at_people,
    save_calibration,
    save_sightings,
)
from celeb_core.checkpoints import save_checkpoint
from celeb_core.devices import DTYPES
from celeb_core.errors import BadName, CelebError, FeatureMissing
from celeb_core.evaluation import (
    ROWS,
    as_table,
    evaluate_interpolation,
    evaluate_joint,
    evaluate_quick,
)
from celeb_core.faces import find_face, open_photo
from celeb_core.files import write_atomically
from celeb_core.filter_names import FilterConfig, candidates, look, sightings
from celeb_core.identity import (
    check_name,
    find_identity,
    list_identities,
    load_identity,
    save_identity,
)
from celeb_core.interop import FORMATS, LEAST_KEPT, export_identity, import_identities, usage
from celeb_core.memory import MODES
from celeb_core.models import (
    Models,
    Studio,
    calibration_path,
    find_basis,
    load_models,
    load_studio,
)
from celeb_core.names_report import as_html
from celeb_core.packs import PACKS, fetch_pack
from celeb_core.presets import PRESETS
from celeb_core.prompt import parse_prompt
from celeb_core.refinement import RefineConfig, refine_start
from celeb_core.sampling import SCHEDULERS, generate
from celeb_core.scoring import score_picture
from celeb_core.training import fit_identities
from celeb_core.types import Face, Identity, Person, SampleConfig
from celeb_core.verdicts import judge_names

MODEL = "auto, toonville, a folder, a .safetensors checkpoint or a hub id"
CACHE = Path("~/.cache/celeb-basis-studio")
LIBRARY = Path("identities")
PICTURES = Path("pictures")
CHECKPOINT_EVERY = 10  # steps
KEEP_EVERY = 30.0  # seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command -> exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    _hush()
    try:
        options.run(options)
    except CelebError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def train(options: argparse.Namespace) -> None:
    """Photos -> identity files."""
    studio = _studio(options)
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


def draw(options: argparse.Namespace) -> None:
    """Prompt -> pictures."""
    studio = _studio(options)
    prompt = parse_prompt(options.prompt, list_identities(options.identities))
    config = _sample_config(options, studio)
    with tqdm(desc="drawing", unit="step") as bar:
        pictures = generate(
            prompt, studio.models, studio.basis, config, on_step=lambda *at: _progress(bar, *at)
        )
    slug = re.sub(r"[^a-z0-9]+", "-", options.prompt.lower()).strip("-")[:60] or "picture"
    folder = options.out or PICTURES
    for index, picture in enumerate(pictures):
        print(_save_picture(picture, folder / f"{slug}-{config.seed + index}.png"))


def mix(options: argparse.Namespace) -> None:
    """Two people -> a strip of pictures from a to b."""
    studio = _studio(options)
    library = list_identities(options.identities)
    a, b = (_somebody(name, library) for name in (options.a, options.b))
    config = replace(_sample_config(options, studio), num_images=1)
    folder = options.out or PICTURES
    for index in tqdm(range(options.count), desc="mixing", unit="picture"):
        lam = index / max(1, options.count - 1)
        words = interpolate(b, a, lam, studio.basis, studio.models)
        prompt = parse_prompt(options.template.format("<mix>"), {"mix": words})
        picture = generate(prompt, studio.models, studio.basis, config)[0]
        print(_save_picture(picture, folder / f"mix-{index:02}.png"))


def basis(options: argparse.Namespace) -> None:
    """Names -> the model's celeb basis."""
    models = _models(options)
    built = find_basis(models, options.names, _cache(options), options.p)
    if options.out:
        save_basis(built, options.out)
    print(f"{built.id}: {len(built.names)} names, {built.ranks} components of {options.p} asked")


def calibration(options: argparse.Namespace) -> None:
    """The model's own pictures of known people -> what trainings start from."""
    studio = _studio(options)
    out = options.out or calibration_path(studio.models, studio.faces, _cache(options))
    kept = out.with_suffix(".rows")
    rows = look_at_people(
        studio, options.mixtures, options.seed, steps=options.steps, so_far=load_sightings(kept)
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
    save_calibration(calibration_of(sightings, studio), out)
    kept.unlink()
    print(f"{out}: faces in {int(sightings.seen.sum())} of {sightings.planned} pictures")


def refine(options: argparse.Namespace) -> None:
    """Photos of people whom nobody has to know -> a better start, in place of the calibration's."""
    studio = _studio(options)
    if studio.calibration is None:
        raise FeatureMissing(
            f"{studio.models.title} has no calibration to start from. "
            "Run “python -m celeb_core calibrate” first."
        )
    out = options.out or calibration_path(studio.models, studio.faces, _cache(options))
    photos = list(_faces_in(options.photos, studio))
    config = RefineConfig(options.steps, options.people, seed=options.seed)
    last = time.monotonic()
    with tqdm(desc="refining", unit="step", total=config.steps) as bar:
        for step in refine_start(studio.calibration, photos, studio.models, studio.basis, config):
            bar.update()
            bar.set_postfix(loss=f"{step.loss:.4f}")
            if time.monotonic() - last > KEEP_EVERY or step.step == step.steps:
                save_calibration(step.result(), out)
                last = time.monotonic()
    print(f"{out}: refined with {len(photos)} photos")


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
    studio = _studio(options)
    folder = options.out or Path("names")
    people = candidates(studio.basis.names)
    config = FilterConfig(options.count, options.seed, options.steps)
    with tqdm(desc="drawing names", unit="name") as bar:
        for progress in look(people, studio, folder / "seen", config, share):
            _progress(bar, *progress)
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


def export(options: argparse.Namespace) -> None:
    """Identity -> textual-inversion file for other tools."""
    models = _models(options)
    basis = find_basis(models, options.names, _cache(options))
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
    models = _models(options)
    basis = find_basis(models, options.names, _cache(options))
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
    studio = _studio(options)
    photo = open_photo(options.photo)
    face = find_face(photo, studio.faces, options.face)
    likeness = studio.examiners.likeness
    judged = {"x": likeness.embed(photo, [face])[0]} if likeness else None
    for path in options.picture:
        picture = open_photo(path)
        seen = score_picture(picture, "<x>", {"x": face.embedding}, studio, judged)
        judge = "no judge" if seen.judge is None else f"judge {seen.judge:.3f}"
        print(f"{path}: recogniser {seen.identity:.3f}, {judge}")


def pack(options: argparse.Namespace) -> None:
    """Download a face pack and say on which terms."""
    if options.name in PACKS:
        print(PACKS[options.name].licence, file=sys.stderr)
    with tqdm(desc=options.name, unit="B", unit_scale=True) as bar:
        folder = fetch_pack(options.name, options.root, lambda *at: _progress(bar, *at))
    print(folder)


def evaluate(options: argparse.Namespace) -> None:
    """The table of scores; without --quick also joint training and interpolation."""
    studio = _studio(options)
    result: dict[str, Any] = evaluate_quick(
        studio,
        options.seed,
        options.people,
        lambda line: print(line, file=sys.stderr),
        options.rows,
    )
    print(as_table(result))
    if not options.quick:
        result["joint"] = evaluate_joint(studio, options.seed)
        result["interpolation"] = evaluate_interpolation(studio, options.seed)
        print(json.dumps({key: result[key] for key in ("joint", "interpolation")}, indent=1))
    if options.json:
        write_atomically(options.json, json.dumps(result, indent=1).encode())


def _hush() -> None:
    """Libraries' notices and bars of their own would drown ours."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (transformers.utils.logging, diffusers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    logging.getLogger("httpx").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)


def _studio(options: argparse.Namespace) -> Studio:
    studio = load_studio(
        options.model,
        device=options.device,
        dtype=options.dtype,
        memory=options.memory,
        compiled=options.compile,
        face_pack=options.face_pack,
        names=options.names,
        cache=_cache(options),
    )
    logging.info(studio.models.note)
    return studio


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


def _models(options: argparse.Namespace) -> Models:
    return load_models(options.model, options.device, options.dtype, options.memory)


def _cache(options: argparse.Namespace) -> Path:
    folder: Path = options.cache
    return folder.expanduser()


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


def _somebody(name: str, library: dict[str, Identity]) -> str | Identity:
    """“<ada>” is of the library, anything else a celebrity's name."""
    if name.startswith("<"):
        identity = parse_prompt(name, library).identities[name.strip("<> ")]
        assert isinstance(identity, Identity)
        return identity
    return name


def _sample_config(options: argparse.Namespace, studio: Studio) -> SampleConfig:
    """As asked; with a fast LoRA, which is loaded here, what is left open is as it needs it."""
    usual: tuple[int | None, float | None, str | None] = (None, None, None)
    if options.fast_lora:
        fast.add_fast_lora(studio.models, options.fast_lora)
        usual = (fast.STEPS, fast.GUIDANCE, fast.SCHEDULER)
    if options.vae:
        studio.models.pipeline.vae = fast.load_tiny_vae(studio.models, options.vae)
    return SampleConfig(
        num_images=options.count,
        seed=options.seed,
        steps=options.steps or usual[0],
        guidance=usual[1] if options.guidance is None else options.guidance,
        negative_prompt=options.negative,
        scheduler=options.scheduler or usual[2],
    )


def _progress(bar: Any, done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)


def _save_picture(picture: Any, path: Path) -> Path:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m celeb_core", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, out: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        sub.set_defaults(run=run)
        sub.add_argument("--model", default="auto", help=MODEL)
        sub.add_argument("--device", help="cuda, mps or cpu; the best there is by default")
        sub.add_argument("--dtype", choices=DTYPES, help="of the UNet; the device's by default")
        sub.add_argument("--memory", choices=MODES, help="how lean; by the free memory by default")
        sub.add_argument("--compile", action="store_true", help="compile the UNet's blocks")
        sub.add_argument("--names", type=Path, help="text file with one celebrity per line")
        sub.add_argument("--face-pack", help="insightface pack: a name or a folder")
        sub.add_argument("--cache", type=Path, default=CACHE, help="folder for built bases")
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument("--out", type=Path, help=out)
        return sub

    def pictures(sub: argparse.ArgumentParser, count: int) -> None:
        sub.add_argument("--identities", type=Path, default=LIBRARY, help="folder of your people")
        sub.add_argument("--count", type=int, default=count, help="number of pictures")
        sub.add_argument("--steps", type=int)
        sub.add_argument("--guidance", type=float)
        sub.add_argument("--negative", default="", help="what should not be in the picture")
        sub.add_argument("--scheduler", choices=list(SCHEDULERS))
        few = "LCM or Turbo LoRA, a file or a hub id: sets steps, guidance and scheduler"
        sub.add_argument("--fast-lora", help=few)
        small = "tiny, or the folder or hub id of an AutoencoderTiny: coarser pictures, sooner"
        sub.add_argument("--vae", help=small)

    sub = command("train", train, f"folder for the identities ({LIBRARY})")
    sub.add_argument("photo", nargs="+", type=Path)
    sub.add_argument("--name", action="append", required=True, help="once, or once per photo")
    sub.add_argument("--face", type=int, help="which face of the photo, 1 is the leftmost")
    sub.add_argument("--preset", choices=list(PRESETS), default="best")
    sub.add_argument("--steps", type=int)
    sub.add_argument("--max-seconds", type=float)
    sub.add_argument("--checkpoint", type=Path, help="keep the state here, to go on later")
    sub.add_argument("--resume", type=Path, help="go on from such a file")
    sub = command("generate", draw, f"folder for the pictures ({PICTURES})")
    sub.add_argument("prompt")
    pictures(sub, 1)
    sub = command("interpolate", mix, f"folder for the pictures ({PICTURES})")
    sub.add_argument("a", help="a celebrity's name, or <name> of your library")
    sub.add_argument("b")
    sub.add_argument("--template", default="a photo of {}")
    pictures(sub, 9)
    sub = command("basis", basis, "write it here too (.pt)")
    sub.add_argument("-p", type=int, default=512, help="components per word")
    sub = command("calibrate", calibration, "file to write (.safetensors)")
    sub.add_argument("--mixtures", type=int, default=MIXTURES, help="people between celebrities")
    sub.add_argument("--steps", type=int, help="of sampling; a few are enough")
    sub = command("refine", refine, "calibration to write; the model's own by default")
    sub.add_argument("photos", type=Path, help="folder of photos, one of each person, thousands")
    sub.add_argument("--steps", type=int, default=RefineConfig.steps)
    sub.add_argument("--people", type=int, default=RefineConfig.people, help="photos per step")
    sub = command("filter-names", filter_names, "folder for names.txt and report.html (names)")
    sub.add_argument("--count", type=int, default=4, help="portraits per name")
    sub.add_argument("--steps", type=int)
    sub.add_argument("--shard", type=_shard, help="1/4: the first of four shares of the names")
    sub = command("export", export, "folder for the file (embeddings)")
    sub.add_argument("who", help="a name of your library, or an identity file")
    sub.add_argument("--identities", type=Path, default=LIBRARY, help="folder of your people")
    about = "; ".join(f"{name}: {what}" for name, what in FORMATS.items())
    sub.add_argument("--format", choices=list(FORMATS), default="safetensors", help=about)
    sub.add_argument("--token", help="trigger word and file name; the person's name by default")
    sub = command("import", take_in, f"folder for the identities ({LIBRARY})")
    sub.add_argument("file", type=Path)
    sub.add_argument("--name", help="the person's name; the file's own by default")
    least = "least share, 0 to 1, that must lie within the celeb basis"
    sub.add_argument("--least", type=float, default=LEAST_KEPT, help=least)
    sub = command("score", score, "unused")
    sub.add_argument("photo", type=Path, help="of the person")
    sub.add_argument("picture", nargs="+", type=Path, help="drawn, or other photos")
    sub.add_argument("--face", type=int, help="which face of the photo, 1 is the leftmost")
    sub = commands.add_parser("pack", help=pack.__doc__, description=pack.__doc__)
    sub.set_defaults(run=pack)
    sub.add_argument("name", help=", ".join(PACKS))
    sub.add_argument("--root", type=Path, help="folder whose models/NAME it goes to")
    sub = command("evaluate", evaluate, "unused")
    sub.add_argument("--quick", action="store_true", help="the table only")
    sub.add_argument("--people", type=int, default=20)
    sub.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, help="some rows only")
    sub.add_argument("--json", type=Path, help="write the numbers here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
