"""Celeb Basis Studio on the command line: celeb-basis COMMAND, or python -m celeb_core COMMAND.

Exit codes: 0 done, 1 with a message that says what to do, 2 wrong usage, 130 interrupted.
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers.utils.logging
import transformers.utils.logging

from celeb_core import cli, device, face_packs, prompt, sampling, types
from celeb_core.errors import CelebError
from celeb_core.evaluation import ROWS
from celeb_core.prepare.preparation import LEVELS
from celeb_core.textual_inversion import FORMATS

CACHE = Path("~/.cache/celeb-basis-studio").expanduser()


def shard(text: str) -> tuple[int, int]:
    """Parse “1/4”, the first of four."""
    index, count = map(int, text.split("/"))
    return range(1, count + 1).index(index), count  # ValueError unless 1 <= index <= count


ARGUMENTS: dict[str, dict[str, Any]] = {
    "ends": {"nargs": 2, "metavar": "PERSON", "help": "celebrity, or <name> of your library"},
    "file": {"type": Path, "help": "textual-inversion file"},
    "folder": {"type": Path, "help": "of photos, one of each person, thousands"},
    "images": {"type": Path, "nargs": "+", "help": "generated, or other photos"},
    "pack": {"help": ", ".join(face_packs.PACKS)},
    "person": {"help": "a name of your library, or an identity file"},
    "photo": {"type": Path, "help": "of the person"},
    "photos": {"type": Path, "nargs": "+", "help": "of one person, or one of each person"},
    "prompt": {"help": "<name> in it stands for a person of your library"},
    "--allow-pickle": {"action": "store_true", "help": "read pickles' tensors (and no code), too"},
    "--batch-size": {"type": int, "help": "photos per step"},
    "--cache": {"type": Path, "default": CACHE, "help": "folder for bases and calibrations"},
    "--calibration": {"help": "file, or hub id; the one that fits by default"},
    "--checkpoint": {"type": Path, "help": "file for the state, to go on later"},
    "--compile": {"action": "store_true", "dest": "compiled", "help": "compile the UNet's blocks"},
    "--components": {"type": int, "default": 512, "help": "most per token embedding"},
    "--device": {"help": "cuda, mps or cpu; the best there is by default"},
    "--dtype": {"choices": device.DTYPES, "help": "of the UNet; the device's by default"},
    "--face": {"type": int, "help": "which face of a photo, 1 is the leftmost"},
    "--face-pack": {"help": "insightface pack: a name or a folder"},
    "--fast-lora": {"help": "lcm, or an LCM or Turbo LoRA's file or hub id; sets steps etc."},
    "--format": {"choices": FORMATS, "help": "; ".join(map(": ".join, FORMATS.items()))},
    "--guidance-scale": {"type": float, "help": "the model's by default"},
    "--identities": {"type": Path, "default": "identities", "help": "folder of your people"},
    "--json": {"type": Path, "help": "file for the numbers"},
    "--level": {"choices": LEVELS, "default": "quick", "help": "how thorough: minutes, or an hour"},
    "--made-by": {"default": "", "help": "your name, for the file's report"},
    "--max-seconds": {"type": float, "help": "no step is begun that would pass it"},
    "--memory": {"choices": device.MODES, "help": "how lean; by the free memory by default"},
    "--min-explained": {"type": float, "help": "least share, 0 to 1, within the celeb basis"},
    "--model": {"default": "auto", "help": "auto, toonville, sd15, sdxl, folder, file or hub id"},
    "--name": {"action": "append", "required": True, "help": "of one person, or once per photo"},
    "--names": {"type": Path, "help": "text file with one celebrity per line"},
    "--negative-prompt": {"help": "what should not be in the image"},
    "--num-images": {"type": int, "help": "of the prompt (1), on the way (9), or of a name (4)"},
    "--out": {"type": Path, "help": "folder or file for the result (default: %(default)s)"},
    "--people": {"type": int, "default": 20, "help": "how many of the evaluation set"},
    "--preset": {"choices": types.PRESETS, "default": "best", "help": "kind of training"},
    "--quick": {"action": "store_true", "help": "no effect: the table is all that there is"},
    "--resume": {"type": Path, "help": "go on from a file of --checkpoint"},
    "--root": {"type": Path, "help": "folder whose models/PACK it goes to"},
    "--rows": {"nargs": "+", "choices": ROWS, "default": ROWS, "help": "of the table"},
    "--scheduler": {"choices": sampling.SCHEDULERS, "help": "the model's by default"},
    "--seed": {"type": int, "default": 0, "help": "of everything random"},
    "--shard": {"type": shard, "help": "1/4: the first of four shards of the names"},
    "--steps": {"type": int, "help": "of the training, or of sampling"},
    "--template": {"default": prompt.PORTRAIT, "help": "prompt; {} is the person"},
    "--token": {"help": "trigger word and file name; the person's name by default"},
    "--vae": {"help": "file, folder or hub id; an AutoencoderTiny (or “tiny”) only decodes images"},
}
"""Positional argument or option -> what argparse has to know; they are alike in all commands."""

MODEL = ("--model", "--allow-pickle", "--device", "--dtype", "--memory", "--names", "--cache")
FILES = (*MODEL, "--out")
STUDIO = ("--seed", *MODEL, "--vae", "--compile", "--face-pack", "--calibration")
STEPS = ("--steps", *STUDIO, "--out")
TRAIN = ("--name", "--face", "--preset", "--max-seconds", "--checkpoint", "--resume", *STEPS)
SAMPLING = ("--guidance-scale", "--negative-prompt", "--scheduler", "--fast-lora", *STEPS)
SAMPLE = ("--num-images", "--identities", *SAMPLING)
COMMANDS: dict[str, tuple[Any, ...]] = {
    "train": (cli.train, "identities", "photos", *TRAIN),
    "generate": (cli.generate, "images", "prompt", *SAMPLE),
    "interpolate": (cli.interpolate_people, "images", "ends", "--template", *SAMPLE),
    "export": (cli.export, "embeddings", "person", "--format", "--token", "--identities", *FILES),
    "import": (cli.import_file, "identities", "file", "--min-explained", *FILES),
    "score": (cli.score, None, "photo", "images", "--face", *STUDIO),
    "basis": (cli.basis, None, "--components", *FILES),
    "prepare": (cli.prepare, None, "--level", "--made-by", *STUDIO, "--out"),
    "refine": (cli.refine, None, "folder", "--batch-size", *STEPS),
    "filter-names": (cli.find_known_names, "names", "--num-images", "--shard", *STEPS),
    "pack": (cli.pack, None, "pack", "--root"),
    "doctor": (cli.doctor, None, "--json", "--face-pack", *MODEL),
    "evaluate": (cli.evaluate, None, "--quick", "--people", "--rows", "--json", *STUDIO),
}
"""Name -> function, default of --out, and the arguments that it takes."""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands; the function of the one that was given is `run`."""
    parser = argparse.ArgumentParser(prog="celeb-basis", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (run, out, *arguments) in COMMANDS.items():
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        for argument in arguments:
            command.add_argument(argument, **ARGUMENTS[argument])
        command.set_defaults(run=run, out=out)
    # Here it is one name, and need not be given.
    commands.choices["import"].add_argument("--name", help="of the person; the file's by default")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # Libraries' notices and bars of their own would hide ours.
    for library in (transformers.utils.logging, diffusers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    for client in ("httpx", "httpx2"):  # the hub's, by its version
        logging.getLogger(client).setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)
    warnings.filterwarnings("ignore", "The `local_dir_use_symlinks`")  # of diffusers, to the hub
    try:
        options.run(options)
    except CelebError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
