"""Celeb Basis Studio on the command line: celeb-basis COMMAND, or python -m celeb_core COMMAND.

Exit codes: 0 done, 1 with a message that says what to do, 2 wrong usage, 130 interrupted.
"""

import argparse
from typing import Any

from celeb_core import device, face_packs, prompt, sampling, types
from celeb_core.basis import MAX_P
from celeb_core.cli import commands, many_options, model_commands, program
from celeb_core.cli import option_values as value
from celeb_core.evaluation.groups import MOST_PEOPLE
from celeb_core.evaluation.single import ROWS
from celeb_core.prepare.preparation import LEVELS
from celeb_core.textual_inversion import FORMATS

ARGUMENTS: dict[str, dict[str, Any]] = {
    "ends": {
        "type": value.word,
        "nargs": 2,
        "metavar": "PERSON",
        "help": "celebrity, or <name> of your library",
    },
    "file": {"type": value.path, "check": value.check_exists, "help": "textual-inversion file"},
    "folder": {
        "type": value.path,
        "check": value.check_folder,
        "help": "of photos, one of each person, thousands",
    },
    "images": {
        "type": value.path,
        "check": value.check_file,
        "nargs": "+",
        "help": "generated, or other photos",
    },
    "pack": {"type": value.word, "help": ", ".join(face_packs.PACKS)},
    "person": {
        "type": value.person,
        "check": value.check_file,
        "help": "a name of your library, or an identity file",
    },
    "photo as any image": {
        "type": value.path,
        "check": value.check_file,
        "help": "image, GIF or MP4",
    },
    "photo": {"type": value.path, "check": value.check_file, "help": "of the person"},
    "photos": {
        "type": value.path,
        "check": value.check_file,
        "nargs": "+",
        "help": "of one person, or one of each person",
    },
    "prompt": {"type": value.line, "help": "<name> in it stands for a person of your library"},
    "--allow-pickle": {"action": "store_true", "help": "read pickles' tensors (and no code), too"},
    "--as-written": {
        "action": "store_true",
        "help": "do not move people to the beginning where the model knows them there only",
    },
    "--batch-size": {"type": value.whole(1, 1024), "help": "photos per step"},
    "--box": {
        "type": value.box,
        "action": "append",
        "default": [],
        "metavar": "NAME=LEFT,TOP,RIGHT,BOTTOM",
        "help": "where a person is, as shares of the image; may be given for each",
    },
    "--cache": {
        "type": value.path,
        "check": value.check_may_be_folder,
        "help": "folder for bases and calibrations (~/.cache/celeb-basis-studio by default)",
    },
    "--calibration": {
        "type": value.source,
        "help": "file, or hub id; the one that fits by default",
    },
    "--checkpoint": {
        "type": value.path,
        "check": value.check_out_file,
        "help": "file for the state, to go on later",
    },
    "--clip": {
        "type": value.source,
        "help": "folder or hub id of the CLIP for the prompt score; the model's own by default",
    },
    "--compile": {"action": "store_true", "dest": "compiled", "help": "compile the UNet's blocks"},
    "--components": {
        "type": value.whole(1, MAX_P),
        "default": MAX_P,
        "help": "most per token embedding",
    },
    "--count": {
        "type": value.whole(1, 1000),
        "help": "how many people are trained, and celebrities beside them: 20 of the model's own "
        "set by default, or all of --photos",
    },
    "--device": {
        "type": value.device_name,
        "help": "cuda, mps or cpu; the best there is by default",
    },
    "--dtype": {"choices": device.DTYPES, "help": "of the UNet; the device's by default"},
    "--face": {"type": value.whole(1, 1000), "help": "which face of a photo, 1 is the leftmost"},
    "--face-pack": {"type": value.source, "help": "insightface pack: a name or a folder"},
    "--fast-lora": {
        "type": value.source,
        "help": "lcm, or an LCM or Turbo LoRA's file or hub id; sets steps etc.",
    },
    "--format": {"choices": FORMATS, "help": "; ".join(map(": ".join, FORMATS.items()))},
    "--groups": {
        "type": value.whole(1, 10_000),
        "help": "of each size of --people, chosen by the seed; as many as people by default",
    },
    "--guidance-scale": {"type": value.real(0, 100), "help": "the model's by default"},
    "--identities": {
        "type": value.path,
        "check": value.check_may_be_folder,
        "default": "identities",
        "help": "folder of your people",
    },
    "--json": {"type": value.path, "check": value.check_out_file, "help": "file for the numbers"},
    "--judge": {
        "type": value.source,
        "help": "face pack (name or folder), or dlib, that tells how alike a face is; with "
        "--photos, and another than the --face-pack that people are trained with; the model's own "
        "by default",
    },
    "--level": {"choices": LEVELS, "default": "quick", "help": "how thorough: minutes, or an hour"},
    "--made-by": {"type": value.line, "default": "", "help": "your name, for the file's report"},
    "--markdown": {
        "type": value.path,
        "check": value.check_out_file,
        "help": "file for the tables, to paste",
    },
    "--max-seconds": {"type": value.real(0), "help": "no step is begun that would pass it"},
    "--memory": {"choices": device.MODES, "help": "how lean; by the free memory by default"},
    "--min-explained": {
        "type": value.real(0, 1),
        "help": "least share, 0 to 1, within the celeb basis",
    },
    "--model": {
        "type": value.source,
        "default": "auto",
        "help": "auto, toonville, sd15, sdxl, folder, file or hub id",
    },
    "--name": {
        "type": value.person_name,
        "action": "append",
        "required": True,
        "help": "of one person, or once per photo",
    },
    "--name of a file": {"type": value.person_name, "help": "of the person; the file's by default"},
    "--names": {
        "type": value.path,
        "check": value.check_file,
        "help": "text file with one celebrity per line",
    },
    "--negative-prompt": {"type": value.line, "help": "what should not be in the image"},
    "--num-images": {
        "type": value.whole(1, 10_000),
        "help": "of the prompt (1), on the way (9), or of a name (4)",
    },
    "--out": {
        "type": value.path,
        "check": value.check_out_folder,
        "help": "folder for the result (default: %(default)s)",
    },
    "--out of a run": {
        "type": value.path,
        "check": value.check_out_folder,
        "help": "folder for what is finished: the same command goes on there if it was killed",
    },
    "--out as a file": {
        "type": value.path,
        "check": value.check_out_file,
        "help": "file for the result",
    },
    "--people": {
        "type": value.numbers(1, MOST_PEOPLE),
        "metavar": "N[,N...]",
        "help": "how many in an image: 1 (default), or for example 1,2,3; a table for groups",
    },
    "--photos": {
        "type": value.path,
        "check": value.check_folder,
        "help": "folder of a photo of each person, or of a sub-folder of each (the first photo is "
        "trained on, the others are what images are compared with); by default the model's own set",
    },
    "--preset": {"choices": types.PRESETS, "default": "best", "help": "kind of training"},
    "--quick": {"action": "store_true", "help": "no effect: the table is all that there is"},
    "--region-strength": {
        "type": value.real(0, 1),
        "default": types.RegionConfig.strength,
        "help": "1: nobody acts outside of their own region (default: %(default)s)",
    },
    "--regions": {
        "action": argparse.BooleanOptionalAction,
        "default": True,
        "help": "keep each of several people in a region of their own",
    },
    "--replace": {
        "action": "store_true",
        "help": "replace a person of that name, who goes to the page's bin, or a file",
    },
    "--resume": {
        "type": value.path,
        "check": value.check_file,
        "help": "go on from a file of --checkpoint",
    },
    "--root": {
        "type": value.path,
        "check": value.check_out_folder,
        "help": "folder whose models/PACK it goes to",
    },
    "--rows": {
        "nargs": "+",
        "choices": ROWS,
        "help": "of the table of one person: instant (no training), trained (--preset), unprepared "
        "(best, without the model's calibration), paper (its recipe, five people); by default all, "
        "and with --photos instant and trained",
    },
    "--scheduler": {"choices": sampling.SCHEDULERS, "help": "the model's by default"},
    "--seed": {"type": value.seed, "default": 0, "help": "of everything random"},
    "--square": {
        "action": "store_true",
        "help": "several people on a canvas that is no wider than that of one",
    },
    "--steps": {"type": value.whole(1, 1000), "help": "of sampling; the model's by default"},
    "--steps of refinement": {"type": value.whole(1, 10**6), "help": "of the refinement"},
    "--steps of training": {"type": value.whole(0, 10**6), "help": "of the training"},
    "--template": {
        "type": value.template,
        "default": prompt.PORTRAIT,
        "help": "prompt; {} is the person",
    },
    "--token": {
        "type": value.word,
        "help": "trigger word and file name; the person's name by default",
    },
    "--vae": {
        "type": value.source,
        "help": "file, folder or hub id; an AutoencoderTiny (or “tiny”) only decodes images",
    },
    **many_options.ARGUMENTS,
}
"""Positional argument or option -> what argparse has to know, and the check of a path.

What follows the first word of a key tells options of one name apart, of different commands.
"""

