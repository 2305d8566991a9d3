"""`python -m toonville STAGE`: how the bundled model is made, one command per stage.

In order: samples (look at training images), render, clip, vae, between, encode, decoder, unet,
recogniser, detector, judge, reader, export, photos, people, images, examples, report, scale,
filter; settings is the part of export that needs no weights.
Checkpoints and data go to --work, outside of the repository; unpack puts the shipped models there.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from toonville import (
    clip,
    detector,
    encoded,
    examples,
    export,
    filter_report,
    images,
    judge,
    judge_scale,
    probe,
    reader,
    recogniser,
    report,
    unet,
    vae,
)
from toonville.dataset import Captioned, captioned, render_store, unknown_example
from toonville.render import render
from toonville.unnamed_people import (
    PEOPLE_FILE,
    fit_probe,
    make_unnamed_people,
    save_unnamed_people,
    unnamed_example,
)

# Name of a store in <work>/data -> number of its examples.
NUM_RENDERED = {"single": 48_000, "pair": 24_000, "unknown_single": 12_000}
NUM_BETWEEN = {"between_single": 38_400, "between_pair": 19_200}
NUM_ENCODED = {**NUM_RENDERED, **NUM_BETWEEN, "single": 34_000, "pair": 18_000}
FIRST_SEED = {
    "single": 1_000_000,
    "pair": 2_000_000,
    "between_single": 3_000_000,
    "between_pair": 4_000_000,
    "unknown_single": 5_000_000,
}
# Training stage -> its function and its default minutes.
TRAININGS: dict[str, tuple[Callable[..., None], float]] = {
    "clip": (clip.train_clip, 40.0),
    "vae": (vae.train_vae, 30.0),
    "decoder": (vae.train_decoder, 10.0),
    "unet": (unet.train_unet, 120.0),
    "recogniser": (recogniser.train_recogniser, 14.0),
    "detector": (detector.train_detector, 15.0),
    "judge": (judge.train_judge, 10.0),
    "reader": (reader.train_reader, 18.0),
}
OPTIONS_OF = {"clip": ("name_weight", "attribute_weight"), "unet": ("fine_tune",)}
ROOT = Path(__file__).parent.parent


def render_samples(work: Path) -> None:
    """Write a grid of random training images and print their captions."""
    work.mkdir(parents=True, exist_ok=True)
    grid = Image.new("RGB", (8 * 132, 6 * 132), "white")
    for i in range(48):
        example = captioned(1, i)
        grid.paste(render(example.spec).image, (i % 8 * 132, i // 8 * 132))
        print(f"{i % 8},{i // 8}: {example.text}")
    grid.save(work / "samples.png")
    print(f"written: {work / 'samples.png'}")


def render_stores(work: Path) -> None:
    """Render the training images."""
    examples: dict[str, tuple[int, Callable[[int], Captioned]]] = {
        "single": (1, partial(captioned, 1)),
        "pair": (2, partial(captioned, 2)),
        "unknown_single": (1, unknown_example),
    }
    for kind, (people, example) in examples.items():
        render_store(work / "data" / kind, NUM_RENDERED[kind], people, FIRST_SEED[kind], example)


def render_unnamed_people(work: Path) -> None:
    """Render the training images of people between the celebrities."""
    people = make_unnamed_people(fit_probe(encoded.load_text_encoder(work / "models")))
    save_unnamed_people(people, work / "data" / PEOPLE_FILE)
    for count, (kind, n) in enumerate(NUM_BETWEEN.items(), start=1):
        example = partial(unnamed_example, people.traits, count)
        render_store(work / "data" / kind, n, count, FIRST_SEED[kind], example)


def encode_stores(work: Path) -> None:
    """Encode images and captions for the UNet."""
    for kind, n in NUM_ENCODED.items():
        data = work / "data"
        encoded.encode_store(data / kind, work / "models", data / f"{kind}_encoded", n)


def train(options: argparse.Namespace) -> None:
    """Train one model; its checkpoint and its result go to <work>/models."""
    trainer, _ = TRAININGS[options.stage]
    own = {name: getattr(options, name) for name in OPTIONS_OF.get(options.stage, ())}
    work = options.work
    trainer(work / "data", work / "models", options.minutes, options.resume, **own)


def main() -> None:
    """Run the stage of the command line."""
    parser = argparse.ArgumentParser("python -m toonville", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True)

    def add(
        stage: str, run: Callable[[argparse.Namespace], None], help: str
    ) -> argparse.ArgumentParser:
        sub = stages.add_parser(stage, help=help)
        sub.add_argument("--work", type=Path, default=Path("../toonville-work"))
        sub.add_argument("--threads", type=int, default=2)
        sub.add_argument("--assets", type=Path, default=ROOT / "assets" / "toonville")
        sub.set_defaults(run=run)
        return sub

    add("samples", lambda o: render_samples(o.work), "write a grid of training images to --work")
    add("render", lambda o: render_stores(o.work), "render the training images")
    add("between", lambda o: render_unnamed_people(o.work), "render people between the celebrities")
    add("encode", lambda o: encode_stores(o.work), "encode images and captions for the UNet")
    trainings = {}
    for stage, (_, minutes) in TRAININGS.items():
        sub = trainings[stage] = add(stage, train, f"train (default {minutes:g} minutes)")
        sub.add_argument("--minutes", type=float, default=minutes)
        sub.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    trainings["unet"].add_argument(
        "--fine-tune", action="store_true", help="start from the unet in --work"
    )
    for option, weight in (("--name-weight", 1.0), ("--attribute-weight", 3.0)):
        trainings["clip"].add_argument(
            option, type=float, default=weight, help="of an auxiliary loss; 0 leaves it out"
        )
    add("probe", lambda o: probe.run_probe(o.assets), "linear probes of the text encoder")
    add("scale", lambda o: judge_scale.run_judge_scale(o.assets), "identity scores by trait errors")
    add("export", lambda o: export.export(o.work / "models", o.assets), "write --assets")
    add("settings", lambda o: export.export_settings(o.assets), "write studio.json of --assets")
    add("unpack", lambda o: export.unpack(o.assets, o.work / "models"), "put --assets into --work")
    add(
        "photos",
        lambda o: images.render_strangers(o.work / "photos"),
        "render strangers to --work, for celeb-basis refine",
    )
    add(
        "people",
        lambda o: images.make_people(o.assets, ROOT / "identities"),
        "train the sample people of identities/",
    )
    add(
        "images",
        lambda o: images.make_images(o.assets, ROOT / "identities", ROOT / "docs" / "images"),
        "generate docs/images/",
    )
    add(
        "examples",
        lambda o: examples.make_examples(o.assets, ROOT / "identities"),
        "generate examples/ of --assets: what the page shows first",
    )
    sub = add(
        "report",
        lambda o: report.run_report(o.assets, o.seed, o.json),
        "measure the shipped weights on held-out seeds",
    )
    sub.add_argument("--json", type=Path)
    sub.add_argument("--seed", type=int, default=0)
    sub = add(
        "filter",
        lambda o: filter_report.run_filter(o.assets, o.work, o.names, o.seed, o.steps),
        "precision and recall of the name filter",
    )
    sub.add_argument("--names", type=int, default=60, help="known ones, and as many unknown")
    sub.add_argument("--steps", type=int)
    sub.add_argument("--seed", type=int, default=0)

    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    np.seterr(all="raise", under="ignore")
    # insightface calls a method of scikit-image that is deprecated.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"insightface\.")
    options.run(options)


if __name__ == "__main__":
    main()
