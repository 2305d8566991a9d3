"""The commands of `celeb-basis`; their options are in `celeb_core.cli.options`."""

import json
import logging
import re
import sys
import tempfile
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from celeb_core import adapters, face_packs, files, identity, sampling
from celeb_core.basis import find_basis, interpolate, save_basis
from celeb_core.cli import outputs
from celeb_core.cli.doctor import examine
from celeb_core.cli.engines import given, studio_of
from celeb_core.cli.executors import executor_of
from celeb_core.errors import CelebError, SaveFailed, UsageError
from celeb_core.evaluation import tables
from celeb_core.evaluation.evaluate import EvaluationConfig
from celeb_core.evaluation.evaluate import evaluate as run_evaluation
from celeb_core.evaluation.run import Progress
from celeb_core.faces import find_face, quality_notes
from celeb_core.formats.image_file import load_photo
from celeb_core.layout import check_named, people_of
from celeb_core.library import PRIVATE_FOLDER
from celeb_core.marks.provenance import Marker, load_key, load_marker
from celeb_core.models import Models, load_models
from celeb_core.prompt import parse_prompt
from celeb_core.scoring import score_image
from celeb_core.studio import Studio, arranged, prompt_hints
from celeb_core.textual_inversion import export_identity, import_identities, usage_notes
from celeb_core.training import fit_identities, save_checkpoint
from celeb_core.types import (
    CelebBasis,
    Identity,
    Person,
    Prompt,
    RegionConfig,
    SampleConfig,
    recipe,
)


