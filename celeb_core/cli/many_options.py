"""The options of the commands for thousands of people; see `celeb_core.cli.options`."""

from typing import Any

from celeb_core.cli import many_commands
from celeb_core.cli import option_values as value

ARGUMENTS: dict[str, dict[str, Any]] = {
    "manifest": {
        "type": value.source,
        "help": "folder with a photo of each person, or a sub-folder of photos of each; or a CSV "
        "or Parquet file with the columns name and photo; a path or a URL",
    },
    "people": {"type": value.source, "help": "folder or URL of identity files"},
    "prompts": {
        "type": value.path,
        "check": value.check_file,
        "help": "text file with a prompt per line, {} for the person",
    },
    "--batch-size of images": {
        "type": value.whole(1, 1024),
        "help": "images at once; what fills a GPU by default, 1 on a CPU",
    },
    "--engine": {
        "choices": ("local", "ray"),
        "default": "local",
        "help": "local: every device of this machine; ray: a Ray cluster (default: %(default)s)",
    },
    "--merge": {
        "action": "store_true",
        "help": "only write the table and contact sheet of what is there, of all shards",
    },
    "--out of many": {
        "type": value.source,
        "required": True,
        "help": "folder or URL for the result; the same command goes on there if it was killed",
    },
    "--people-at-once": {
        "type": value.whole(1, 1024),
        "help": "who train together on a device; what fills a GPU by default, 1 on a CPU",
    },
    "--people-per-step": {
        "type": value.whole(1, 1024),
        "help": "of many who train together: as many have their turn in a step; all by default",
    },
    "--portraits": {
        "type": value.whole(0, 100),
        "default": 1,
        "help": "images of each person for the identity score; 0: no score (default: %(default)s)",
    },
    "--ray-address": {"type": value.word, "help": "of the cluster; Ray's own choice by default"},
    "--retry": {"action": "store_true", "help": "do what failed again, too"},
    "--shard of work": {
        "type": value.shard,
        "help": "1/4: the first of four shards of the work",
    },
    "--workers": {
        "type": value.whole(1, 10_000),
        "help": "processes; one for each GPU by default, or each core of a CPU",
    },
    "--workers of an evaluation": {
        "type": value.whole(1, 10_000),
        "help": "processes that divide the work, on all devices; this one alone by default, or "
        "with ray one for each GPU or CPU",
    },
}
"""As `celeb_core.cli.options.ARGUMENTS`, which has all others."""

WORKERS = ("--engine", "--workers", "--ray-address", "--shard of work")
ENGINE = (*WORKERS, "--merge", "--retry")
EVALUATE = ("--engine", "--workers of an evaluation", "--ray-address")
MANY = (*ENGINE, "--identities", "--out of many")
TRAIN = ("--preset", "--steps of training", "--portraits", "--people-at-once")
SAMPLING = ("--guidance-scale", "--negative-prompt", "--scheduler", "--steps")
GENERATE = ("--num-images", "--batch-size of images", *SAMPLING)


def commands_with(studio: tuple[str, ...]) -> dict[str, tuple[Any, ...]]:
    """Return the commands, which take the options of a studio, too."""
    train, generate = many_commands.train_people, many_commands.generate_for_people
    return {
        "train-many": (train, None, "manifest", *TRAIN, *MANY, *studio),
        "generate-many": (generate, None, "people", "prompts", *GENERATE, *MANY, *studio),
    }
