"""The commands that are for a model once: `prepare`, `refine` and `filter-names`."""

import sys
from argparse import Namespace

from tqdm import tqdm

from celeb_core import files
from celeb_core.cli import outputs
from celeb_core.cli.engines import given, makers_of, studio_of
from celeb_core.errors import CelebError, FeatureMissing
from celeb_core.faces import largest_face
from celeb_core.formats.calibration_file import save_calibration
from celeb_core.formats.image_file import load_photo
from celeb_core.prepare import names
from celeb_core.prepare.preparation import prepare_model
from celeb_core.prepare.refinement import RefineConfig, refine_initialisation
from celeb_core.studio import Studio, calibration_path
from celeb_core.types import Calibration, Face, SampleConfig


def prepare(options: Namespace) -> None:
    """Prepare a model, once: its celebrities' portraits, the initialisation, a self-check."""
    with makers_of(options, options.shard) as (studio, makers):
        out = options.out or calibration_path(studio.models, studio.faces, options.cache)
        files.check_writable(out.parent)
        chosen = {"seed": options.seed, "made_by": options.made_by, "makers": makers}
        with tqdm(desc="preparing", unit="latent") as bar:
            note = ""
            for step in prepare_model(studio, out.with_suffix(""), options.level, **chosen):
                outputs.advance(bar, step.done, step.total)
                if step.note != note:
                    tqdm.write(note := step.note, file=sys.stderr)
    assert step.result is not None  # of the last step
    save_calibration(step.result, out)
    print(*step.result.report["self_check"], out, sep="\n")


def refine(options: Namespace) -> None:
    """Refine the closed-form initialisation on photos of many people."""
    studio, folder = studio_of(options), options.folder
    models, initial = studio.models, _calibration(studio)
    out = options.out or calibration_path(models, studio.faces, options.cache)
    files.check_writable(out.parent)
    photos: list[Face] = []
    for path in tqdm(sorted(folder.iterdir()), "finding faces", unit="photo"):
        try:
            if found := studio.faces.find(load_photo(path)):
                photos.append(largest_face(found))
                photos[-1].image.thumbnail((models.width, models.height))  # all are in memory
        except CelebError as error:
            tqdm.write(f"left out: {path.name}: {error}")
    config = RefineConfig(**given(options, "seed", "steps", "batch_size"))
    with tqdm(desc="refining", unit="step") as bar:
        for step in refine_initialisation(initial, photos, models, studio.basis, config):
            outputs.advance(bar, step.step, step.steps, step.loss)
            if step.step % 100 == 0 or step.step == step.steps:
                save_calibration(step.result(), out)
    print(f"{out}: refined with {len(photos)} photos")


def find_known_names(options: Namespace) -> None:
    """Find the names that the model knows, and write a report with their images."""
    files.check_writable(options.out)
    config = SampleConfig(options.num_images or 4, options.seed, options.steps)
    first, count = options.shard or (0, 1)
    with makers_of(options) as (studio, makers):
        people, stored = names.candidates(studio.basis.names), options.out / "faces"
        own = people[first::count]
        with tqdm(desc="generating", unit="name") as bar:
            for done in names.generate_name_images(own, studio, stored, config, makers):
                outputs.advance(bar, done, len(own))
    images = [one for one in names.load_name_images(people, studio, stored, config) if one]
    if len(images) < len(people):
        print(f"{len(images)} of {len(people)} names done; the other shards are still to come")
        return
    verdicts, threshold = names.rank_names(people, images)
    page = names.html_report(verdicts, studio.models.title, threshold)
    known = [f"{verdict.name}\n" for verdict in verdicts if verdict.known]
    files.write_atomically(options.out / "names.txt", "".join(known).encode())
    files.write_atomically(options.out / "report.html", page.encode())
    print(f"{options.out / 'names.txt'}: {len(known)} of {len(verdicts)} names are known")
    print(options.out / "report.html")


def _calibration(studio: Studio) -> Calibration:
    if studio.calibration is not None:
        return studio.calibration
    raise FeatureMissing(f"{studio.models.title} has no calibration. Run “celeb-basis prepare”.")