def train(options: Namespace) -> None:
    """Train people on their photos and write identity files."""
    names, photos = options.name, options.photos
    if len(names) not in (1, len(photos)):
        raise UsageError(f"{len(names)} names, {len(photos)} photos: give one, or one per photo.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"Two people are called “{twice[0]}”. Give each a name of their own.")
    outputs.check_checkpoint(options)
    options.replace |= options.resume is not None  # the person whom this training made before
    outputs.check_free(names, options)
    studio = studio_of(options)
    faces = [find_face(photo, studio.faces, options.face) for photo in photos]
    for photo, face in zip(photos, faces, strict=True):
        for note in quality_notes(face, studio.models.width):
            logging.warning("%s: %s", Path(photo).name, note)
    each = [faces] if len(names) == 1 else [[face] for face in faces]
    people = [Person(name, tuple(own)) for name, own in zip(names, each, strict=True)]
    changes = given(options, "seed", "steps", "max_seconds", "people_per_step")
    config = recipe(options.preset, studio.calibration).changed(**changes)
    fit = partial(fit_identities, calibration=studio.calibration, recogniser=studio.faces.id)
    with tqdm(desc="training", unit="step") as bar:
        for step in fit(people, studio.models, studio.basis, config, resume=options.resume):
            outputs.advance(bar, step.step, step.steps, *step.losses.values())
            due = step.checkpoint and (step.step % 10 == 0 or step.step == step.steps)
            if options.checkpoint and due:
                try:
                    save_checkpoint(step, options.checkpoint)
                except SaveFailed as error:  # the training is worth more than its checkpoint
                    tqdm.write(f"warning: {error}", file=sys.stderr)
    print(*outputs.save_new_people(step.people, options), sep="\n")


def generate(options: Namespace) -> None:
    """Generate images from a prompt."""
    studio, library, config = _sampling(options)
    prompt, count = parse_prompt(options.prompt, library), config.num_images
    prompt = prompt if options.as_written else arranged(prompt, studio)
    prompt, config = _regions(options, prompt, config, studio.basis)
    marker = load_marker(options.identities / PRIVATE_FOLDER)
    for hint in prompt_hints(prompt, studio):
        logging.warning("hint: %s", hint)
    slug = re.sub(r"[^a-z0-9]+", "-", options.prompt.lower()).strip("-")[:60] or "image"
    with tqdm(desc="generating", unit="step") as bar:
        for done in range(0, count, config.batch_size):  # what is done is kept, whatever follows
            size = min(config.batch_size, count - done)
            batch = replace(config, num_images=size, seed=config.seed + done)

            def on_step(step: int, steps: int, done: int = done, size: int = size) -> None:
                outputs.advance(bar, step + done * steps // size, count * steps // size)

            images = sampling.generate(prompt, studio.models, studio.basis, batch, on_step=on_step)
            for seed, image in enumerate(images, start=batch.seed):
                outputs.save_image(image, options.out / f"{slug}-{seed}.png", marker)


def interpolate_people(options: Namespace) -> None:
    """Generate images that lead from one person to another."""
    studio, library, config = _sampling(options)
    config, count = replace(config, num_images=1), options.num_images or 9
    marker = load_marker(options.identities / PRIVATE_FOLDER)
    bound = [parse_prompt(text, library) for text in options.ends]
    # What has no placeholder is a celebrity's name.
    a, b = (next(iter(prompt.identities.values()), prompt.text) for prompt in bound)
    for index in tqdm(range(count), "interpolating", unit="image"):
        lam = index / max(1, count - 1)
        mixture = interpolate(b, a, lam, studio.basis, studio.models)
        text = options.template.replace("{}", "<mix>")
        prompt = parse_prompt(text, {**library, "mix": mixture})
        (image,) = sampling.generate(prompt, studio.models, studio.basis, config)
        outputs.save_image(image, options.out / f"mix-{index:02}.png", marker)


def export(options: Namespace) -> None:
    """Write an identity as a textual-inversion file for other tools."""
    files.check_writable(options.out)
    models = _models(options)
    basis = find_basis(models, options.names, options.cache)
    if isinstance(options.person, Path):
        person = identity.load_identity(options.person, basis)
    else:
        own = _library(options, basis).get(options.person)
        person = own or identity.find_identity(options.person, options.identities, basis)
    form = given(options, "format", "token")
    with tempfile.TemporaryDirectory() as folder:
        first = export_identity(person, basis, models, Path(folder), **form).relative_to(folder)
        made = [path for path in Path(folder).rglob("*") if path.is_file()]
        new = {options.out / path.relative_to(folder): path.read_bytes() for path in made}
    outputs.save_files(new, options.replace)
    notes = usage_notes(path := options.out / first)
    print(path, *(f"  {tool}: {note}" for tool, note in notes.items()), sep="\n")


def import_file(options: Namespace) -> None:
    """Turn a textual-inversion file of another tool into identity files."""
    files.check_writable(options.out)
    models = _models(options)
    basis = find_basis(models, options.names, options.cache)
    found = import_identities(options.file, basis, **given(options, "name", "min_explained"))
    outputs.check_free([one.identity.name for one in found], options)
    saved = outputs.save_new_people([one.identity for one in found], options)
    for one, path in zip(found, saved, strict=True):
        print(f"{path}: <{one.identity.name}>, {one.explained:.1%} within the celeb basis")


def score(options: Namespace) -> None:
    """Print how alike the person of a photo and those of images are, as cosines."""
    studio = studio_of(options)
    photo, judge = load_photo(options.photo), studio.scorers.judge
    face = find_face(photo, studio.faces, options.face)
    judged = {"x": judge.embed(photo, [face])[0]} if judge else None
    for path in options.images:
        scores = score_image(load_photo(path), "<x>", {"x": face.embedding}, studio.scorers, judged)
        second = "" if scores.judge is None else f", judge {scores.judge:.3f}"
        print(f"{path}: recogniser {scores.identity:.3f}{second}")


def basis(options: Namespace) -> None:
    """Build the model's celeb basis from names."""
    files.check_writable(options.out.parent if options.out else options.cache)
    models = _models(options)
    built = find_basis(models, options.names, options.cache, options.components)
    if options.out:
        save_basis(built, options.out)
    print(f"{built.id}: {len(built.names)} names, {built.ranks} of {options.components} components")


def pack(options: Namespace) -> None:
    """Download a face pack, after printing its licence."""
    if options.pack in face_packs.PACKS:
        print(face_packs.PACKS[options.pack].licence, file=sys.stderr)
    with tqdm(desc=options.pack, unit="B", unit_scale=True) as bar:
        folder = face_packs.download_pack(options.pack, options.root, partial(outputs.advance, bar))
    print(folder)


def check_image(options: Namespace) -> None:
    """Tell whether an image was generated here, by its mark."""
    marker = Marker(load_key(options.identities / PRIVATE_FOLDER, make=False))
    print(f"{options.photo}: {marker.examine(options.photo).text}")


def evaluate(options: Namespace) -> None:
    """Measure how good new people are, alone and together, beside celebrities by name."""
    fields = "people count photos preset rows groups square judge clip seed".split()
    config = EvaluationConfig(**given(options, *fields))
    for path in filter(None, (options.json, options.markdown)):
        files.check_writable(path.parent)
    # Miniters 0: the progress within a part is shown, too.
    bar = tqdm(desc="loading", unit="part", miniters=0)
    with logging_redirect_tqdm(), bar, executor_of(options) as (own, executor):

        def show(progress: Progress) -> None:
            new = progress.note != bar.desc  # each is shown, however short it is
            bar.set_description_str(progress.note, refresh=False)
            bar.set_postfix_str(progress.detail, refresh=new)
            outputs.advance(bar, progress.done, progress.total)

        result = run_evaluation(studio_of(own), config, options.out, show, executor)
    print(tables.format_text(result))
    if options.json:
        files.write_atomically(options.json, json.dumps(result, indent=1).encode())
    if options.markdown:
        files.write_atomically(options.markdown, tables.format_markdown(result).encode())


def doctor(options: Namespace) -> None:
    """Check packages, devices, disk and a model; exit code 1 if something will not work."""
    if options.json:
        files.check_writable(options.json.parent)
    checks, known = [], "model device dtype memory face_pack names cache".split()
    for check in examine(**given(options, *known)):
        checks.append(check)
        print(f"{check.status:<8} {check.name:<16} {check.facts}", flush=True)
        if check.remedy:
            print(f"{'':<25} {check.remedy}")
    if options.json:
        rows = [check._asdict() for check in checks]
        files.write_atomically(options.json, json.dumps(rows, indent=1).encode())
    wrong = [check.status for check in checks]
    print(f"{len(checks)} checks, {wrong.count('error')} errors, {wrong.count('warning')} warnings")
    if "error" in wrong:
        raise CelebError("This will not work yet. See the lines with “error” above.")


def _models(options: Namespace) -> Models:
    known = "model device dtype memory allow_pickle".split()
    return load_models(**given(options, *known))


def _library(options: Namespace, basis: CelebBasis) -> dict[str, Identity]:
    """Load the user's people, and the samples that come with the bundled model."""
    samples = identity.list_identities(identity.SAMPLES, identity.SAMPLE_SUFFIX)
    own = identity.list_identities(options.identities, basis=basis)
    return {name: one for name, one in samples.items() if one.basis_id == basis.id} | own


def _sampling(options: Namespace) -> tuple[Studio, dict[str, Identity], SampleConfig]:
    """Load the studio, its people, and how to sample; a fast LoRA has defaults of its own."""
    files.check_writable(options.out)
    studio = studio_of(options, faces=False)
    if options.fast_lora:
        adapters.add_fast_lora(studio.models, options.fast_lora)
    fields = "num_images seed steps guidance_scale negative_prompt scheduler".split()
    usual = adapters.FAST if options.fast_lora else SampleConfig()
    return studio, _library(options, studio.basis), replace(usual, **given(options, *fields))


def _regions(
    options: Namespace, prompt: Prompt, config: SampleConfig, basis: CelebBasis
) -> tuple[Prompt, SampleConfig]:
    """Put the boxes into a prompt of several people, and their regions into how to sample."""
    boxes, people = dict(options.box), people_of(prompt, basis.names)
    check_named(boxes, people)
    if boxes and not options.regions:
        raise UsageError("--box has no effect with --no-regions: leave out one of them.")
    if len(people) < 2 or not options.regions:
        return prompt, config
    return replace(prompt, boxes=boxes), replace(
        config, regions=RegionConfig(options.region_strength)
    )
