"""`python -m toonville STAGE`: how the bundled model is made; `all` runs every stage.

The stages are those of toonville.stages, in their order. Besides there are samples (look at
training images), settings (the part of export that needs no weights), photos, probe, scale, filter.
Checkpoints and data go to --work, outside of the repository.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from celeb_core.cli import program
from toonville import chain, devices, export, filter_report, images, judge_scale, probe, report
from toonville.dataset import captioned
from toonville.render import render
from toonville.stages import SHIPPED, STAGES, Stage, chain_settings, shipped_settings

WORK = Path("../toonville-work")
NAMES = [stage.name for stage in STAGES]


def render_samples(work: Path) -> None:
    """Write a grid of random training images and print their captions."""
    work.mkdir(parents=True, exist_ok=True)
    grid = Image.new("RGB", (8 * 132, 6 * 132), "white")
    for i in range(48):
        example = captioned(1, i)
        grid.paste(render(example.spec, 1).image, (i % 8 * 132, i // 8 * 132))
        print(f"{i % 8},{i // 8}: {example.text}")
    grid.save(work / "samples.png")
    print(f"written: {work / 'samples.png'}")


def run_stage(stage: Stage, options: argparse.Namespace) -> None:
    """Run one stage; what it makes for the program goes into the repository."""
    settings = replace(
        shipped_settings(options.work, options.assets),
        device=devices.pick(options.device).type,
        threads=options.threads,
        options={name: getattr(options, name) for name in stage.options},
    )
    if stage.work == "training":
        settings = replace(settings, minutes=options.minutes, resume=options.resume)
    stage.run(settings)


def run_all(options: argparse.Namespace) -> None:
    """Run the chain of all stages, or print its plan."""
    stages = chain.select(options.first, options.until, options.faces)
    minutes = chain.plan(stages, options.minutes_total, options.threads, options.tiny)
    device = devices.pick(options.device).type
    print(f"{device}, {options.threads} threads")
    print(chain.plan_text(stages, minutes, options.work), flush=True)
    if options.dry_run:
        return
    out = options.assets or options.work / "assets"
    settings = replace(
        chain_settings(options.work, out),
        device=device,
        threads=options.threads,
        tiny=options.tiny,
    )
    anew = chain.select(options.first, None, options.faces) if options.first else ()
    chain.run_chain(stages, minutes, settings, out, anew)


def add_all(parser: argparse.ArgumentParser) -> None:
    """Add the options of the chain."""
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--assets", type=Path, help="gets what ships (default: assets in --work)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", choices=devices.DEVICES, default="auto")
    parser.add_argument("--minutes-total", type=float, metavar="N", help="of the whole chain")
    parser.add_argument(
        "--from", dest="first", choices=NAMES, help="do this stage and all behind it again"
    )
    parser.add_argument("--until", choices=NAMES, help="stop after this stage")
    parser.add_argument("--faces", action="store_true", help="train recogniser, detector, judge")
    parser.add_argument("--dry-run", action="store_true", help="print the plan only")
    parser.add_argument("--tiny", action="store_true", help="little of everything: does it work?")
    parser.set_defaults(run=run_all)


def add_stage(parser: argparse.ArgumentParser, stage: Stage) -> None:
    """Add the options of a stage."""
    parser.add_argument("--device", choices=devices.DEVICES, default="auto")
    for name, weight in stage.options.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=float, default=weight, help="0 leaves it out")
    if stage.work == "training":
        parser.add_argument("--minutes", type=float, default=stage.minutes)
        parser.add_argument("--resume", action="store_true", help="continue from the checkpoint")


def main() -> int:
    """Run the command and return the exit code."""
    parser = argparse.ArgumentParser("python -m toonville", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True)

    def add(
        stage: str, run: Callable[[argparse.Namespace], None], help: str
    ) -> argparse.ArgumentParser:
        sub = stages.add_parser(stage, help=help)
        sub.add_argument("--work", type=Path, default=WORK)
        sub.add_argument("--threads", type=int, default=2)
        sub.add_argument("--assets", type=Path, default=SHIPPED)
        sub.set_defaults(run=run)
        return sub

    add("samples", lambda o: render_samples(o.work), "write a grid of training images to --work")
    add_all(stages.add_parser("all", help="run all stages, one after another"))
    for stage in STAGES:
        if stage.name == "report":  # has options of its own, below
            continue
        minutes = f" (default {stage.minutes:g} minutes)" if stage.work == "training" else ""
        about = stage.about + minutes
        add_stage(add(stage.name, partial(run_stage, stage), about), stage)
    add("probe", lambda o: probe.run_probe(o.assets), "linear probes of the text encoder")
    add("scale", lambda o: judge_scale.run_judge_scale(o.assets), "identity scores by trait errors")
    add("settings", lambda o: export.export_settings(o.assets), "write studio.json of --assets")
    add(
        "photos",
        lambda o: images.render_strangers(o.work / "photos"),
        "render strangers to --work, for celeb-basis refine",
    )
    sub = add(
        "report",
        lambda o: report.run_report(o.assets, o.seed, o.json, o.baseline, o.only),
        "measure the shipped weights on held-out seeds",
    )
    sub.add_argument("--json", type=Path)
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--baseline", type=Path, help="an older model folder: seconds over its own")
    sub.add_argument("--only", type=report.parse_keys, metavar="KEY[,KEY]", help="of the numbers")
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
    return program.run(lambda: options.run(options))


if __name__ == "__main__":
    sys.exit(main())
