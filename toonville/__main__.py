"""`python -m toonville STAGE`: how the bundled model is made, one command per stage.

In order: samples (look at the world), draw, clip, vae, between, encode, decoder, unet, recogniser,
detector, judge, reader, export, photos (of strangers), people, pictures, report, scale (what the
judge's numbers mean), filter (how right the name filter is).
Checkpoints and data stay in --work, outside the tree; unpack puts the shipped models there.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

NUM_DRAWN = {"single": 48_000, "pair": 24_000, "unknown_single": 12_000}
NUM_BETWEEN = {"between_single": 38_400, "between_pair": 19_200}
NUM_ENCODED = {**NUM_DRAWN, **NUM_BETWEEN, "single": 34_000, "pair": 18_000}
FIRST_SEED = {
    "single": 1_000_000,
    "pair": 2_000_000,
    "between_single": 3_000_000,
    "between_pair": 4_000_000,
    "unknown_single": 5_000_000,
}
MINUTES = {
    "clip": 40.0,
    "vae": 30.0,
    "decoder": 10.0,
    "unet": 120.0,
    "recogniser": 14.0,
    "detector": 15.0,
    "judge": 10.0,
    "reader": 18.0,
}
ROOT = Path(__file__).parent.parent
ASSETS = ROOT / "assets" / "toonville"


def samples(work: Path) -> None:
    """Draw a grid of random training pictures with their captions."""
    from toonville.dataset import captioned
    from toonville.render import render

    work.mkdir(parents=True, exist_ok=True)
    grid = Image.new("RGB", (8 * 132, 6 * 132), "white")
    for i in range(48):
        example = captioned(1, i)
        grid.paste(render(example.spec).image, (i % 8 * 132, i // 8 * 132))
        print(f"{i % 8},{i // 8}: {example.text}")
    grid.save(work / "samples.png")
    print(f"written: {work / 'samples.png'}")


def draw(work: Path) -> None:
    """Draw the training pictures."""
    from toonville.dataset import captioned, draw_store, unknown_example

    examples = {
        "single": (1, partial(captioned, 1)),
        "pair": (2, partial(captioned, 2)),
        "unknown_single": (1, unknown_example),
    }
    for kind, (people, example) in examples.items():
        draw_store(work / "data" / kind, NUM_DRAWN[kind], people, FIRST_SEED[kind], example)


def between(work: Path) -> None:
    """Draw the training pictures of people between the celebrities."""
    from toonville.between import (
        BETWEEN_FILE,
        between_example,
        fit_probe,
        make_between,
        save_between,
    )
    from toonville.dataset import draw_store
    from toonville.unet import load_text_encoder

    nobody = make_between(fit_probe(load_text_encoder(work / "models")))
    save_between(nobody, work / "data" / BETWEEN_FILE)
    for people, (kind, n) in enumerate(NUM_BETWEEN.items(), start=1):
        example = partial(between_example, nobody.traits, people)
        draw_store(work / "data" / kind, n, people, FIRST_SEED[kind], example)


def encode(work: Path) -> None:
    """Encode pictures and captions once, for the UNet."""
    from toonville.unet import encode_store

    for kind, n in NUM_ENCODED.items():
        data = work / "data"
        encode_store(data / kind, work / "models", data / f"{kind}_encoded", n)


def train_stage(
    stage: str, work: Path, minutes: float, resume: bool, options: dict[str, float]
) -> None:
    """Train one model; its checkpoint and its result go to work/models.

    `options` are those of this stage alone.
    """
    from toonville import clip, detector, judge, reader, recogniser, unet, vae

    trainers = {
        "clip": clip.train_clip,
        "vae": vae.train_vae,
        "decoder": vae.train_decoder,
        "unet": unet.train_unet,
        "recogniser": recogniser.train_recogniser,
        "detector": detector.train_detector,
        "judge": judge.train_judge,
        "reader": reader.train_reader,
    }
    trainers[stage](work / "data", work / "models", minutes, resume, **options)


def main() -> None:
    parser = argparse.ArgumentParser("python -m toonville", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True)
    for stage in ("samples", "draw", "between", "encode"):
        stages.add_parser(stage)
    for stage, minutes in MINUTES.items():
        sub = stages.add_parser(stage, help=f"train (default {minutes:g} minutes)")
        sub.add_argument("--minutes", type=float, default=minutes)
        sub.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
        if stage == "unet":
            sub.add_argument("--go-on", action="store_true", help="start from the unet in --work")
        if stage == "clip":
            sub.add_argument("--name-weight", type=float, default=1.0, help="0: contrast alone")
            sub.add_argument("--said-weight", type=float, default=3.0, help="0: contrast alone")
    stages.add_parser("probe", help="what the text states of --assets say")
    stages.add_parser("scale", help="what the judge says of faces that are wrong by so much")
    stages.add_parser("export", help="write assets/toonville")
    stages.add_parser("unpack", help="put the models of assets/toonville into --work")
    stages.add_parser("photos", help="draw portraits of strangers into --work/photos, to refine")
    stages.add_parser("people", help="train the three sample people of identities/")
    stages.add_parser("pictures", help="draw docs/pictures/")
    report = stages.add_parser("report", help="measure the shipped weights on held-out seeds")
    report.add_argument("--json", type=Path)
    report.add_argument("--seed", type=int, default=0)
    names = stages.add_parser("filter", help="precision and recall of the name filter")
    names.add_argument("--names", type=int, default=60, help="known ones, and as many unknown")
    names.add_argument("--steps", type=int)
    names.add_argument("--seed", type=int, default=0)
    for sub in stages.choices.values():
        sub.add_argument("--work", type=Path, default=Path("../toonville-work"))
        sub.add_argument("--threads", type=int, default=2)
        sub.add_argument("--assets", type=Path, default=ASSETS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    np.seterr(all="raise", under="ignore")
    if args.stage in MINUTES:
        own = ("name_weight", "said_weight", "go_on")
        options = {name: value for name, value in vars(args).items() if name in own}
        train_stage(args.stage, args.work, args.minutes, args.resume, options)
    elif args.stage == "probe":
        from toonville.probe import run_probe

        run_probe(args.assets)
    elif args.stage == "scale":
        from toonville.judge_scale import run_judge_scale

        run_judge_scale(args.assets)
    elif args.stage == "export":
        from toonville.export import export

        export(args.work / "models", args.assets)
    elif args.stage == "unpack":
        from toonville.export import unpack

        unpack(args.assets, args.work / "models")
    elif args.stage == "photos":
        from toonville.pictures import draw_strangers

        draw_strangers(args.work / "photos")
    elif args.stage == "people":
        from toonville.pictures import make_people

        make_people(args.assets, ROOT / "identities")
    elif args.stage == "pictures":
        from toonville.pictures import make_pictures

        make_pictures(args.assets, ROOT / "identities", ROOT / "docs" / "pictures")
    elif args.stage == "report":
        from toonville.report import run_report

        run_report(args.assets, args.seed, args.json)
    elif args.stage == "filter":
        from toonville.known import run_filter

        run_filter(args.assets, args.work, args.names, args.seed, args.steps)
    else:
        {"samples": samples, "draw": draw, "between": between, "encode": encode}[args.stage](
            args.work
        )


if __name__ == "__main__":
    main()