MODEL = ("--model", "--allow-pickle", "--device", "--dtype", "--memory", "--names", "--cache")
STUDIO = ("--seed", *MODEL, "--vae", "--compile", "--face-pack", "--calibration")
PEOPLE = ("--replace", "--out")
TRAINING = ("--preset", "--steps of training", "--max-seconds", "--checkpoint", "--resume")
TRAIN = ("--name", "--face", "--people-per-step", *TRAINING, *STUDIO, *PEOPLE)
REFINE = ("--batch-size", "--steps of refinement", *STUDIO, "--out as a file")
SAMPLING = ("--guidance-scale", "--negative-prompt", "--scheduler", "--fast-lora", "--steps")
SAMPLE = ("--num-images", "--identities", *SAMPLING, *STUDIO, "--out")
REGIONS = ("--box", "--regions", "--region-strength")
EXPORT = ("--format", "--token", "--identities", *MODEL, *PEOPLE)
IMPORT = ("--min-explained", "--name of a file", *MODEL, *PEOPLE)
PREPARE = ("--level", "--made-by", *many_options.WORKERS, *STUDIO, "--out as a file")
NAMES = ("--num-images", *many_options.WORKERS, "--steps", *STUDIO, "--out")
WITH_WHAT = ("--people", "--photos", "--count", "--groups", "--square", "--preset", "--rows")
JUDGED = ("--judge", "--clip", "--out of a run", "--json", "--markdown", "--quick")
EVALUATE = (*WITH_WHAT, *JUDGED, *many_options.EVALUATE, *STUDIO)
COMMANDS: dict[str, tuple[Any, ...]] = {
    "train": (commands.train, "identities", "photos", *TRAIN),
    "generate": (commands.generate, "images", "prompt", "--as-written", *REGIONS, *SAMPLE),
    "interpolate": (commands.interpolate_people, "images", "ends", "--template", *SAMPLE),
    "export": (commands.export, "embeddings", "person", *EXPORT),
    "import": (commands.import_file, "identities", "file", *IMPORT),
    "score": (commands.score, None, "photo", "images", "--face", *STUDIO),
    "check-image": (commands.check_image, None, "photo as any image", "--identities"),
    "basis": (commands.basis, None, "--components", *MODEL, "--out as a file"),
    "prepare": (model_commands.prepare, None, *PREPARE),
    "refine": (model_commands.refine, None, "folder", *REFINE),
    "filter-names": (model_commands.find_known_names, "names", *NAMES),
    "pack": (commands.pack, None, "pack", "--root"),
    "doctor": (commands.doctor, None, "--json", "--face-pack", *MODEL),
    "evaluate": (commands.evaluate, None, *EVALUATE),
    **many_options.commands_with(STUDIO),
}
"""Name -> function, default of --out, and the arguments that it takes."""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands; the function of the one that was given is `run`."""
    parser = program.Parser(prog="celeb-basis", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (run, out, *arguments) in COMMANDS.items():
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        checks: dict[str, Any] = {}
        for argument in arguments:
            about = dict(ARGUMENTS[argument])
            check = about.pop("check", None)
            dest = command.add_argument(argument.split()[0], **about).dest
            checks |= {dest: check} if check else {}
        command.set_defaults(run=run, out=out, checks=checks)
    return parser
